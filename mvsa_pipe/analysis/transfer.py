"""Scores of heads on other data sets than the one that they were trained on.

Source:
    Torralba and Efros 2011, Unbiased Look at Dataset Bias, CVPR, section 3.1.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from mvsa_pipe.analysis.contest import Entry
from mvsa_pipe.analysis.finding import Cell, Finding, FindingTable, MatrixPlot
from mvsa_pipe.analysis.finding_store import finding_of
from mvsa_pipe.analysis.leaks import cache_folder_of
from mvsa_pipe.analysis.options import TransferOptions
from mvsa_pipe.analysis.resampling import (
    Resampler,
    estimated,
    in_points,
    p_value_of_difference,
)
from mvsa_pipe.analysis.same_heads import (
    differing,
    head_settings,
    same_head,
    training_settings,
)
from mvsa_pipe.analysis.transfer_sets import DataSet, Overlap, class_names, data_sets, overlap
from mvsa_pipe.errors import SplitError
from mvsa_pipe.metrics.paired import holm
from mvsa_pipe.metrics.score_table import Score
from mvsa_pipe.metrics.weighted import Answers, Floats
from mvsa_pipe.modality import Modality
from mvsa_pipe.progress import Progress
from mvsa_pipe.runs import Run
from mvsa_pipe.runs.inference import load_head, predict_data_set
from mvsa_pipe.runs.options import InferenceOptions

_METHOD = (
    (
        "Posts that duplicate training posts of another data set are left out before scoring: "
        "the same text but for case, links and names, the same picture, or one near by its "
        "perceptual hash. Equal ids alone do not make posts alike. All heads are scored on the "
        "same posts of a data set."
    ),
    (
        "Change: from the same head trained on the scored data set, paired over its posts; if none "
        "is, from the head's score on its own data set, over other posts. Intervals: "
        "bootstrap over posts and seeds, 95 %; p-values of paired changes, adjusted by Holm."
    ),
)


@dataclass(frozen=True)
class _Cell:
    """A head on a data set, with resamples ``[1 + R]``.

    Attributes:
        entry: The head.
        trained: The data set of its training.
        scored: The data set on which it is scored.
        posts: How many posts.
        values: Its score.
    """

    entry: Entry
    trained: str
    scored: str
    posts: int
    values: Floats

    @property
    def head(self) -> str:
        """The head's name, under which data sets can have different heads."""
        return self.entry.name

    @property
    def own(self) -> bool:
        """Whether it is scored on the data set of its training."""
        return self.trained == self.scored


@dataclass(frozen=True)
class _Loss:
    """What a head loses on another data set, with a p-value if it is paired."""

    cell: _Cell
    values: Floats
    p_value: float | None


def transfer(runs: Sequence[Run], options: TransferOptions, progress: Progress) -> Finding:
    """Scores runs on other data sets, and what they lose there.

    Args:
        runs: Runs of one or several data sets.
        options: Other data sets, names of classes, and the resampling.
        progress: Receives the progress of backbones.

    Raises:
        ConfigError: There is no other data set, or a class cannot be mapped.
        SplitError: Every post of a data set is shared with the training posts of another.
        RunError: Runs of one data set are not over the same posts, or posts are not there.
        MvsaError: Posts cannot be read or extracted.
    """
    read = {Modality(name) for run in runs for name in run.config["caches"]}
    sets = data_sets(runs, options.data, read)
    common = class_names(options.map, sets, runs)
    cache = options.cache or cache_folder_of(runs[0]) or InferenceOptions.cache
    score = Score(options.score)
    overlaps: dict[tuple[str, str], Overlap] = {}
    cells: list[_Cell] = []
    for target in sets:
        others = [each for each in sets if each.contest is not None and each is not target]
        for other in others:
            overlaps[other.title, target.title] = overlap(other, target, cache, progress)
        given = {i for o in others for i in overlaps[o.title, target.title].left_out}
        ids = [post_id for post_id in target.scored if post_id not in given]
        if not ids:
            raise SplitError(
                f"Every post of {target.title} duplicates a training post of "
                f"{', '.join(o.title for o in others)}",
                where=target.posts.storage.root,
                found=f"{len(target.scored):,} shared posts",
                expected="a data set with other posts",
                hint="mvsa evaluate RUN scores a run on its own test part",
            )
        scoring = _Scoring(target, ids, common, options, cache, progress)
        cells += scoring.cells([each for each in sets if each.contest is not None], score)
    losses = _losses(cells)
    return finding_of(
        "transfer",
        runs,
        options,
        question="What do the heads score on other data sets than that of their training?",
        verdict=[*_verdict(losses, score), *_other_settings(cells), *_shared(overlaps)],
        tables=[_score_table(cells, losses, score), _overlap_table(overlaps, sets)],
        plots=[_matrix(cells, sets, score)],
        method=list(_METHOD),
        posts=sum({cell.scored: cell.posts for cell in cells}.values()),
    )


