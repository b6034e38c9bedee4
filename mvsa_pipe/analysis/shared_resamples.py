"""Resampled scores of heads under several conditions, by the same draws of posts and seeds.

Any function of such scores, such as a mean over conditions or a difference between heads, is then
paired: it is computed of each resample, and its interval is that of the results.
"""

from collections.abc import Sequence

import numpy as np

from mvsa_pipe.analysis.finding import Estimate, estimate
from mvsa_pipe.analysis.options import IntervalOptions
from mvsa_pipe.metrics.hierarchical import drawn_seeds
from mvsa_pipe.metrics.score_table import Score, score_posts
from mvsa_pipe.metrics.scores import percentile_interval
from mvsa_pipe.metrics.weighted import Answers, Floats, resampled_posts

_COVERAGE = 0.95


class SharedResamples:
    """Draws of posts, shared by all heads and conditions, and of each head's seeds.

    Args:
        posts: Number of posts.
        seeds: Number of seeds of each head.
        options: How many resamples, and the seed of the draws.

    Source:
        As ``mvsa_pipe.metrics.hierarchical``.
    """

    def __init__(self, posts: int, seeds: Sequence[int], options: IntervalOptions) -> None:
        generator = np.random.default_rng(options.seed)
        drawn = resampled_posts(posts, options.resamples, generator)
        self._blocks = [np.ones((1, posts), np.float32), *drawn]
        self._chosen = [drawn_seeds(count, options.resamples, generator) for count in seeds]

    def scores(self, head: int, answers: Sequence[Answers], score: Score) -> Floats:
        """A head's score, then its resamples ``[1 + R]``: means over seeds.

        Args:
            head: The head's place.
            answers: Of each of its seeds, under one condition.
            score: What is computed.
        """
        of_seeds = np.stack(
            [
                np.concatenate(
                    [score_posts(own.weighted(block), [score])[score] for block in self._blocks]
                )
                for own in answers
            ]
        )
        drawn = np.take_along_axis(of_seeds[:, 1:], self._chosen[head], axis=0).mean(axis=0)
        return np.concatenate([of_seeds[:, :1].mean(axis=0), drawn])


def estimated(values: Floats) -> Estimate:
    """A value and its interval from the value and its resamples ``[1 + R]``."""
    return estimate(values[0], percentile_interval(values[1:], _COVERAGE))


def chance_of_none(difference: Floats) -> float:
    """Two-sided p-value that a difference ``[1 + R]`` is zero.

    Twice the smaller share of resamples on either side of zero, of which zeros count half; one
    resample is added on each side, so that it is never zero.

    Source:
        Davison and Hinkley 1997, Bootstrap Methods and their Application, section 4.4.
    """
    resamples = difference[1:]
    below = (resamples < 0).sum() + 0.5 * (resamples == 0).sum()
    tail = min(below, len(resamples) - below)
    return float(min(1.0, 2 * (tail + 1) / (len(resamples) + 1)))
