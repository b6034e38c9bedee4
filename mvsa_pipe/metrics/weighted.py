"""Predictions under several weightings of the same posts: what every score is computed from.

A bootstrap resample of posts is a count for each post. A score that is computed for ``R`` rows of
counts at once gives its value (one row of ones) and its resampled values by the same code.

Axes beyond the common legend: ``R`` weightings.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Classes = NDArray[np.int64]
Floats = NDArray[np.float64]
Weights = NDArray[np.float32]

# What predictions.csv keeps of a probability: scores are the same before and after it is read.
PROBABILITY_DECIMALS = 6

# Weights that are held at once: whole numbers up to 2**24 are exact in float32.
_MOST_WEIGHTS = 2**19


@dataclass(frozen=True)
class Answers:
    """Labels of some posts with what was predicted of them.

    Attributes:
        labels: True classes ``[N]``.
        predicted: Predicted classes ``[N]``.
        classes: ``C``.
        probabilities: One per class ``[N, C]``; ``None`` where only classes are known.

    Raises:
        ValueError: There are no posts, or not as many of each.
    """

    labels: Classes
    predicted: Classes
    classes: int
    probabilities: Floats | None = None

    def __post_init__(self) -> None:
        """Checks the sizes and rounds probabilities as ``predictions.csv`` does."""
        if not len(self.labels):
            raise ValueError("no posts to score")
        if len(self.predicted) != len(self.labels):
            raise ValueError("not one prediction a post")
        if self.probabilities is not None:
            if self.probabilities.shape != (len(self.labels), self.classes):
                raise ValueError("not one probability a post and class")
            rounded = [
                [round(share, PROBABILITY_DECIMALS) for share in row]
                for row in self.probabilities.tolist()
            ]
            object.__setattr__(self, "probabilities", np.array(rounded, np.float64))

    def weighted(self, weights: Weights) -> "Weighted":
        """The same posts under weights ``[R, N]``."""
        return Weighted(self, weights)

    def plain(self) -> "Weighted":
        """The same posts, each with weight one."""
        return self.weighted(np.ones((1, len(self.labels)), np.float32))

    @cached_property
    def cells(self) -> Weights:
        """The (true, predicted) pair of each post as a row of zeros with a one ``[N, C·C]``."""
        return _one_hot(self.labels * self.classes + self.predicted, self.classes**2)

    @cached_property
    def shares(self) -> Floats:
        """The probabilities, for scores that need them.

        Raises:
            ValueError: They are not known.
        """
        if self.probabilities is None:
            raise ValueError("this score needs probabilities")
        return self.probabilities


def _one_hot(places: Classes, columns: int) -> Weights:
    return np.eye(columns, dtype=np.float32)[places]


@dataclass(frozen=True)
class Curves:
    """Areas under the curves of each class against the rest.

    NaN where the class, or the rest, has no weight.

    Attributes:
        areas: Under the ROC curve ``[R, C]``.
        precisions: Average precision ``[R, C]``.
    """

    areas: Floats
    precisions: Floats


@dataclass(frozen=True)
class Weighted:
    """Answers under ``R`` weightings of the posts.

    Attributes:
        answers: The answers.
        weights: Whole numbers ``[R, N]``.
    """

    answers: Answers
    weights: Weights

    @cached_property
    def confusion(self) -> Floats:
        """Weights of (true, predicted) pairs ``[R, C, C]``; rows are true classes."""
        classes = self.answers.classes
        counts = self.weights @ self.answers.cells
        return counts.reshape(-1, classes, classes).astype(np.float64)

    @cached_property
    def totals(self) -> Floats:
        """Sum of all weights ``[R]``."""
        return np.asarray(self.weights.sum(axis=1, dtype=np.float64))

    def mean(self, values: Floats) -> Floats:
        """Weighted mean of a number per post ``[N]`` -> ``[R]``."""
        return np.asarray(self.sums(values[:, None])[:, 0] / self.totals)

    def sums(self, values: Floats) -> Floats:
        """Weighted sums of some numbers per post ``[N, K]`` -> ``[R, K]``."""
        return self._exact @ values

    @cached_property
    def _exact(self) -> Floats:
        return self.weights.astype(np.float64)

    @cached_property
    def curves(self) -> Curves:
        """Areas under the curves of each class."""
        pairs = [self._curves_of(c) for c in range(self.answers.classes)]
        areas, precisions = zip(*pairs, strict=True)
        return Curves(np.stack(areas, axis=1), np.stack(precisions, axis=1))

    @cached_property
    def _by_post(self) -> Weights:
        """The weights ``[N, R]``: sums over posts then run along whole rows."""
        return np.ascontiguousarray(self.weights.T)

    def _curves_of(self, one: int) -> tuple[Floats, Floats]:
        """For each true post, the share of others ranked below it, and the precision at it.

        Posts with equal probabilities count half in the first and together in the second, as in
        scikit-learn.
        """
        shares = self.answers.shares[:, one]
        order = np.argsort(shares, kind="stable")
        ranked, true = shares[order], self.answers.labels[order] == one
        own_shares, own = ranked[true], self._by_post[order[true]]
        below, below_true = _running(self._by_post[order]), _running(own)
        n_all, n_true = below[-1], below_true[-1]
        first = below[np.searchsorted(ranked, own_shares, side="left")]
        first_true = below_true[np.searchsorted(own_shares, own_shares, side="left")]
        behind = below[np.searchsorted(ranked, own_shares, side="right")]
        behind_true = below_true[np.searchsorted(own_shares, own_shares, side="right")]
        wins = (own * (first - first_true + behind - behind_true)).sum(axis=0, dtype=np.float64) / 2
        above = n_all - first
        hits = np.divide(n_true - first_true, above, out=np.zeros_like(above), where=above > 0)
        precision = (own * hits).sum(axis=0, dtype=np.float64)
        pairs = n_true.astype(np.float64) * (n_all - n_true)
        nothing = np.full(len(self.weights), np.nan)
        area = np.divide(wins, pairs, out=nothing.copy(), where=pairs > 0)
        return area, np.divide(precision, n_true, out=nothing, where=pairs > 0)


def _running(weights: Weights) -> Weights:
    """Sums of the weights of the posts before each, and of all ``[N + 1, R]``."""
    sums = np.zeros((len(weights) + 1, weights.shape[1]), np.float32)
    np.cumsum(weights, axis=0, out=sums[1:])
    return sums


def resampled_posts(
    posts: int, resamples: int, generator: np.random.Generator
) -> Iterator[Weights]:
    """Bootstrap resamples of posts as counts, in blocks ``[r, N]`` that add up to ``resamples``.

    Args:
        posts: ``N``.
        resamples: How many resamples.
        generator: What they are drawn from.
    """
    rows = max(1, _MOST_WEIGHTS // posts)
    for start in range(0, resamples, rows):
        block = min(rows, resamples - start)
        drawn = generator.integers(0, posts, (block, posts))
        drawn += np.arange(block)[:, None] * posts
        counts = np.bincount(drawn.ravel(), minlength=block * posts)
        yield counts.reshape(block, posts).astype(np.float32)
