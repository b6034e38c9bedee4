"""Scores of several answers to the same posts under the same resamples of posts and seeds.

Differences of two results are therefore paired: both are of the same posts, and of the same seeds
where these are the same runs.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from mvsa_pipe.analysis.finding import Estimate, estimate
from mvsa_pipe.analysis.options import IntervalOptions
from mvsa_pipe.metrics.hierarchical import drawn_seeds
from mvsa_pipe.metrics.score_table import Score, score_posts
from mvsa_pipe.metrics.scores import percentile_interval
from mvsa_pipe.metrics.weighted import Answers, Floats, Weights, resampled_posts

# Axes beyond the common legend: ``R`` resamples.


class Resampler:
    """Draws posts and seeds once, and computes any scores under these draws.

    Args:
        posts: ``N``.
        options: The number of resamples and their seed.
    """

    def __init__(self, posts: int, options: IntervalOptions) -> None:
        self._resamples, self._seed = options.resamples, options.seed
        generator = np.random.default_rng(options.seed)
        ones = np.ones((1, posts), np.float32)
        self._blocks = [ones, *resampled_posts(posts, options.resamples, generator)]
        self._seeds: dict[int, np.ndarray] = {}

    def scores(
        self,
        seeds: Sequence[Answers],
        scores: Iterable[Score],
        weights: Weights | None = None,
    ) -> dict[Score, Floats]:
        """Means over seeds ``[1 + R]``: of all posts, then of each resample.

        Args:
            seeds: The answers of each seed.
            scores: What to compute.
            weights: How much each post counts ``[N]``; one by default.
        """
        wanted = list(scores)
        blocks = self._blocks if weights is None else [block * weights for block in self._blocks]
        every = [[score_posts(a.weighted(block), wanted) for block in blocks] for a in seeds]
        return {
            name: self.over_seeds(
                np.stack([np.concatenate([block[name] for block in own]) for own in every])
            )
            for name in wanted
        }

    def confusions(self, answers: Answers) -> Floats:
        """Confusion matrices ``[1 + R, C, C]``: of all posts, then of each resample."""
        return np.concatenate([answers.weighted(block).confusion for block in self._blocks])

    @property
    def weights(self) -> Weights:
        """The counts of every post: ones, then each resample ``[1 + R, N]``."""
        return np.concatenate(self._blocks)

    def means(self, seeds: Sequence[Floats]) -> Floats:
        """Means of a number per post ``[N]`` of each seed: ``[1 + R]``."""
        sums = [np.concatenate([block @ values for block in self._blocks]) for values in seeds]
        totals = np.concatenate([block.sum(axis=1) for block in self._blocks])
        return self.over_seeds(np.stack(sums) / totals)

    def over_seeds(self, values: Floats) -> Floats:
        """Values of each seed ``[S, 1 + R]``, averaged over all, then over the drawn ones."""
        count = len(values)
        if count not in self._seeds:
            generator = np.random.default_rng([self._seed, count])
            self._seeds[count] = drawn_seeds(count, self._resamples, generator)
        drawn = np.take_along_axis(values[:, 1:], self._seeds[count], axis=0).mean(axis=0)
        return np.concatenate([values[:, :1].mean(axis=0), drawn])


def estimated(values: Floats) -> Estimate:
    """A value with its interval at 95 %, from the value and its resamples ``[1 + R]``."""
    return estimate(values[0], percentile_interval(values[1:], 0.95))


def p_value_of_difference(difference: Floats) -> float:
    """Two-sided p-value that a difference ``[1 + R]`` is zero.

    Twice the smaller share of resamples on either side of zero, of which zeros count half; one
    resample is added to that side, so that it is never zero.

    Source:
        Davison and Hinkley 1997, Bootstrap Methods and their Application, section 4.4.
    """
    resamples = difference[1:]
    below = (resamples < 0).sum() + 0.5 * (resamples == 0).sum()
    tail = min(below, len(resamples) - below)
    return float(min(1.0, 2 * (tail + 1) / (len(resamples) + 1)))


def in_points(found: Estimate) -> str:
    """A difference of shares as text, in points of percent."""
    return f"{100 * found.value:+z.1f} points [{100 * found.low:+z.1f}, {100 * found.high:+z.1f}]"
