"""Scores of heads where the text, or the picture, of every post is absent.

What stands for an absent half: ``null``, zeros with one text token, which is what
``--modality-dropout`` trains heads to read; ``zero``, zeros with as many tokens as the median
training text; ``mean``, the mean of the training posts.

Source:
    Missing halves in training: Neverova et al. 2016, ModDrop, arXiv:1501.00102, section 4.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mvsa_pipe.analysis.changed_features import Inputs
from mvsa_pipe.analysis.contest import contest_of_runs
from mvsa_pipe.analysis.finding import Cell, Finding, FindingTable, ForestPlot, ForestRow
from mvsa_pipe.analysis.finding_store import finding_of
from mvsa_pipe.analysis.options import MissingOptions, Replacement
from mvsa_pipe.analysis.resampling import (
    Resampler,
    estimated,
    in_points,
    p_value_of_difference,
)
from mvsa_pipe.analysis.rescoring import RescoredEntry, RescoredRun, rescored_entries
from mvsa_pipe.errors import RunError
from mvsa_pipe.metrics.paired import holm
from mvsa_pipe.metrics.score_table import Score
from mvsa_pipe.metrics.weighted import Floats
from mvsa_pipe.modality import Modality
from mvsa_pipe.progress import Progress
from mvsa_pipe.runs import Run
from mvsa_pipe.runs.inference import answers_one_half

_LEVEL = 0.05
_NULL = "null"
_WAYS = (_NULL, *(way.value for way in Replacement))
_METHOD = (
    (
        "An absent half is null (zeros, one text token: what --modality-dropout trains), zero "
        "(zeros, as many tokens as the median training text) or mean (of the training posts). "
        "Zero is left out where it equals null. Heads are not trained again."
    ),
    (
        "Change: from the score with both halves. Intervals: bootstrap over posts and seeds, 95 %, "
        "the same draws for all; p-values of differences between heads from the same draws, "
        "adjusted by Holm within a half."
    ),
)


@dataclass(frozen=True)
class _Absence:
    """A head without one half, with resamples ``[1 + R]``."""

    head: str
    half: Modality
    way: str
    values: Floats
    change: Floats


def missing(runs: Sequence[Run], options: MissingOptions, progress: Progress) -> Finding:
    """Scores heads without text and without picture.

    Args:
        runs: The runs; at least one reads both halves.
        options: The score, and the resampling.
        progress: Receives progress.

    Raises:
        RunError: No run reads both halves, or runs are not over the same posts.
        CacheError: Features of a run are not cached.
    """
    contest = contest_of_runs(runs, at_least=1)
    entries = rescored_entries(contest, options, progress)
    both = [entry for entry in entries if len(entry.runs[0].modalities) == len(Modality)]
    if not both:
        raise RunError(
            "None of these runs reads both text and picture, so that neither can be absent",
            where=", ".join(str(run.path) for run in runs),
            expected="a head of both halves",
            hint="mvsa fit --head native-cat makes one; mvsa compare compares heads of one half",
        )
    score = Score(options.score)
    resampler = Resampler(len(contest.folds[0].ids), options)
    progress.start("scoring without a half", len(both), "heads")
    whole: dict[str, Floats] = {}
    absences: list[_Absence] = []
    for entry in both:
        name = entry.name
        whole[name] = resampler.scores(entry.answers(), [score])[score]
        for half in Modality:
            for way in _WAYS:
                answers = entry.answers(_Change(half, way))
                values = resampler.scores(answers, [score])[score]
                if way == Replacement.ZERO and np.array_equal(values, absences[-2].values):
                    continue  # of heads that read no text tokens
                absences.append(_Absence(name, half, way, values, values - whole[name]))
        progress.advance(1)
    trained = {entry.name for entry in both if _trained(entry)}
    labels = both[0].runs[0].labels
    majority = float(np.bincount(labels).max() / len(labels))
    title = score.row.title
    return finding_of(
        "missing",
        runs,
        options,
        question="What do the heads score where text or picture is absent?",
        verdict=[
            *(_sentence(name, absences, title) for name in whole),
            *_contrasts(absences, title),
            *_advice(list(whole), trained),
            *_one_half([entry.head for entry in entries if entry not in both]),
        ],
        tables=[_table(half, whole, absences, title) for half in Modality],
        plots=[
            ForestPlot(
                f"{title} without the {half}",
                title,
                _rows(half, whole, absences),
                {"most frequent class": majority} if score is Score.ACCURACY else {},
            )
            for half in Modality
        ],
        method=list(_METHOD),
        posts=len(labels),
        values={
            name: {
                "trained_for_absence": name in trained,
                **{f"{a.half}-{a.way}": float(a.values[0]) for a in absences if a.head == name},
            }
            for name in whole
        },
    )


@dataclass(frozen=True)
class _Change:
    """Makes one half of all posts absent."""

    half: Modality
    way: str

    def __call__(self, run: RescoredRun) -> Inputs:
        """What a run reads then."""
        if self.way != _NULL:
            return run.inputs_without([self.half], Replacement(self.way))
        zeros = run.constants(self.half, Replacement.ZERO)
        one = [replace(each, tokens=min(each.tokens, 1)) for each in zeros]
        return run.inputs.replaced(self.half, one)


def _trained(entry: RescoredEntry) -> bool:
    return all(answers_one_half(run.run.config["training"], run.model) for run in entry.runs)


def _table(
    half: Modality, whole: dict[str, Floats], absences: Sequence[_Absence], title: str
) -> FindingTable:
    rows: list[list[Cell]] = []
    for name, values in whole.items():
        rows.append([name, "both halves", estimated(values), None])
        rows += [
            [name, a.way, estimated(a.values), estimated(a.change)]
            for a in absences
            if a.half is half and a.head == name
        ]
    return FindingTable(
        f"{title} without the {half}",
        ["head", "as", title, "change"],
        rows,
        percent=[title, "change"],
    )


def _rows(
    half: Modality, whole: dict[str, Floats], absences: Sequence[_Absence]
) -> list[ForestRow]:
    rows = []
    for name, values in whole.items():
        rows.append(ForestRow(f"{name}, both halves", estimated(values), name))
        rows += [
            ForestRow(f"{name}, {a.way}", estimated(a.values), name)
            for a in absences
            if a.half is half and a.head == name
        ]
    return rows


def _best(name: str, half: Modality, absences: Sequence[_Absence]) -> _Absence:
    own = [a for a in absences if a.head == name and a.half is half]
    return max(own, key=lambda a: float(a.values[0]))


def _sentence(name: str, absences: Sequence[_Absence], title: str) -> str:
    parts = []
    for half in Modality:
        best = _best(name, half, absences)
        parts.append(f"{in_points(estimated(best.change))} without the {half} (as {best.way})")
    return f"{name}: {' and '.join(parts)} of {title}."


def _contrasts(absences: Sequence[_Absence], title: str) -> list[str]:
    """Which head scores highest without each half, by its best representation."""
    names = list(dict.fromkeys(a.head for a in absences))
    lines = []
    for half in Modality if len(names) > 1 else ():
        first, *others = sorted(
            (_best(name, half, absences) for name in names), key=lambda a: -a.values[0]
        )
        adjusted = holm([p_value_of_difference(a.values - first.values) for a in others])
        same = [a.head for a, p in zip(others, adjusted, strict=True) if p >= _LEVEL]
        told = f"; it cannot be told from {', '.join(same)}" if same else ", beyond chance"
        highest = f"{first.head} has the highest {title}, {100 * first.values[0]:.1f} %"
        lines.append(f"Without the {half}, {highest}{told}.")
    return lines


def _advice(names: Sequence[str], trained: set[str]) -> list[str]:
    lines = []
    if trained:
        lines.append(
            f"Trained with --modality-dropout, so that mvsa predict answers posts of one half: "
            f"{', '.join(sorted(trained))}."
        )
    others = [name for name in names if name not in trained]
    if others:
        lines.append(
            f"Not trained for absent halves: {', '.join(others)}. mvsa fit --modality-dropout 0.3 "
            "trains a head that is."
        )
    return lines


def _one_half(names: Sequence[str]) -> list[str]:
    return [f"Left out, as they read one half: {', '.join(names)}."] if names else []
