"""Several heads in order: all pairs tested at once, rank intervals, and groups of ties.

Sources:
    Rank intervals from pairwise tests whose family-wise error is held: Mogstad, Romano, Shaikh and
    Wilhelm 2024, Inference for Ranks, Review of Economic Studies 91. Degrees of freedom of a
    variance with several parts: Satterthwaite 1946, Biometrics Bulletin 2. Twice the median of
    p-values: Meinshausen, Meier and Bühlmann 2009, JASA 104.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from mvsa_pipe.metrics.corrected_t import corrected_mean
from mvsa_pipe.metrics.hierarchical import resampled_means
from mvsa_pipe.metrics.paired import McNemar, holm, mcnemar
from mvsa_pipe.metrics.score_table import Score, score_posts
from mvsa_pipe.metrics.scores import Interval, percentile_interval
from mvsa_pipe.metrics.weighted import Answers, Floats

LEVEL = 0.05
OVER_POSTS = "paired bootstrap over posts and seeds"
OVER_FOLDS = "corrected resampled t-test over folds"

# Answers of one head: a row of seeds for each fold; one row where nothing is cut into folds.
Entrant = Sequence[Sequence[Answers]]


@dataclass(frozen=True)
class PairTest:
    """Whether two heads differ by more than chance, over the same posts.

    Attributes:
        first: Place of the one in the input.
        second: Place of the other.
        difference: Score of the first minus that of the second.
        interval: Its interval at 95 %, of this pair alone.
        p_value: Of the paired bootstrap, or of the corrected resampled t-test over folds.
        p_holm: The same, adjusted for all pairs.
        mcnemar: McNemar's test of accuracy; counts are means over seeds, and the p-value of
            several seeds is twice their median. ``None`` where splits were drawn anew.
        mcnemar_holm: Its p-value, adjusted for all pairs.
    """

    first: int
    second: int
    difference: float
    interval: Interval
    p_value: float
    p_holm: float
    mcnemar: McNemar | None
    mcnemar_holm: float | None


@dataclass(frozen=True)
class Standing:
    """Where one head stands.

    Attributes:
        place: Its place in the input.
        mean: Its score, a mean over seeds and folds.
        interval: Its interval at 95 %.
        rank: Its rank by the mean, from 1.
        ranks: The ranks that it may have: all intervals hold at once at 95 %.
        group: 1 for heads that cannot be told apart from the first; 2 for those that cannot be
            told apart from the best of the rest; and so on.
    """

    place: int
    mean: float
    interval: Interval
    rank: int
    ranks: tuple[int, int]
    group: int


@dataclass(frozen=True)
class Standings:
    """All heads by one score.

    Attributes:
        score: The score.
        method: How differences were tested.
        rows: The heads, best first.
        pairs: All pairs.
    """

    score: Score
    method: str
    rows: list[Standing]
    pairs: list[PairTest]

    def pair(self, one: int, other: int) -> PairTest:
        """The test of two heads, in either order."""
        return next(p for p in self.pairs if {p.first, p.second} == {one, other})

    def better(self, one: int, other: int) -> bool:
        """Whether one head is better than another by more than chance, after correction."""
        pair = self.pair(one, other)
        gain = self.score.gain(pair.difference)
        return pair.p_holm < LEVEL and (gain if pair.first == one else -gain) > 0


@dataclass(frozen=True)
class Posts:
    """How posts were held out.

    Attributes:
        test_to_train: Posts that a fold tests on, as a share of those that it trains on.
        once: Whether every post is tested in one fold at most.
    """

    test_to_train: float = 0.0
    once: bool = True


def standings(
    entrants: Sequence[Entrant],
    score: Score = Score.ACCURACY,
    held_out: Posts = Posts(),
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> Standings:
    """Ranks heads by a score that all of them define.

    Args:
        entrants: The answers of each head; the same posts, fold by fold, for all.
        score: The score.
        held_out: How posts were held out, where there are several folds.
        resamples: Bootstrap resamples.
        seed: Seed of the resampling.

    Raises:
        ValueError: Posts differ.
    """
    every = list(combinations(range(len(entrants)), 2))
    values, intervals, pairs = compared(
        entrants, every, score, held_out, resamples=resamples, seed=seed
    )
    folds = len(entrants[0]) > 1
    method = OVER_FOLDS if folds else OVER_POSTS
    return Standings(score, method, _rows(values, intervals, pairs, score), pairs)


def compared(
    entrants: Sequence[Entrant],
    places: Sequence[tuple[int, int]],
    score: Score,
    held_out: Posts,
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[list[float], list[Interval], list[PairTest]]:
    """Means, their intervals, and tests of some pairs, corrected for as many as there are."""
    seeds = [[_values(own, score) for own in entrant] for entrant in entrants]
    by_fold = [np.array([np.mean(own) for own in of_folds]) for of_folds in seeds]
    tests: list[_Test]
    if len(entrants[0]) > 1:
        share = held_out.test_to_train
        means = [corrected_mean(own.tolist(), share) for own in by_fold]
        intervals = [score.within(mean.interval) for mean in means]
        tests = [_over_folds(by_fold[a] - by_fold[b], share) for a, b in places]
    else:
        own = [entrant[0] for entrant in entrants]
        samples = resampled_means(own, scores=[score], resamples=resamples, seed=seed)[score]
        intervals = [percentile_interval(row, 0.95) for row in samples]
        posts = len(own[0][0].labels)
        tests = [
            _over_posts(seeds[a][0], seeds[b][0], samples[a] - samples[b], posts) for a, b in places
        ]
    return (
        [float(folds.mean()) for folds in by_fold],
        intervals,
        _pairs(entrants, places, tests, once=held_out.once),
    )


def _values(answers: Sequence[Answers], score: Score) -> list[float]:
    return [float(score_posts(each.plain(), [score])[score][0]) for each in answers]


# Difference, interval and p-value.
_Test = tuple[float, Interval, float]


def _over_folds(differences: Floats, test_to_train: float) -> _Test:
    found = corrected_mean(differences.tolist(), test_to_train)
    return found.mean, found.interval, found.p_value


def _over_posts(
    first: Sequence[float], second: Sequence[float], samples: Floats, posts: int
) -> _Test:
    """A t-test with the bootstrap's variance of the difference.

    A p-value counted among resamples could not be below one in their number, which the correction
    for all pairs would make insignificant.
    """
    from scipy.stats import t

    difference = float(np.mean(first) - np.mean(second))
    variance = float(np.nanvar(samples, ddof=1))
    if variance <= 0:
        return difference, (difference, difference), 1.0 if difference == 0 else 0.0
    parts = [(float(np.var(v, ddof=1)) / len(v), len(v) - 1) for v in (first, second) if len(v) > 1]
    parts.append((max(variance - sum(part for part, _ in parts), 0.0), posts - 1))
    spread = sum(part**2 / max(freedom, 1) for part, freedom in parts)
    freedom = variance**2 / spread if spread > 0 else 1.0
    error = float(np.sqrt(variance))
    reach = float(t.ppf(0.975, freedom)) * error
    p_value = float(2 * t.sf(abs(difference) / error, freedom))
    return difference, (difference - reach, difference + reach), p_value


def _pairs(
    entrants: Sequence[Entrant],
    places: Sequence[tuple[int, int]],
    tests: Sequence[_Test],
    *,
    once: bool,
) -> list[PairTest]:
    exact = [_mcnemar_over_seeds(entrants[a], entrants[b]) if once else None for a, b in places]
    adjusted = holm([p for _, _, p in tests])
    exact_adjusted = holm([test.p_value for test in exact if test is not None])
    return [
        PairTest(
            first=a,
            second=b,
            difference=tests[k][0],
            interval=tests[k][1],
            p_value=tests[k][2],
            p_holm=adjusted[k],
            mcnemar=exact[k],
            mcnemar_holm=exact_adjusted[k] if once else None,
        )
        for k, (a, b) in enumerate(places)
    ]


def _mcnemar_over_seeds(first: Entrant, second: Entrant) -> McNemar:
    """McNemar's test of the first seeds, of the second, and so on, over the posts of all folds."""
    seeds = min(len(row) for row in (*first, *second))
    found = [
        mcnemar(*(np.concatenate(each) for each in zip(*rows, strict=True)))
        for k in range(seeds)
        for rows in [
            [
                (a[k].labels, a[k].predicted, b[k].predicted)
                for a, b in zip(first, second, strict=True)
            ]
        ]
    ]
    if seeds == 1:
        return found[0]
    return McNemar(
        only_first=round(float(np.mean([test.only_first for test in found]))),
        only_second=round(float(np.mean([test.only_second for test in found]))),
        p_value=min(1.0, 2 * float(np.median([test.p_value for test in found]))),
    )


