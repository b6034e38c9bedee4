"""Heads in order, with references, and the plots and tables that compare them."""

import re
from collections.abc import Sequence

import numpy as np

from mvsa_pipe.analysis.compare import reference_rows
from mvsa_pipe.analysis.contest import Contest, Entry
from mvsa_pipe.analysis.evidence import LOGISTIC, MAJORITY, Evidence, EvidencePair, EvidenceRow
from mvsa_pipe.analysis.finding import (
    Cell,
    Estimate,
    FindingTable,
    ForestPlot,
    ForestRow,
    estimate,
)
from mvsa_pipe.baselines.base import Baseline
from mvsa_pipe.errors import ConfigError, MvsaError, name_some
from mvsa_pipe.heads import FAITHFUL_SUFFIX, HEADS
from mvsa_pipe.metrics.hierarchical import resampled_means
from mvsa_pipe.metrics.score_table import Score, score_posts
from mvsa_pipe.metrics.scores import Reference, percentile_interval
from mvsa_pipe.metrics.weighted import Answers
from mvsa_pipe.reports.content import Kind, Leaderboard, LeaderRow
from mvsa_pipe.reports.options import ReportOptions
from mvsa_pipe.runs import Run

# Longer plots cannot be read; the table has all heads.
_MOST_ROWS = 60
# So many pairs are listed; of more, those with the reference alone.
_MOST_PAIRS = 300

_NOTE = (
    "Intervals at 95 %: {method}. Ranks: all intervals hold at once at 95 % (Holm). "
    "Group 1 cannot be told apart from the first head, group 2 from the best of the rest, and so "
    "on."
)


def kind_of(head: str) -> Kind:
    """What a head is, from the table of heads."""
    if head.endswith(FAITHFUL_SUFFIX):
        return Kind.FAITHFUL
    try:
        model = HEADS.load(head)
    except MvsaError:  # a head of a file of its own, which is not run for a report
        return Kind.OTHER
    if issubclass(model, Baseline):
        return Kind.BASELINE
    return Kind.SINGLE if len({need.modality for need in model.needs}) == 1 else Kind.FUSION


def anchor_of(name: str, rank: int) -> str:
    """An id for the details of a head."""
    return f"head-{rank}-" + re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40]


def leaderboard(
    contest: Contest, found: Evidence, scores: Sequence[Score], options: ReportOptions
) -> Leaderboard:
    """The heads in order, then majority and chance.

    Args:
        contest: The heads.
        found: Their order.
        scores: The scores; the first one is that of the order.
        options: The resampling.

    Raises:
        RunError: A run's list of posts is missing or damaged.
    """
    entries = {entry.name: entry for entry in contest.entries}
    others = _others(contest, scores[1:], options)
    rows = [
        _row(
            row,
            entries[row.name],
            [estimate(row.mean, row.interval), *others[row.name]],
        )
        for row in found.rows
    ]
    references = _references(contest, scores)
    rows += [LeaderRow(name, Kind.REFERENCE, values) for name, values in references.items()]
    bounds = [bound for row in found.rows for bound in row.interval]
    bounds += [value for value in references[MAJORITY][:1] if isinstance(value, float)]
    return Leaderboard(
        tuple(scores),
        rows,
        (min(bounds), max(bounds)),
        _NOTE.format(method=found.method),
        bool(found.leaked),
    )


def _others(
    contest: Contest, scores: Sequence[Score], options: ReportOptions
) -> dict[str, list[Estimate | float | None]]:
    """Further scores of each head: with intervals where nothing is cut into folds."""
    seeds = [[answers for fold in entry.folds for answers in fold] for entry in contest.entries]
    found: dict[str, list[Estimate | float | None]] = {entry.name: [] for entry in contest.entries}
    samples = {}
    if len(contest.folds) == 1 and scores:
        samples = resampled_means(
            seeds, scores=scores, resamples=options.resamples, seed=options.seed
        )
    for score in scores:
        for place, entry in enumerate(contest.entries):
            mean = mean_score(seeds[place], score)
            cell: Estimate | float | None = mean
            if mean is not None and score in samples:
                cell = estimate(mean, percentile_interval(samples[score][place], 0.95))
            found[entry.name].append(cell)
    return found


