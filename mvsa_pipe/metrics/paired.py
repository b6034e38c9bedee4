"""Paired tests of two sets of predictions on the same posts.

Both tests compare post by post, so posts that are hard for both count for neither. Every statistic
is a function of the counts of (true, first, second) class triples, so resampling posts is one
multinomial draw of these counts.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mvsa_pipe.metrics.score_table import Score, score_confusion
from mvsa_pipe.metrics.scores import Counts

# The scores whose differences are resampled.
PAIRED_SCORES = (Score.ACCURACY, Score.F1_MACRO)


@dataclass(frozen=True)
class McNemar:
    """McNemar's exact test of whether two predictors are right equally often.

    Attributes:
        only_first: Number of posts that only the first predicts correctly.
        only_second: Number of posts that only the second predicts correctly.
        p_value: Two-sided; 1 if both are correct on the same posts.
    """

    only_first: int
    only_second: int
    p_value: float


@dataclass(frozen=True)
class Difference:
    """Difference of two scores, with a bootstrap interval.

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
        posts: Number of posts.
        agreement: Share of posts with equal predictions.
        mcnemar: McNemar's test.
        differences: Differences of accuracy and macro-F1, second minus first.
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
    """McNemar's exact test.

    If both predictors are equally good, each is the correct one with probability one half on the
    posts that exactly one of them predicts correctly: ``p = min(1, 2 · P[Binomial(n, ½) ≤
    min(b, c)])``, ``n = b + c``.

    Args:
        labels: True classes ``[N]``.
        first: Predicted classes of the first ``[N]``.
        second: Predicted classes of the second ``[N]``.

    Source:
        McNemar 1947, Psychometrika 12; the binomial form as in Edwards 1948, Psychometrika 13.
    """
    right, other = first == labels, second == labels
    b, c = int((right & ~other).sum()), int((other & ~right).sum())
    return McNemar(b, c, _two_sided(b, c))


def _two_sided(b: int, c: int) -> float:
    """Integer arithmetic: 0.5**n underflows for n > 1000."""
    n = b + c
    ways = tail = 1
    for k in range(1, min(b, c) + 1):
        ways = ways * (n - k + 1) // k
        tail += ways
    return min(1.0, 2 * tail / (1 << n))


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
    """McNemar's test and bootstrap intervals of the differences of accuracy and macro-F1.

    Args:
        labels: True classes ``[N]``.
        first: Predicted classes of the first ``[N]``.
        second: Predicted classes of the second ``[N]``.
        classes: ``C``.
        generator: Source of the resamples.
        resamples: Bootstrap resamples of the posts, shared by both predictors.
        confidence: Coverage of the intervals.

    Raises:
        ValueError: There are no posts, or the numbers of labels and predictions differ.

    Source:
        Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13, over pairs.
    """
    if not len(labels) or not len(labels) == len(first) == len(second):
        raise ValueError("paired tests need one label and two predictions per post")
    triples = np.bincount((labels * classes + first) * classes + second, minlength=classes**3)
    cube = triples.reshape(classes, classes, classes)
    return Paired(
        posts=len(labels),
        agreement=float((first == second).mean()),
        mcnemar=mcnemar(labels, first, second),
        differences=_differences(cube, generator, resamples, confidence),
        confidence=confidence,
    )


def _differences(
    cube: Counts, generator: np.random.Generator, resamples: int, confidence: float
) -> dict[str, Difference]:
    """Differences with bootstrap intervals, from counts ``[true, first, second]``."""
    drawn = generator.multinomial(cube.sum(), cube.ravel() / cube.sum(), size=resamples)
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


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm-adjusted p-values of several tests, which control the family-wise error rate.

    Source:
        Holm 1979, Scandinavian Journal of Statistics 6.
    """
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda k: p_values[k])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = largest
    return adjusted