def _rows(
    means: Sequence[float],
    intervals: Sequence[Interval],
    pairs: Sequence[PairTest],
    score: Score,
) -> list[Standing]:
    order = sorted(range(len(means)), key=lambda place: -score.gain(means[place]))
    beaten: dict[int, set[int]] = {place: set() for place in order}
    for pair in pairs:
        if pair.p_holm < LEVEL:
            first_wins = score.gain(pair.difference) > 0
            one, other = pair.first, pair.second
            beaten[one if first_wins else other].add(other if first_wins else one)
    groups = _groups(order, beaten)
    return [
        Standing(
            place=place,
            mean=means[place],
            interval=intervals[place],
            rank=rank,
            ranks=(
                1 + sum(place in others for others in beaten.values()),
                len(order) - len(beaten[place]),
            ),
            group=groups[place],
        )
        for rank, place in enumerate(order, start=1)
    ]


def _groups(order: Sequence[int], beaten: dict[int, set[int]]) -> dict[int, int]:
    """The group of each head: of the heads without one, those that the best does not beat."""
    groups: dict[int, int] = {}
    left, number = list(order), 0
    while left:
        number += 1
        leader = left[0]
        for place in left:
            if place not in beaten[leader]:
                groups[place] = number
        left = [place for place in left if place not in groups]
    return groups
