"""A verdict in words: every figure is computed from the evidence."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mvsa_pipe.analysis.contest import contest_of_bench, contest_of_runs
from mvsa_pipe.analysis.evidence import Evidence, EvidenceRow, evidence
from mvsa_pipe.analysis.leaks import describe
from mvsa_pipe.analysis.options import CompareOptions, LeakOptions
from mvsa_pipe.benches.summary import Bench
from mvsa_pipe.errors import MvsaError, name_some
from mvsa_pipe.metrics.score_table import Score
from mvsa_pipe.metrics.standings import LEVEL
from mvsa_pipe.progress import Progress
from mvsa_pipe.runs import Run

# Names that one sentence lists at most.
_MOST_NAMES = 6


@dataclass(frozen=True)
class Verdict:
    """Evidence with its sentences.

    Attributes:
        evidence: Order, ties, references, resolution, leaks.
        sentences: The same in words.
    """

    evidence: Evidence
    sentences: list[str]

    def as_record(self) -> dict[str, Any]:
        """Plain values for records and ``--json``."""
        return {"analysis": self.evidence.as_record() | {"verdict": self.sentences}}


def judge_bench(
    done: Bench, options: LeakOptions, progress: Progress, score: Score
) -> Verdict | None:
    """The verdict of a bench; ``None`` if its runs cannot be analysed, which is reported.

    Args:
        done: The bench.
        options: Which posts count as leaking.
        progress: Receives progress.
        score: The score that orders the heads.
    """
    try:
        contest = contest_of_bench(done)
        if contest is None:
            return None
        found = evidence(contest, progress, score, near_cosine=options.near_cosine)
    except MvsaError as error:  # the runs are kept all the same
        progress.say(f"not analysed: {error.paragraph()}")
        return None
    return Verdict(found, verdict_of(found))


def judge_runs(
    runs: Sequence[Run], options: CompareOptions, progress: Progress, score: Score
) -> Verdict:
    """The verdict of runs that are compared; arguments as of ``judge_bench``.

    Raises:
        MvsaError: As ``contest_of_runs`` and ``evidence``.
    """
    found = evidence(
        contest_of_runs(runs, shared_only=options.shared_posts),
        progress,
        score,
        resamples=options.resamples,
        seed=options.seed,
        near_cosine=options.near_cosine,
    )
    return Verdict(found, verdict_of(found))


def verdict_of(found: Evidence) -> list[str]:
    """Who leads, who is tied, whether fusion helps, and what the posts cannot tell."""
    return [
        *_lead(found),
        *_fusion(found),
        *_references(found),
        *_limits(found),
        *_leaks(found),
        *_caveats(found),
    ]


def _lead(found: Evidence) -> list[str]:
    first, *rest = found.rows
    over = f"{found.folds} folds" if found.folds > 1 else f"{found.posts:,} {found.part} posts"
    lead = f"{first.name} leads with {_figure(found.score, first)} over {over}"
    if not rest:
        return [f"{lead}; it has no rival here."]
    tied = [row.name for row in rest if row.group == 1]
    if not tied:
        return [f"{lead}, and is ahead of all others by more than chance."]
    share = "all others" if len(tied) == len(rest) else f"{len(tied)} of the {len(rest)} others"
    lines = [f"{lead}. It cannot be told apart from {share}: {name_some(tied, _MOST_NAMES)}."]
    behind = [row.name for row in rest if row.group > 1]
    if behind:
        lines.append(f"It is ahead by more than chance of {name_some(behind, _MOST_NAMES)}.")
    return lines


def _figure(score: Score, row: EvidenceRow) -> str:
    unit = " %" if score.row.percent else ""
    low, high = (score.shown(bound) for bound in row.interval)
    return f"{score.row.title} {score.shown(row.mean)}{unit} [{low}, {high}]"


def _difference(score: Score, value: float) -> str:
    if not score.row.percent:
        return f"{value:+z.3f}"
    return f"{100 * value:+z.1f} points"


def _fusion(found: Evidence) -> list[str]:
    if found.fusion is None or found.single_modality is None:
        return []
    pair = found.pair(found.fusion, found.single_modality)
    sign = 1 if pair.first == found.fusion else -1
    value = sign * pair.difference
    low, high = sorted(sign * bound for bound in pair.interval)
    figures = f"{_difference(found.score, value)} [{_bound(found, low)}, {_bound(found, high)}]"
    helps = found.score.gain(value) > 0 and pair.p_holm < LEVEL
    if helps:
        said = "Fusion helps"
    elif found.score.gain(value) > 0:
        said = "Whether fusion helps cannot be told"
    else:
        said = "Fusion does not help here"
    heads = f"{found.fusion} against {found.single_modality} alone"
    p_value = f"p = {pair.p_holm:.2g} adjusted for {len(found.pairs):,} pairs"
    return [f"{said}: {heads}, {figures}, {p_value}."]


def _bound(found: Evidence, value: float) -> str:
    return f"{100 * value:+z.1f}" if found.score.row.percent else f"{value:+z.3f}"


def _references(found: Evidence) -> list[str]:
    below: dict[str, list[str]] = {}
    for row in found.rows:
        for reference in row.not_above:
            below.setdefault(reference, []).append(row.name)
    return [
        f"Not better than {reference} by more than chance: {name_some(names, _MOST_NAMES)}."
        for reference, names in below.items()
    ]


def _limits(found: Evidence) -> list[str]:
    known = found.resolution
    if known is None:
        return []
    disagreement = f"two runs disagree about {100 * known.disagreement:.0f} % of posts"
    if known.smallest_difference is None:
        return [f"{known.posts:,} posts cannot show any difference of two runs: {disagreement}."]
    needed = ", ".join(
        f"{100 * float(delta):.0f} point{'s' if float(delta) > 0.01 else ''}: {count:,}"
        for delta, count in known.posts_needed.items()
        if count is not None
    )
    least = f"{100 * known.smallest_difference:.1f} points"
    power = f"{100 * known.power:.0f} % power; {disagreement}"
    said = (
        f"{known.posts:,} posts show a difference of two runs if it is {least} of accuracy or more"
    )
    return [f"{said} ({power})" + (f"; posts needed for {needed}." if needed else ".")]


def _leaks(found: Evidence) -> list[str]:
    lines = []
    for number, leaks in enumerate(found.leaks, start=1):
        if leaks.reasons:
            fold = f"fold {number}: " if len(found.leaks) > 1 else ""
            lines.append(f"Also in train, exactly or nearly: {fold}{describe(leaks)}.")
    moves = [
        found.score.gain(row.leak_free - row.mean)
        for row in found.rows
        if row.leak_free is not None
    ]
    if lines and moves:
        low, high = sorted((min(moves), max(moves)))
        lines.append(
            f"Without them scores move by {_bound(found, low)} to {_bound(found, high)}"
            + (" points." if found.score.row.percent else ".")
        )
    unchecked = found.leaks[0].unchecked if found.leaks else {}
    if unchecked:
        lines.append(f"Not checked for leaks: {name_some(unchecked, _MOST_NAMES)}.")
    return lines


def _caveats(found: Evidence) -> list[str]:
    lines = []
    if found.part == "val":
        lines.append("Scores are of validation posts, on which epochs were selected: optimistic.")
    if found.folds == 1 and all(row.seeds == 1 for row in found.rows):
        lines.append("One seed a head: the spread between trainings is not known.")
    if found.left_out:
        lines.append(f"Not ranked, as runs of a fold failed: {name_some(found.left_out)}.")
    return lines