def mean_score(seeds: Sequence[Answers], score: Score) -> float | None:
    """The mean over some runs; ``None`` if their posts do not define it."""
    values = [score_posts(answers.plain(), [score]).get(score) for answers in seeds]
    if any(value is None for value in values):
        return None
    mean = float(np.mean([value[0] for value in values if value is not None]))
    return mean if np.isfinite(mean) else None


def _row(row: EvidenceRow, entry: Entry, scores: list[Estimate | float | None]) -> LeaderRow:
    return LeaderRow(
        name=row.name,
        kind=kind_of(row.head),
        scores=scores,
        anchor=anchor_of(row.name, row.rank),
        seeds=row.seeds,
        rank=row.rank,
        ranks=row.ranks,
        group=row.group,
        leak_free=row.leak_free,
        not_above=row.not_above,
        remarks=_remarks(entry.runs),
    )


def _remarks(runs: Sequence[Run]) -> tuple[str, ...]:
    found = []
    if not all(run.metrics.get("batch_independent", True) for run in runs):
        found.append("predictions depend on their batch, as published")
    if any("finetune" in run.config for run in runs):
        found.append("backbones were trained too")
    return tuple(found)


def _references(
    contest: Contest, scores: Sequence[Score]
) -> dict[str, list[Estimate | float | None]]:
    """Scores of methods that read no posts, means over folds."""
    found: dict[str, list[Reference]] = {}
    for place, fold in enumerate(contest.folds):
        for row in reference_rows(fold.run, contest.entries[0].folds[place][0].labels):
            found.setdefault(row.name, []).append(row)
    return {name: [_mean_of(rows, score) for score in scores] for name, rows in found.items()}


def _mean_of(rows: Sequence[Reference], score: Score) -> float | None:
    values = [row.values.get(score.value) for row in rows]
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None


def reference_of(found: Evidence, wanted: str) -> str:
    """The head that the others are compared with.

    Raises:
        ConfigError: There is no head of that name.
    """
    names = [row.name for row in found.rows]
    if wanted:
        if wanted not in names:
            raise ConfigError(
                "--reference cannot be used",
                expected=f"one of {name_some(names, 30)}",
                found=wanted,
            )
        return wanted
    baseline = next((row.name for row in found.rows if row.head == LOGISTIC), None)
    return baseline or found.single_modality or names[0]


def forest(board: Leaderboard) -> ForestPlot:
    """Scores of the heads, with majority and chance as lines."""
    score = board.scores[0]
    rows = [
        ForestRow(row.name, _in_unit(score, row.scores[0]), row.kind)
        for row in board.rows
        if isinstance(row.scores[0], Estimate)
    ]
    return ForestPlot(
        f"{score.row.title} of each head" + _cut(len(rows)),
        score.heading,
        rows[:_MOST_ROWS],
        {
            row.name: unit_of(score) * row.scores[0]
            for row in board.rows
            if isinstance(row.scores[0], float)
        },
    )


def unit_of(score: Score) -> float:
    """By what plots multiply a score: 100 if it is shown in percent."""
    return 100.0 if score.row.percent else 1.0


def _in_unit(score: Score, found: Estimate) -> Estimate:
    unit = unit_of(score)
    return Estimate(unit * found.value, unit * found.low, unit * found.high)


def _cut(rows: int) -> str:
    return f" (the first {_MOST_ROWS} of {rows})" if rows > _MOST_ROWS else ""


