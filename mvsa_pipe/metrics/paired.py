"""Two sets of predictions on the same posts: whether they differ by more than chance.

Both tests look at posts one by one, so that posts which are hard for both count for neither. Every
statistic follows from how often each (true, first, second) class triple occurs, so that resampling
posts is one multinomial draw of these counts.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mvsa_pipe.metrics.scores import Counts, Score, score_confusion

# The scores whose differences are resampled.
PAIRED_SCORES = (Score.ACCURACY, Score.F1_MACRO)


@dataclass(frozen=True)
class McNemar:
    """McNemar's exact test of whether two predictors are right equally often.

    Attributes:
        only_first: Posts that the first alone has right.
        only_second: Posts that the second alone has right.
        p_value: Two-sided; 1 where they never disagree about being right.
    """

    only_first: int
    only_second: int
    p_value: float


@dataclass(frozen=True)
class Difference:
    """How much higher the second scores than the first.

    Attributes:
        value: Second minus first.
        interval: Percentile interval over resampled posts.
    """

    value: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class Paired:
    """Two predictors compared on the same posts.

    Attributes:
        posts: How many.
        agreement: Share of posts for which both give the same answer.
        mcnemar: Whether they are right equally often.
        differences: Of accuracy and macro-F1, second minus first.
        confidence: Coverage of the intervals.
    """

    posts: int
    agreement: float
    mcnemar: McNemar
    differences: dict[str, Difference]
    confidence: float

    def as_record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def mcnemar(labels: Counts, first: Counts, second: Counts) -> McNemar:
    """McNemar's test in its exact form.

    Of the posts that exactly one of the two has right, each has it with probability one half if
    they are equally good: ``p = min(1, 2 · P[Binomial(n, ½) ≤ min(b, c)])``, ``n = b + c``.

    Args:
        labels: True classes ``[N]``.
        first: Classes that the first predicts ``[N]``.
        second: Classes that the second predicts ``[N]``.

    Source:
        McNemar 1947, Psychometrika 12; the binomial form as in Edwards 1948, Psychometrika 13.
    """
    right, other = first == labels, second == labels
    b, c = int((right & ~other).sum()), int((other & ~right).sum())
    return McNemar(b, c, _two_sided(b, c))


def _two_sided(b: int, c: int) -> float:
    """In whole numbers, as powers of one half underflow from a thousand posts on."""
    n = b + c
    ways = tail = 1
    for k in range(1, min(b, c) + 1):
        ways = ways * (n - k + 1) // k
        tail += ways
    return min(1.0, 2 * tail / (1 << n))


def paired_differences(
    labels: Counts,
    first: Counts,
    second: Counts,
    classes: int,
    generator: np.random.Generator,
    *,
    resamples: int = 2000,
    confidence: float = 0.95,
) -> dict[str, Difference]:
    """Differences of accuracy and macro-F1 with intervals from a bootstrap over shared posts.

    Args:
        labels: True classes ``[N]``.
        first: Classes that the first predicts ``[N]``.
        second: Classes that the second predicts ``[N]``.
        classes: ``C``.
        generator: What the resamples are drawn from.
        resamples: How many there are.
        confidence: Coverage of the intervals.

    Source:
        Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13, over pairs.
    """
    triples = np.bincount((labels * classes + first) * classes + second, minlength=classes**3)
    cube = triples.reshape(classes, classes, classes)
    drawn = generator.multinomial(len(labels), triples / len(labels), size=resamples)
    tails = [50 * (1 - confidence), 50 * (1 + confidence)]
    values, samples = _gains(cube), _gains(drawn.reshape(resamples, *cube.shape))
    found: dict[str, Difference] = {}
    for name in PAIRED_SCORES:
        low, high = np.percentile(samples[name], tails)
        found[name.value] = Difference(float(values[name]), (float(low), float(high)))
    return found


def _gains(cube: NDArray[Any]) -> dict[Score, NDArray[np.float64]]:
    """Second minus first, from counts ``[..., true, first, second]``."""
    first, second = score_confusion(cube.sum(axis=-1)), score_confusion(cube.sum(axis=-2))
    return {name: second[name] - first[name] for name in PAIRED_SCORES}


def compare_paired(
    labels: Counts,
    first: Counts,
    second: Counts,
    classes: int,
    generator: np.random.Generator,
    *,
    resamples: int = 2000,
    confidence: float = 0.95,
) -> Paired:
    """Both tests of two sets of predictions on the same posts, all ``[N]``.

    Raises:
        ValueError: There are no posts, or not as many of each.
    """
    if not len(labels) or not len(labels) == len(first) == len(second):
        raise ValueError("paired tests need one label and two predictions a post")
    return Paired(
        posts=len(labels),
        agreement=float((first == second).mean()),
        mcnemar=mcnemar(labels, first, second),
        differences=paired_differences(
            labels, first, second, classes, generator, resamples=resamples, confidence=confidence
        ),
        confidence=confidence,
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values of several tests made at once, so that the chance of any false alarm stays as said.

    Source:
        Holm 1979, Scandinavian Journal of Statistics 6.
    """
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda k: p_values[k])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = largest
    return adjusted
