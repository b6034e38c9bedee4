"""Bootstrap over posts and seeds: what several heads would score on other posts, by other seeds.

Each resample draws posts, shared by all heads and seeds, since a post that is hard is hard for
all; and of each head some of its seeds. A head's resampled score is the mean over its drawn seeds.

Of ``S`` seeds ``S - 1`` are drawn with replacement: the variance of their mean is then
``s² / S`` with the unbiased ``s²``, where ``S`` draws would be too small by ``(S - 1) / S``, a
fifth of it for five seeds. One seed is kept as it is: nothing is known of others.

Source:
    Posts and seeds as crossed factors: Owen 2007, The pigeonhole bootstrap, Annals of Applied
    Statistics 1. ``S - 1`` draws: Rao and Wu 1988, JASA 83, section 2.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from mvsa_pipe.metrics.score_table import Score, score_posts
from mvsa_pipe.metrics.weighted import Answers, Floats, resampled_posts


def resampled_means(
    heads: Sequence[Sequence[Answers]],
    *,
    scores: Iterable[Score] = Score,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[Score, Floats]:
    """Resampled means of scores over seeds ``[M, R]`` for ``M`` heads on the same posts.

    Scores that some run does not define are left out.

    Args:
        heads: The answers of each head's seeds; all on the same posts.
        scores: What to compute.
        resamples: ``R``.
        seed: Seed of the resampling.

    Raises:
        ValueError: Posts or labels differ.
    """
    first = heads[0][0]
    for answers in (each for own in heads for each in own):
        if len(answers.labels) != len(first.labels) or (answers.labels != first.labels).any():
            raise ValueError("a bootstrap over shared posts needs the same posts for all")
    wanted = [s for s in scores if all(_defines(a, s) for own in heads for a in own)]
    generator = np.random.default_rng(seed)
    posts = list(resampled_posts(len(first.labels), resamples, generator))
    draws = [drawn_seeds(len(own), resamples, generator) for own in heads]
    found = {name: np.empty((len(heads), resamples)) for name in wanted}
    for place, (own, chosen) in enumerate(zip(heads, draws, strict=True)):
        every = [_over_posts(answers, posts, wanted) for answers in own]
        for name in wanted:
            of_seeds = np.stack([values[name] for values in every])
            found[name][place] = np.take_along_axis(of_seeds, chosen, axis=0).mean(axis=0)
    return found


def _defines(answers: Answers, score: Score) -> bool:
    values = score_posts(answers.plain(), [score])
    return score in values and bool(np.isfinite(values[score][0]))


def _over_posts(
    answers: Answers, posts: Sequence[np.ndarray], scores: Sequence[Score]
) -> dict[Score, Floats]:
    blocks = [score_posts(answers.weighted(weights), scores) for weights in posts]
    return {name: np.concatenate([block[name] for block in blocks]) for name in scores}


def drawn_seeds(seeds: int, resamples: int, generator: np.random.Generator) -> np.ndarray:
    """Indices of the drawn seeds of each resample ``[max(1, S - 1), R]``."""
    return generator.integers(0, seeds, (max(1, seeds - 1), resamples))