@dataclass(frozen=True)
class _Scoring:
    """Scores heads on some posts of one data set."""

    target: DataSet
    ids: Sequence[str]
    common: Callable[[str], str]
    options: TransferOptions
    cache: Path
    progress: Progress

    def cells(self, trained: Sequence[DataSet], score: Score) -> list[_Cell]:
        """The scores of all heads of some data sets, by the same resamples."""
        resampler = Resampler(len(self.ids), self.options)
        found = []
        for own in trained:
            assert own.contest is not None  # noqa: S101 (the caller's choice)
            for entry in own.contest.entries:
                if own is self.target:
                    answers = [self._recorded(recorded) for recorded in entry.folds[0]]
                else:
                    answers = [self._answers(run) for run in entry.runs]
                values = resampler.scores(answers, [score])[score]
                found.append(_Cell(entry, own.title, self.target.title, len(self.ids), values))
        return found

    def _recorded(self, recorded: Answers) -> Answers:
        """The recorded predictions of a run of this data set."""
        places = {post_id: place for place, post_id in enumerate(self.target.scored)}
        kept = [places[post_id] for post_id in self.ids]
        assert self.target.contest is not None  # noqa: S101 (it has runs)
        first = self.target.contest.entries[0].runs[0].config["data"]["classes"]
        return self._in_common(recorded.shares[kept], [str(name) for name in first])

    def _answers(self, run: Run) -> Answers:
        """The predictions of a run of another data set."""
        options = InferenceOptions(cache=self.cache, device=self.options.device)
        head = load_head(run, self.options.device, self.progress)
        self.progress.say(f"{run.title} of {run.config['data']['name']} on {self.target.title}")
        found = predict_data_set(run, head, self.target.posts, self.ids, options, self.progress)
        own = [str(name) for name in run.config["data"]["classes"]]
        return self._in_common(found.probabilities.astype(np.float64), own)

    def _in_common(self, shares: Floats, own: Sequence[str]) -> Answers:
        """Answers over the classes that any of the data sets has, by their common names."""
        labels = {post.id: str(post.label) for post in self.target.posts.posts}
        truth = [self.common(labels[post_id]) for post_id in self.ids]
        classes = sorted({*truth, *map(self.common, own)})
        summed = np.zeros((len(truth), len(classes)))
        for place, name in enumerate(own):
            summed[:, classes.index(self.common(name))] += shares[:, place]
        numbers = np.array([classes.index(name) for name in truth], np.int64)
        return Answers(numbers, summed.argmax(axis=1), len(classes), summed)


def _losses(cells: Sequence[_Cell]) -> list[_Loss]:
    own = [cell for cell in cells if cell.own]
    found: list[tuple[_Cell, Floats, bool]] = []
    for cell in (cell for cell in cells if not cell.own):
        native = _native(cell, own)
        (trained,) = (each for each in own if each.entry is cell.entry)
        reference = native or trained
        found.append((cell, cell.values - reference.values, native is not None))
    tested = iter(holm([p_value_of_difference(values) for _, values, paired in found if paired]))
    return [_Loss(cell, values, next(tested) if paired else None) for cell, values, paired in found]


