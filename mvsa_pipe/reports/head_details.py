"""Details of each head: confusion, scores of each class, curves."""

from collections.abc import Sequence

import numpy as np

from mvsa_pipe.analysis.contest import Contest, Entry
from mvsa_pipe.analysis.finding import Cell, FindingTable
from mvsa_pipe.analysis.resampling import Resampler, estimated
from mvsa_pipe.errors import MvsaError
from mvsa_pipe.heads import HEADS
from mvsa_pipe.metrics.score_table import class_values
from mvsa_pipe.metrics.scores import confusion_matrix
from mvsa_pipe.metrics.weighted import Answers, Floats
from mvsa_pipe.progress import Progress
from mvsa_pipe.reports.content import Confusion, HeadDetails, Leaderboard
from mvsa_pipe.reports.curves import curves
from mvsa_pipe.reports.options import ReportOptions

_COLUMNS = ("precision", "recall", "f1")
_TITLES = ["precision", "recall", "F1"]


def head_details(
    contest: Contest, board: Leaderboard, options: ReportOptions, progress: Progress
) -> list[HeadDetails]:
    """Details of every head, in the leaderboard's order.

    Args:
        contest: The heads.
        board: Their order and anchors.
        options: How many have curves, and the resampling.
        progress: Receives progress.

    Raises:
        RunError: A run's history is missing or damaged.
    """
    classes = [str(name) for name in contest.folds[0].run.config["data"]["classes"]]
    entries = {entry.name: entry for entry in contest.entries}
    ranked = [row for row in board.rows if row.rank is not None]
    progress.start("details of heads", len(ranked), "heads")
    found = []
    for place, row in enumerate(ranked):
        entry = entries[row.name]
        seeds = [answers for fold in entry.folds for answers in fold]
        found.append(
            HeadDetails(
                anchor=row.anchor,
                name=row.name,
                summary=_summary(entry, len(contest.folds)),
                confusion=_confusion(seeds, classes),
                per_class=_per_class(entry, classes, options),
                plots=curves(seeds, entry.runs, classes) if place < options.curves else [],
            )
        )
        progress.advance(1)
    return found


def _summary(entry: Entry, folds: int) -> str:
    """What the head computes, and what its tables and curves are of."""
    try:
        row = HEADS.row(entry.head)
        computes = f"{row.summary}; {row.source}" if row.source else row.summary
    except MvsaError:
        computes = "a head that is not in the table of heads"
    seeds = max(len(own) for own in entry.folds)
    parts = [f"{seeds} seeds" if seeds > 1 else "one seed"]
    parts += [f"{folds} folds"] if folds > 1 else []
    return f"{computes} · {', '.join(parts)}"


def _confusion(seeds: Sequence[Answers], classes: Sequence[str]) -> Confusion:
    counts = sum(
        confusion_matrix(answers.labels, answers.predicted, len(classes)) for answers in seeds
    )
    return Confusion(tuple(classes), np.asarray(counts).tolist())


def _per_class(entry: Entry, classes: Sequence[str], options: ReportOptions) -> FindingTable:
    """Means over seeds, with intervals over posts and seeds where nothing is cut into folds."""
    seeds = [answers for fold in entry.folds for answers in fold]
    values = [class_values(answers.plain().confusion[0]) for answers in seeds]
    samples = _resampled(entry.folds[0], options) if len(entry.folds) == 1 else {}
    support = np.bincount(np.concatenate([fold[0].labels for fold in entry.folds]))
    rows: list[list[Cell]] = []
    for place, name in enumerate(classes):
        cells: list[Cell] = []
        for column in _COLUMNS:
            mean = float(np.mean([found[column][place] for found in values]))
            cells.append(estimated(samples[column][:, place]) if samples else mean)
        posts = int(support[place]) if place < len(support) else 0
        rows.append([name, *cells, posts])
    return FindingTable(
        f"classes, {entry.name}",
        ["class", *_TITLES, "posts"],
        rows,
        "Means over seeds; intervals at 95 %, over posts and seeds.",
        _TITLES,
    )


def _resampled(seeds: Sequence[Answers], options: ReportOptions) -> dict[str, Floats]:
    """Mean precision, recall and F1 of classes, of all posts and resamples ``[1 + R, C]``."""
    resampler = Resampler(len(seeds[0].labels), options)
    of_seeds = [class_values(resampler.confusions(answers)) for answers in seeds]
    return {
        column: np.stack(
            [
                resampler.over_seeds(np.stack([values[column][:, place] for values in of_seeds]))
                for place in range(seeds[0].classes)
            ],
            axis=1,
        )
        for column in _COLUMNS
    }
