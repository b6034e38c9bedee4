"""What a bench or a comparison shows: order, ties, references, resolution, leaks, a verdict."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mvsa_pipe.analysis.contest import Contest, Entry, Fold, reduced
from mvsa_pipe.analysis.leaks import NEAR_COSINE, LeakFinder, Leaks
from mvsa_pipe.errors import ConfigError, MvsaError
from mvsa_pipe.heads import HEADS
from mvsa_pipe.metrics.resolution import Resolution, resolution
from mvsa_pipe.metrics.score_table import Score, score_posts
from mvsa_pipe.metrics.scores import Interval, majority_answers
from mvsa_pipe.metrics.standings import LEVEL, Entrant, Standings, compared, standings
from mvsa_pipe.metrics.weighted import Answers
from mvsa_pipe.progress import Progress

# The baseline that a neural head must beat.
LOGISTIC = "logistic"
MAJORITY, CHANCE = "majority", "chance"
# Draws of the guesses that a head is compared with.
_GUESSES = 20


@dataclass(frozen=True)
class EvidenceRow:
    """One head.

    Attributes:
        name: Its name.
        head: The head.
        seeds: Its seeds, in each fold.
        mean: Its score, a mean over seeds and folds.
        interval: Its interval at 95 %.
        rank: Its rank, from 1.
        ranks: The ranks that it may have; all hold at once at 95 %.
        group: 1 if it cannot be told apart from the first; and so on.
        not_above: References that it does not beat by more than chance: ``majority``, ``chance``,
            ``logistic``, or the name of the best single modality.
        leak_free: Its score on the posts that duplicate no training post; ``None`` if unknown.
    """

    name: str
    head: str
    seeds: int
    mean: float
    interval: Interval
    rank: int
    ranks: tuple[int, int]
    group: int
    not_above: tuple[str, ...]
    leak_free: float | None


@dataclass(frozen=True)
class EvidencePair:
    """The test of two heads; attributes as of ``PairTest``, with their names."""

    first: str
    second: str
    difference: float
    interval: Interval
    p_value: float
    p_holm: float
    mcnemar_p: float | None
    mcnemar_holm: float | None
    only_first: int | None
    only_second: int | None


@dataclass(frozen=True)
class Evidence:
    """What heads on the same posts show.

    Attributes:
        part: The compared part.
        posts: Its posts; with folds, those of all folds.
        folds: The folds; 1 if nothing is cut into folds.
        score: The score that orders the heads.
        method: How differences were tested.
        rows: The heads, best first.
        pairs: All pairs.
        single_modality: The best head that reads one modality alone.
        fusion: The best head that reads both.
        resolution: What the part can show; ``None`` for one head.
        leaks: Posts that duplicate training posts, of each fold.
        left_out: Heads without a result in some fold.
    """

    part: str
    posts: int
    folds: int
    score: Score
    method: str
    rows: list[EvidenceRow]
    pairs: list[EvidencePair]
    single_modality: str | None
    fusion: str | None
    resolution: Resolution | None
    leaks: list[Leaks]
    left_out: tuple[str, ...]

    def row(self, name: str) -> EvidenceRow:
        """The row of a head."""
        return next(row for row in self.rows if row.name == name)

    def pair(self, one: str, other: str) -> EvidencePair:
        """The test of two heads, in either order."""
        return next(p for p in self.pairs if {p.first, p.second} == {one, other})

    @property
    def leaked(self) -> int:
        """Posts that duplicate training posts, summed over folds."""
        return sum(len(leaks.reasons) for leaks in self.leaks)

    def as_record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self) | {"leaks": [leaks.as_record() for leaks in self.leaks]}


def evidence(
    contest: Contest,
    progress: Progress,
    score: Score = Score.ACCURACY,
    *,
    resamples: int = 2000,
    seed: int = 0,
    near_cosine: float = NEAR_COSINE,
) -> Evidence:
    """Tests all pairs of heads, and each of them against references.

    Args:
        contest: The heads.
        progress: Listens to the search for leaks.
        score: What orders the heads.
        resamples: Bootstrap resamples.
        seed: Seed of the resampling.
        near_cosine: Cosine from which cached vectors are near.

    Raises:
        ConfigError: Some run does not define the score.
        RunError: A run's list of posts is missing or damaged.
    """
    entries = contest.entries
    entrants = [entry.folds for entry in entries]
    _require_defined(entries, score)
    found = standings(entrants, score, contest.held_out, resamples=resamples, seed=seed)
    single, fusion = _best(found, entries, single=True), _best(found, entries, single=False)
    below = _not_above(contest, found, single, resamples=resamples, seed=seed)
    leaks = _leaks(contest, progress, near_cosine)
    return Evidence(
        part=contest.part,
        posts=len({i for fold in contest.folds for i in fold.ids}),
        folds=len(contest.folds),
        score=score,
        method=found.method,
        rows=[
            EvidenceRow(
                name=entries[row.place].name,
                head=entries[row.place].head,
                seeds=max(len(seeds) for seeds in entrants[row.place]),
                mean=row.mean,
                interval=row.interval,
                rank=row.rank,
                ranks=row.ranks,
                group=row.group,
                not_above=below[row.place],
                leak_free=_leak_free(entries[row.place], contest.folds, leaks, score),
            )
            for row in found.rows
        ],
        pairs=_named_pairs(found, entries),
        single_modality=None if single is None else entries[single].name,
        fusion=None if fusion is None else entries[fusion].name,
        resolution=_resolution(found, entrants, contest),
        leaks=leaks,
        left_out=contest.left_out,
    )


def _require_defined(entries: Sequence[Entry], score: Score) -> None:
    """Refuses a score that the posts of some fold do not define.

    Raises:
        ConfigError: They do not.
    """
    for entry in entries:
        for answers in (each for seeds in entry.folds for each in seeds):
            if not np.isfinite(score_posts(answers.plain(), [score]).get(score, np.nan)).all():
                raise ConfigError(
                    f"Heads cannot be ordered by {score.value}",
                    where=entry.name,
                    expected="a score that the posts define; --scores names it first",
                    found="posts of one class alone",
                )


def _named_pairs(found: Standings, entries: Sequence[Entry]) -> list[EvidencePair]:
    return [
        EvidencePair(
            first=entries[pair.first].name,
            second=entries[pair.second].name,
            difference=pair.difference,
            interval=pair.interval,
            p_value=pair.p_value,
            p_holm=pair.p_holm,
            mcnemar_p=None if pair.mcnemar is None else pair.mcnemar.p_value,
            mcnemar_holm=pair.mcnemar_holm,
            only_first=None if pair.mcnemar is None else pair.mcnemar.only_first,
            only_second=None if pair.mcnemar is None else pair.mcnemar.only_second,
        )
        for pair in found.pairs
    ]


def _modalities(head: str) -> int | None:
    """Number of modalities that a head reads; ``None`` of a head that is not there."""
    try:
        return len({need.modality for need in HEADS.load(head).needs})
    except MvsaError:
        return None


def _best(found: Standings, entries: Sequence[Entry], *, single: bool) -> int | None:
    wanted = 1 if single else 2
    places = [row.place for row in found.rows if _modalities(entries[row.place].head) == wanted]
    return places[0] if places else None


def _not_above(
    contest: Contest, found: Standings, single: int | None, *, resamples: int, seed: int
) -> list[tuple[str, ...]]:
    """Of each head, the references that it does not beat by more than chance."""
    entries = contest.entries
    constant = _constant(contest)
    every = [*(entry.folds for entry in entries), *constant.values()]
    places = [(i, len(entries) + k) for i in range(len(entries)) for k in range(len(constant))]
    _, _, tests = compared(
        every, places, found.score, contest.held_out, resamples=resamples, seed=seed
    )
    names = list(constant)
    below: list[list[str]] = [[] for _ in entries]
    for test in tests:
        if test.p_holm >= LEVEL or found.score.gain(test.difference) <= 0:
            below[test.first].append(names[test.second - len(entries)])
    others = [place for place, entry in enumerate(entries) if entry.head == LOGISTIC]
    others += [] if single is None else [single]
    for place, own in enumerate(below):
        reads_one = _modalities(entries[place].head) == 1
        for other in others:
            judged = place != other and not (other == single and reads_one)
            if judged and not found.better(place, other):
                own.append(entries[other].name)
    return [tuple(own) for own in below]


def _constant(contest: Contest) -> dict[str, Entrant]:
    """Predictions of methods that read no posts, fold by fold."""
    majority: list[list[Answers]] = []
    chance: list[list[Answers]] = []
    generator = np.random.default_rng(0)
    for place, fold in enumerate(contest.folds):
        like = contest.entries[0].folds[place][0]
        constant = majority_answers(fold.train_labels, like.labels, like.classes)
        majority.append([constant])
        shares = np.bincount(fold.train_labels, minlength=like.classes) / len(fold.train_labels)
        draws = generator.choice(like.classes, (_GUESSES, len(like.labels)), p=shares)
        chance.append(
            [Answers(like.labels, own, like.classes, constant.probabilities) for own in draws]
        )
    return {MAJORITY: majority, CHANCE: chance}


def _resolution(
    found: Standings, entrants: Sequence[Entrant], contest: Contest
) -> Resolution | None:
    """Of two runs, by the median disagreement between runs of the first head and of the others."""
    leader, *others = [entrants[row.place] for row in found.rows]
    shares = []
    for other in others:
        for one, two in zip(leader, other, strict=True):
            for a, b in zip(one, two, strict=False):
                shares.append(
                    float(np.mean((a.predicted == a.labels) != (b.predicted == b.labels)))
                )
    if not shares:
        return None
    folds = [len(fold.ids) for fold in contest.folds]
    posts = sum(folds) if contest.held_out.once else folds[0]
    return resolution(posts, float(np.median(shares)))


def _leaks(contest: Contest, progress: Progress, near_cosine: float) -> list[Leaks]:
    finder = LeakFinder(contest.folds[0].run, progress, near_cosine)
    return [finder.leaks(fold.ids, fold.train) for fold in contest.folds]


def _leak_free(
    entry: Entry, folds: Sequence[Fold], leaks: Sequence[Leaks], score: Score
) -> float | None:
    """The mean score on posts that do not leak; ``None`` if none are left, or undefined there."""
    means = []
    for fold, own, seeds in zip(folds, leaks, entry.folds, strict=True):
        kept = np.array([n for n, i in enumerate(fold.ids) if i not in own.reasons], np.int64)
        if not len(kept):
            return None
        values = [
            float(score_posts(reduced(answers, kept).plain(), [score])[score][0])
            for answers in seeds
        ]
        means.append(float(np.mean(values)))
    mean = float(np.mean(means))
    return mean if np.isfinite(mean) else None