def _native(cell: _Cell, own: Sequence[_Cell]) -> _Cell | None:
    """The same head trained on the scored data set, if there is one."""
    there = [each for each in own if each.scored == cell.scored]
    place = same_head(cell.entry.runs[0], [each.entry.runs[0] for each in there])
    return None if place is None else there[place]


def _other_settings(cells: Sequence[_Cell]) -> list[str]:
    """Sentences about heads of one name that differ between data sets."""
    lines = []
    for one, other in combinations([cell for cell in cells if cell.own], 2):
        if one.head != other.head or one.trained == other.trained:
            continue
        runs = one.entry.runs[0], other.entry.runs[0]
        where = f"{one.head} of {one.trained} and of {other.trained}"
        if heads := differing(*map(head_settings, runs)):
            lines.append(f"{where} are different heads, and are not paired: {', '.join(heads)}.")
        elif trainings := differing(*map(training_settings, runs)):
            lines.append(f"{where} were trained with other options: {', '.join(trainings)}.")
    return lines


def _score_table(cells: Sequence[_Cell], losses: Sequence[_Loss], score: Score) -> FindingTable:
    by_cell = {id(loss.cell): loss for loss in losses}
    rows: list[list[Cell]] = []
    for cell in cells:
        loss = by_cell.get(id(cell))
        changed = None if loss is None else estimated(loss.values)
        p = None if loss is None else loss.p_value
        rows.append([cell.head, cell.trained, cell.scored, estimated(cell.values), changed, p])
    title, paired = score.row.title, any(row[-1] is not None for row in rows)
    note = "change with a p: from the same head trained there, paired; without: from its own set"
    return FindingTable(
        f"{title} by data set",
        ["head", "trained on", "scored on", title, "change", *(["p"] if paired else [])],
        rows if paired else [row[:-1] for row in rows],
        note if paired else "change: from the head's score on its own data set, over other posts",
        [title, "change"],
    )


def _overlap_table(
    overlaps: dict[tuple[str, str], Overlap], sets: Sequence[DataSet]
) -> FindingTable:
    scored = {each.title: len(each.scored) for each in sets}
    rows: list[list[Cell]] = [
        [
            one,
            other,
            scored[other],
            len(found.left_out),
            ", ".join(f"{count:,} {way}" for way, count in found.ways.items()) or "none",
            found.same_ids,
        ]
        for (one, other), found in overlaps.items()
    ]
    return FindingTable(
        "scored posts that duplicate training posts",
        ["trained on", "scored on", "posts", "left out", "by", "equal ids"],
        rows,
    )


def _matrix(cells: Sequence[_Cell], sets: Sequence[DataSet], score: Score) -> MatrixPlot:
    columns = [each.title for each in sets]
    rows: dict[tuple[str, str], dict[str, float]] = {}
    for cell in cells:
        rows.setdefault((cell.head, cell.trained), {})[cell.scored] = float(cell.values[0])
    return MatrixPlot(
        f"{score.row.title} by data set",
        "trained on",
        "scored on",
        [f"{head}, {trained}" for head, trained in rows],
        columns,
        [[row.get(column) for column in columns] for row in rows.values()],
        percent=True,
    )


def _verdict(losses: Sequence[_Loss], score: Score) -> list[str]:
    lines = []
    for loss in losses:
        cell = loss.cell
        than = "its own data set"
        reached = f"{100 * cell.values[0]:.1f} % of {score.row.title}"
        if loss.p_value is not None:
            than = f"{cell.head} trained there"
            than += "" if loss.p_value < 0.05 else ", which may be chance"
        lines.append(
            f"{cell.head} trained on {cell.trained} reaches {reached} on {cell.scored}: "
            f"{in_points(estimated(loss.values))} against {than}."
        )
    return lines


def _shared(overlaps: dict[tuple[str, str], Overlap]) -> list[str]:
    return [
        f"Left out of {other}: {len(found.left_out):,} posts that {one} has in training too."
        for (one, other), found in overlaps.items()
        if found.left_out
    ]
