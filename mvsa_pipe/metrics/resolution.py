"""What a test part can resolve: the smallest difference of two accuracies that it can show.

Two predictors differ in accuracy only by posts that one of them alone has right. Of a share ``ψ``
of such posts and a difference ``δ``, McNemar's two-sided test at level ``α`` finds the difference
with power ``1 - β`` on ``n = (z_{α/2} √ψ + z_β √(ψ - δ²))² / δ²`` posts.

Source:
    Connor 1987, Sample size for testing differences in proportions for the paired-sample design,
    Biometrics 43.
"""

from dataclasses import dataclass
from math import ceil, sqrt

LEVEL, POWER = 0.05, 0.8

# The differences of accuracy for which the needed posts are said.
POINTS = (0.01, 0.02, 0.03)


@dataclass(frozen=True)
class Resolution:
    """What a paired test on a test part can show.

    Attributes:
        posts: Posts of the part.
        disagreement: Share of posts that one of two runs alone has right; a median over pairs.
        smallest_difference: The smallest difference of accuracy that is found with this power;
            ``None`` where even a difference as large as the disagreement is not.
        posts_needed: Posts that differences of one, two and three points need; ``None`` where the
            runs disagree on fewer posts than the difference.
        level: Level of the test.
        power: Its power.
    """

    posts: int
    disagreement: float
    smallest_difference: float | None
    posts_needed: dict[str, int | None]
    level: float = LEVEL
    power: float = POWER


def resolution(posts: int, disagreement: float) -> Resolution:
    """What a part of so many posts can show of two runs that disagree on this share of them."""
    return Resolution(
        posts=posts,
        disagreement=disagreement,
        smallest_difference=smallest_difference(posts, disagreement),
        posts_needed={str(delta): posts_needed(delta, disagreement) for delta in POINTS},
    )


def posts_needed(difference: float, disagreement: float) -> int | None:
    """Posts on which a difference is found; ``None`` if the runs disagree on too few for it."""
    if not 0 < difference <= disagreement:
        return None
    return ceil(_posts(difference, disagreement) - 1e-9)


def _posts(difference: float, disagreement: float) -> float:
    from scipy.stats import norm

    z_level, z_power = float(norm.ppf(1 - LEVEL / 2)), float(norm.ppf(POWER))
    spread = sqrt(max(disagreement - difference**2, 0.0))
    return ((z_level * sqrt(disagreement) + z_power * spread) / difference) ** 2


def smallest_difference(posts: int, disagreement: float) -> float | None:
    """The difference that needs just so many posts; ``None`` if none that is possible does."""
    from scipy.optimize import brentq

    if disagreement <= 0 or _posts(disagreement, disagreement) > posts:
        return None
    tiny = 1e-9 * disagreement
    return float(brentq(lambda delta: _posts(delta, disagreement) - posts, tiny, disagreement))