def differences(board: Leaderboard, found: Evidence, reference: str) -> ForestPlot | None:
    """Differences of all heads from one of them; ``None`` for a head alone."""
    kinds = {row.name: row.kind for row in board.rows}
    pairs = _by_other(found, reference)
    if not pairs:
        return None
    # the reference stands among the others, so that both plots have the same rows
    nothing = Estimate(0.0, 0.0, 0.0)
    rows = [
        ForestRow(
            row.name,
            nothing
            if row.name == reference
            else _in_unit(found.score, _from(pairs[row.name], reference)),
            kinds[row.name],
        )
        for row in found.rows
    ]
    title = found.score.row.title
    unit = " in points" if found.score.row.percent else ""
    return ForestPlot(
        f"difference of {title} from {reference}" + _cut(len(rows)),
        f"{title} minus that of {reference}{unit}",
        rows[:_MOST_ROWS],
        {reference: 0.0},
    )


def _by_other(found: Evidence, reference: str) -> dict[str, EvidencePair]:
    return {
        pair.second if pair.first == reference else pair.first: pair
        for pair in found.pairs
        if reference in (pair.first, pair.second)
    }


def _from(pair: EvidencePair, reference: str) -> Estimate:
    """The other head's score minus the reference's."""
    sign = -1 if pair.first == reference else 1
    return estimate(sign * pair.difference, sorted(sign * bound for bound in pair.interval))


def pair_tables(found: Evidence, reference: str) -> list[FindingTable]:
    """Tests of each head against the reference, and of all pairs if they are not too many."""
    if len(found.rows) < 2:
        return []
    against = [_pair_row(pair, reference) for pair in _by_other(found, reference).values()]
    order = {row.name: row.rank for row in found.rows}
    against.sort(key=lambda row: order[str(row[0])])
    tables = [_pairs(f"each head against {reference}", against, found, fixed=True)]
    others = [pair for pair in found.pairs if reference not in (pair.first, pair.second)]
    if others and len(found.pairs) <= _MOST_PAIRS:
        every = [_pair_row(pair, pair.second) for pair in found.pairs]
        tables.append(_pairs(f"all {len(found.pairs):,} pairs", every, found))
    return tables


def _pair_row(pair: EvidencePair, second: str) -> list[Cell]:
    turned = pair.first == second
    first = pair.second if turned else pair.first
    alone = (pair.only_second, pair.only_first) if turned else (pair.only_first, pair.only_second)
    return [
        first,
        second,
        _from(pair, second),
        pair.p_value,
        pair.p_holm,
        *alone,
        pair.mcnemar_holm,
    ]


def _pairs(
    title: str, rows: list[list[Cell]], found: Evidence, *, fixed: bool = False
) -> FindingTable:
    """A table of pairs; ``fixed`` if all are against the same head, which is not repeated."""
    difference = f"difference of {found.score.row.title}"
    columns = [
        "head",
        "against",
        difference,
        "p",
        "p adjusted",
        "right only by the head",
        "right only by the other",
        "McNemar p adjusted",
    ]
    kept = [place for place in range(len(columns)) if not (fixed and place == 1)]
    return FindingTable(
        title,
        [columns[place] for place in kept],
        [[row[place] for place in kept] for row in rows],
        f"Tests: {found.method}; McNemar's test of accuracy. Adjusted by Holm for all "
        f"{len(found.pairs):,} pairs.",
        [difference] if found.score.row.percent else [],
    )


def all_scores(contest: Contest, found: Evidence) -> FindingTable:
    """Every score of every head, as means over its runs."""
    entries = {entry.name: entry for entry in contest.entries}
    rows: list[list[Cell]] = []
    for row in found.rows:
        seeds = [answers for fold in entries[row.name].folds for answers in fold]
        rows.append([row.name, *(mean_score(seeds, score) for score in Score)])
    titles = [score.row.title for score in Score]
    percent = [score.row.title for score in Score if score.row.percent]
    return FindingTable(
        "every score", ["head", *titles], rows, "Means over the seeds of a head.", percent
    )
