"""Heads with the predictions of their seeds and folds, from a bench or from run folders."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mvsa_pipe.analysis.comparable_runs import PartPredictions, comparable_posts, part_predictions
from mvsa_pipe.analysis.run_labels import setting_labels
from mvsa_pipe.analysis.same_heads import cached_backbones, head_settings, training_settings
from mvsa_pipe.benches.outcomes import FinishedRun
from mvsa_pipe.benches.summary import Bench
from mvsa_pipe.errors import ConfigError, RunError, name_some
from mvsa_pipe.metrics.standings import Entrant, Posts
from mvsa_pipe.metrics.weighted import Answers, Classes
from mvsa_pipe.posts.splits.split import TRAIN
from mvsa_pipe.runs import Run, open_run


@dataclass(frozen=True)
class Entry:
    """One head in one setting.

    Attributes:
        name: Its name in tables and sentences.
        head: The head.
        folds: Its predictions: of each fold, one per seed.
        runs: The run of each seed, where they are of one fold.
    """

    name: str
    head: str
    folds: Entrant
    runs: tuple[Run, ...] = ()


@dataclass(frozen=True)
class Fold:
    """The posts of one split.

    Attributes:
        ids: Posts of the compared part.
        train: Training posts.
        train_labels: Their classes, by index.
        run: A run on this split.
    """

    ids: tuple[str, ...]
    train: tuple[str, ...]
    train_labels: Classes
    run: Run


@dataclass(frozen=True)
class Contest:
    """Heads on the same posts.

    Attributes:
        part: The compared part.
        entries: The heads.
        folds: The splits; several with ``--folds`` and ``--resplit``.
        left_out: Heads without a result in some fold.
    """

    part: str
    entries: tuple[Entry, ...]
    folds: tuple[Fold, ...]
    left_out: tuple[str, ...] = ()

    @property
    def held_out(self) -> Posts:
        """How posts were held out."""
        tested = sum(len(fold.ids) for fold in self.folds)
        different = len({i for fold in self.folds for i in fold.ids})
        return Posts(tested / sum(len(fold.train) for fold in self.folds), different == tested)


def contest_of_bench(bench: Bench) -> Contest | None:
    """The heads of a bench; ``None`` if it has no result, or kept no run folders."""
    rows: dict[tuple[str, str, str], list[FinishedRun]] = {}
    for run in bench.runs:
        if isinstance(run, FinishedRun):
            rows.setdefault((run.trial.spec.head, run.trial.pair, run.trial.setting), []).append(
                run
            )
    runs = [run for own in rows.values() for run in own]
    if not runs or any(run.path is None for run in runs):
        return None
    first: dict[tuple[str, ...], FinishedRun] = {}
    for run in runs:
        first.setdefault(run.predictions[bench.part].ids, run)
    entries, left_out = [], []
    for key, own in rows.items():
        folds = [[run for run in own if run.predictions[bench.part].ids == ids] for ids in first]
        name = " · ".join(filter(None, key))
        if all(folds):
            answers = [[run.predictions[bench.part].answers for run in seeds] for seeds in folds]
            entries.append(Entry(name, key[0], answers))
        else:
            left_out.append(name)
    opened = [open_run(run.path) for run in first.values() if run.path is not None]
    splits = [_fold(run, ids) for run, ids in zip(opened, first, strict=True)]
    return Contest(bench.part, tuple(entries), tuple(splits), tuple(left_out))


def contest_of_runs(
    runs: Sequence[Run], *, shared_only: bool = False, at_least: int = 2
) -> Contest:
    """Runs on the same posts; those that differ in their seed alone are one head.

    Args:
        runs: The runs.
        shared_only: Whether protocols and posts may differ, as long as some posts are shared.
        at_least: The fewest runs.

    Raises:
        ConfigError: There are fewer runs, or the same run twice, even under another name.
        RunError: The runs cannot be compared, or a record is missing or damaged.
    """
    part, some = part_predictions(runs, at_least)
    ids = comparable_posts(part, some, shared_only=shared_only)
    classes = some[0].classes
    grouped: dict[str, list[int]] = {}
    for place, one in enumerate(some):
        grouped.setdefault(_settings(one.run), []).append(place)
    entries = []
    names = _head_names([[some[place] for place in places] for places in grouped.values()])
    for name, places in zip(names, grouped.values(), strict=True):
        answers = [some[place].answered(ids, classes) for place in places]
        _refuse_copies([some[place] for place in places], answers)
        own = tuple(some[place].run for place in places)
        entries.append(Entry(name, str(own[0].config["head"]), [answers], own))
    return Contest(part, tuple(entries), (_fold(some[0].run, tuple(ids)),))


def _head_names(heads: Sequence[Sequence[PartPredictions]]) -> list[str]:
    """Names of heads, each given by its runs: a folder's that somebody chose, or the title.

    Heads of one title are told apart by the settings in which they differ.
    """
    names = [
        own[0].name
        if len(own) == 1 and own[0].name == own[0].run.path.resolve().name
        else own[0].run.title
        for own in heads
    ]
    for title in [name for name, count in Counter(names).items() if count > 1]:
        alike = [place for place, name in enumerate(names) if name == title]
        labels = setting_labels([heads[place][0].run for place in alike])
        for place, label in zip(alike, labels, strict=True):
            names[place] = f"{title} ({label})" if label else title
    return names


def _refuse_copies(runs: Sequence[PartPredictions], answers: Sequence[Answers]) -> None:
    """Refuses a run that is there twice, copied or reproduced: it would count as another seed."""
    seen: dict[tuple[object, bytes], PartPredictions] = {}
    for one, own in zip(runs, answers, strict=True):
        key = one.run.config["training"].get("seed"), own.shares.tobytes()
        if key in seen:
            raise ConfigError(
                "Two of these runs are the same one, which would count as two seeds",
                where=f"{seen[key].run.path}, {one.run.path}",
                expected="each run once",
                found=f"the same settings, seed {key[0]} and the same probabilities",
                hint="leave one of them out, or move it to another folder",
            )
        seen[key] = one


def contest_of_splits(runs: Sequence[Run]) -> Contest:
    """Runs over several splits of one data set, such as folds; heads that some split lacks are out.

    Args:
        runs: The runs; those of one protocol tag are of one split.

    Raises:
        ConfigError: The same run twice.
        RunError: Data sets, classes or parts differ, no head has a run of every split, or a record
            is missing or damaged.
    """
    by_split: dict[str, list[Run]] = {}
    for run in runs:
        by_split.setdefault(str(run.metrics["protocol"]), []).append(run)
    each = [contest_of_runs(own, at_least=1) for own in by_split.values()]
    found: dict[str, list[Entry]] = {}
    for contest in each:
        for entry in contest.entries:
            found.setdefault(_settings(entry.runs[0], splits=True), []).append(entry)
    whole = [own for own in found.values() if len(own) == len(each)]
    if not whole or len({_comparable(contest) for contest in each}) > 1:
        raise RunError(
            "These runs cannot be compared over their splits",
            expected="runs of the same heads in every split of one data set",
            found=f"{len(each)} splits, {len(whole)} heads in all of them: {name_some(by_split)}",
            hint="name the runs of one split, or of one bench",
        )
    titles = [own[0].runs[0].title for own in whole]
    entries = [
        Entry(
            title if titles.count(title) == 1 else own[0].name,
            own[0].head,
            [entry.folds[0] for entry in own],
            tuple(run for entry in own for run in entry.runs),
        )
        for title, own in zip(titles, whole, strict=True)
    ]
    left_out = {own[0].name for own in found.values() if len(own) < len(each)}
    folds = tuple(contest.folds[0] for contest in each)
    return Contest(each[0].part, tuple(entries), folds, tuple(sorted(left_out)))


def _comparable(contest: Contest) -> tuple[object, ...]:
    """What all splits must have in common: the part, the posts of their tags, and the classes."""
    run = contest.folds[0].run
    posts = str(run.metrics["protocol"]).split("/")[:2]
    return contest.part, *posts, *run.config["data"]["classes"]


def _settings(run: Run, *, splits: bool = False) -> str:
    """Everything of a run's configuration but its seed, when and where it was written.

    With ``splits``, the split is left out too.
    """
    data = run.config["data"]
    split = None if splits else (data["split"], data["split_seed"])
    kept = [head_settings(run), training_settings(run), cached_backbones(run), split]
    return json.dumps(kept, sort_keys=True, default=str)


def _fold(run: Run, ids: tuple[str, ...]) -> Fold:
    left_out = set(run.metrics.get("left_out", ()))
    places = {name: place for place, name in enumerate(run.config["data"]["classes"])}
    train = [
        m
        for m in run.members()
        if m.split == TRAIN and m.post_id not in left_out and m.label in places
    ]
    labels = np.array([places[m.label] for m in train], np.int64)
    return Fold(ids, tuple(m.post_id for m in train), labels, run)


def reduced(answers: Answers, kept: Classes) -> Answers:
    """The predictions of some posts, by their places."""
    shares = None if answers.probabilities is None else answers.probabilities[kept]
    return Answers(answers.labels[kept], answers.predicted[kept], answers.classes, shares)
