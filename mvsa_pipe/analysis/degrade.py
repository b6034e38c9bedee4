"""Scores of heads on damaged texts and pictures, without training again.

A damage has levels ``0 … K``: none, then its strengths from the weakest. The area under a head's
curve is its mean score along the way from no damage to the strongest, by the trapezoid rule over
equal steps: ``A = (s_0 / 2 + s_1 + … + s_K / 2) / K``. It is normalised: a head that nothing harms
has the area ``s_0``. Its loss is ``A - s_0``.

Source:
    Damage of pictures, and the mean over its strengths: Hendrycks and Dietterich 2019, Benchmarking
    Neural Network Robustness to Common Corruptions and Perturbations, arXiv:1903.12261.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mvsa_pipe.analysis.contest import Contest, Entry, contest_of_runs
from mvsa_pipe.analysis.damaged_answers import DamagedAnswers, modalities_of
from mvsa_pipe.analysis.finding import Cell, Finding, FindingTable, LinePlot, Series
from mvsa_pipe.analysis.finding_store import finding_of
from mvsa_pipe.analysis.options import DegradeOptions
from mvsa_pipe.analysis.resampling import (
    Resampler,
    estimated,
    in_points,
    p_value_of_difference,
)
from mvsa_pipe.errors import ConfigError
from mvsa_pipe.metrics.paired import holm
from mvsa_pipe.metrics.score_table import Score
from mvsa_pipe.metrics.weighted import Floats
from mvsa_pipe.modality import Modality
from mvsa_pipe.options import Range
from mvsa_pipe.posts.damage.table import DAMAGE_ROWS, Damage, DamageRow, damages_of
from mvsa_pipe.progress import Progress
from mvsa_pipe.registry import Registry
from mvsa_pipe.runs import Run
from mvsa_pipe.runs.backbones import is_tuned

_LEVEL = 0.05
_FEATURES = [
    DamageRow(
        f"{modality}-features",
        "mvsa_pipe.analysis.feature_noise:with_noise",
        "Gaussian noise is added to every number of the cached features; no backbone runs.",
        modality=modality,
        strength="σ in standard deviations of a dimension over the scored posts",
        strengths=(0.5, 1, 2),
        allowed=Range(above=0, most=1000),
    )
    for modality in Modality
]
_ROWS: Registry[object] = Registry("damage", [*DAMAGE_ROWS.values(), *_FEATURES])
_ALL = "all damages"
_METHOD = (
    (
        "Only damaged texts or pictures pass through a backbone again; heads are not trained "
        "again. Damage depends on a post's content alone."
    ),
    (
        "Mean change: area under the curve minus the undamaged score. The area is the mean score "
        "from no damage to the strongest, by the trapezoid rule over equal steps."
    ),
    (
        "Intervals: bootstrap over posts and seeds, 95 %, the same draws for all heads and "
        "strengths; p-values from the same draws, adjusted by Holm within a damage."
    ),
)


@dataclass(frozen=True)
class _Curve:
    """A head under one damage.

    Attributes:
        name: Its name.
        levels: Its score at each level, the undamaged one first, with resamples ``[K + 1, 1 + R]``.
    """

    name: str
    levels: Floats

    @property
    def loss(self) -> Floats:
        """Its mean loss with resamples ``[1 + R]``."""
        steps = len(self.levels) - 1
        weights = np.full(steps + 1, 1 / steps)
        weights[[0, -1]] /= 2
        weights[0] -= 1
        loss: Floats = weights @ self.levels
        return loss


def degrade(runs: Sequence[Run], options: DegradeOptions, progress: Progress) -> Finding:
    """Scores heads on damaged posts, and tells which head loses least.

    Args:
        runs: The runs.
        options: The damages, and the resampling.
        progress: Receives the progress of backbones.

    Raises:
        ConfigError: A damage or a strength is unknown, or changes nothing that a head reads.
        RunError: The runs are not over the same posts, or their posts cannot be read again.
        MvsaError: Posts cannot be extracted.
    """
    contest = contest_of_runs(runs, at_least=1)
    plan = _planned(options, contest.entries)
    damaged = DamagedAnswers(contest, options, progress)
    resamples = Resampler(len(contest.folds[0].ids), options)
    score = Score(options.score)
    curves = {
        kind: _curves(contest, levels, damaged, resamples, score, progress)
        for kind, levels in plan.items()
    }
    tables = [_scores(kind, plan[kind], own, score) for kind, own in curves.items()]
    ranked = _ranked(curves)
    if any(len(own) > 1 for own in curves.values()):
        tables.append(_contrasts(ranked, score))
    labels = contest.entries[0].folds[0][0].labels
    majority = float(np.bincount(labels).max() / len(labels))
    return finding_of(
        "degrade",
        runs,
        options,
        question="What do the heads score where texts or pictures are damaged?",
        verdict=[*_verdict(ranked, score), *_not_read(plan, contest.entries)],
        tables=tables,
        plots=[
            _plot(kind, plan[kind], own, score, majority if score is Score.ACCURACY else None)
            for kind, own in curves.items()
        ],
        method=[*_METHOD, *_described(plan)],
        posts=len(labels),
    )


def _planned(options: DegradeOptions, entries: Sequence[Entry]) -> dict[str, tuple[Damage, ...]]:
    """The levels of each damage that changes what some head reads.

    Raises:
        ConfigError: A damage or a strength is unknown, or no head reads what it changes.
    """
    strengths = dict(map(_parsed, options.strengths))
    read = frozenset.union(*map(modalities_of, entries))
    fitting = [row.name for row in map(damage_row, _ROWS.names) if row.modality in read]
    asked = dict.fromkeys([*options.damage, *strengths])
    for kind in asked:
        modality = damage_row(kind).modality
        if modality not in read:
            raise ConfigError(
                f"Damage {kind!r} changes the {modality}, which none of these runs reads",
                expected=f"a damage of what they read: {', '.join(fitting)}",
                hint=f"--damage {fitting[0]}, or runs of heads that read the {modality}",
            )
    if any(is_tuned(run) for entry in entries for run in entry.runs):
        own = {row.name for row in _FEATURES}  # features of tuned backbones are not cached
        fitting = [kind for kind in fitting if kind not in own]
    return {
        kind: damages_of(damage_row(kind), strengths.get(kind, ())) for kind in asked or fitting
    }


def damage_row(kind: str) -> DamageRow:
    """The row of a damage of texts, pictures or features.

    Raises:
        UnknownNameError: No damage has that name.
    """
    row = _ROWS.row(kind)
    assert isinstance(row, DamageRow)  # noqa: S101 (the table has no others)
    return row


def _parsed(text: str) -> tuple[str, tuple[float, ...]]:
    kind, _, values = text.partition("=")
    try:
        return kind.strip(), tuple(float(value) for value in values.split(","))
    except ValueError:
        raise ConfigError(
            "--strengths cannot be used",
            expected="a damage and its strengths, such as jpeg=25,10,5",
            found=text,
        ) from None


def _curves(
    contest: Contest,
    levels: Sequence[Damage],
    damaged: DamagedAnswers,
    resamples: Resampler,
    score: Score,
    progress: Progress,
) -> list[_Curve]:
    readers = [entry for entry in contest.entries if levels[0].modality in modalities_of(entry)]
    found = [[resamples.scores(entry.folds[0], [score])[score]] for entry in readers]
    for number, damage in enumerate(levels, start=1):
        progress.say(f"{damage.row.name} {damage.strength:g}, {number} of {len(levels)}")
        for own, entry in zip(found, readers, strict=True):
            own.append(resamples.scores(damaged.of(entry, damage), [score])[score])
    return [_Curve(entry.name, np.stack(own)) for own, entry in zip(found, readers, strict=True)]


def _scores(
    kind: str, levels: Sequence[Damage], curves: Sequence[_Curve], score: Score
) -> FindingTable:
    headings = ["none", *(f"level {level}" for level in range(1, len(levels) + 1))]
    strengths = ", ".join(f"{damage.strength:g}" for damage in levels)
    rows: list[list[Cell]] = [
        [curve.name, *(float(value) for value in curve.levels[:, 0]), estimated(curve.loss)]
        for curve in curves
    ]
    return FindingTable(
        f"{score.row.title} under {kind}",
        ["head", *headings, "mean change"],
        rows,
        f"levels: {strengths} ({damage_row(kind).strength})",
        percent=[*headings, "mean change"],
    )


@dataclass(frozen=True)
class _Ranked:
    """Mean losses of heads under one damage, the least first, with tests against the first."""

    heads: list[tuple[str, Floats]]
    p_values: list[float]

    @property
    def equals(self) -> list[str]:
        """The heads that cannot be told from the first."""
        pairs = zip(self.heads[1:], self.p_values, strict=True)
        return [name for (name, _), p in pairs if p >= _LEVEL]


def _ranked(curves: Mapping[str, Sequence[_Curve]]) -> dict[str, _Ranked]:
    found = {
        kind: _tested([(curve.name, curve.loss) for curve in own]) for kind, own in curves.items()
    }
    names = [{curve.name for curve in own} for own in curves.values()]
    if len(curves) > 1 and all(own == names[0] for own in names):
        every = {
            name: np.mean(
                [curve.loss for own in curves.values() for curve in own if curve.name == name],
                axis=0,
            )
            for name in sorted(names[0])
        }
        found[_ALL] = _tested(list(every.items()))
    return found


def _tested(losses: list[tuple[str, Floats]]) -> _Ranked:
    first, *others = ordered = sorted(losses, key=lambda pair: -pair[1][0])
    return _Ranked(ordered, holm([p_value_of_difference(loss - first[1]) for _, loss in others]))


def _contrasts(ranked: Mapping[str, _Ranked], score: Score) -> FindingTable:
    rows: list[list[Cell]] = []
    for kind, found in ranked.items():
        (best, least), *others = found.heads
        for (name, loss), p in zip(others, found.p_values, strict=True):
            rows.append([kind, best, name, estimated(loss - least), p])
    return FindingTable(
        f"which head loses least {score.row.title}",
        ["damage", "loses least", "other head", "difference", "p"],
        rows,
        "difference: of mean changes, paired; p adjusted by Holm within a damage. The "
        "head that loses least was chosen on the same posts.",
        ["difference"],
    )


def _verdict(ranked: Mapping[str, _Ranked], score: Score) -> list[str]:
    lines = []
    for kind, found in ranked.items():
        name, loss = found.heads[0]
        figures = in_points(estimated(loss))
        if len(found.heads) == 1:
            lines.append(f"{kind}: {name} changes by {figures} of {score.row.title} on average.")
            continue
        told = "every other head loses more, beyond chance"
        if found.equals:
            told = f"it cannot be told from {', '.join(found.equals)}"
        lines.append(f"{kind}: {name} loses least: {figures} of {score.row.title}; {told}.")
    return lines


def _not_read(plan: Mapping[str, Sequence[Damage]], entries: Sequence[Entry]) -> list[str]:
    lines = []
    for modality in dict.fromkeys(levels[0].modality for levels in plan.values()):
        names = [entry.name for entry in entries if modality not in modalities_of(entry)]
        if names:
            lines.append(f"Not affected, as they do not read the {modality}: {', '.join(names)}.")
    return lines


def _described(plan: Mapping[str, Sequence[Damage]]) -> list[str]:
    rows = [damage_row(kind) for kind in plan]
    return [
        f"{row.name}: {row.summary} Strength: {row.strength}."
        + (f" After {row.source}." if row.source else "")
        for row in rows
    ]


def _plot(
    kind: str,
    levels: Sequence[Damage],
    curves: Sequence[_Curve],
    score: Score,
    majority: float | None,
) -> LinePlot:
    places = [float(level) for level in range(len(levels) + 1)]
    series = []
    for curve in curves:
        shown = [estimated(values) for values in curve.levels]
        series.append(
            Series(
                curve.name,
                places,
                [each.value for each in shown],
                [each.low for each in shown],
                [each.high for each in shown],
            )
        )
    if majority is not None:
        series.append(Series("most frequent class", places, [majority] * len(places), dashed=True))
    strengths = ", ".join(f"{damage.strength:g}" for damage in levels)
    return LinePlot(
        f"{score.row.title} under {kind}",
        f"level: undamaged, then {strengths}",
        score.row.title,
        series,
    )
