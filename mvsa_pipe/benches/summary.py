"""Summary of a bench: one row per head and setting, computed from its runs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mvsa_pipe.benches.matched_parameters import MatchedHead
from mvsa_pipe.benches.outcomes import FailedRun, FinishedRun, Outcome
from mvsa_pipe.heads import HEADS
from mvsa_pipe.metrics.corrected_t import corrected_mean
from mvsa_pipe.metrics.score_table import Score
from mvsa_pipe.metrics.scores import Interval, defined_in_all, mean_interval, score
from mvsa_pipe.posts.dataset_path import declared_ceilings
from mvsa_pipe.provenance import now, package_versions
from mvsa_pipe.runs.metadata import references
from mvsa_pipe.runs.prepare import Experiment
from mvsa_pipe.tabular import Row, Tabular


@dataclass(frozen=True)
class _Summary:
    """A head in one setting.

    Attributes:
        head: Its name.
        pair: Its backbones if several pairs are compared; else empty.
        setting: The varied options; empty if nothing is varied.
        part: ``test``, or ``val`` if the split has no test part.
    """

    head: str
    pair: str
    setting: str
    part: str


@dataclass(frozen=True)
class EnsembleSummary(_Summary):
    """A head in one setting with the mean probabilities of its seeds.

    Attributes:
        seeds: The averaged seeds.
        values: Scores by name.
        interval: Their bootstrap intervals over posts.
    """

    seeds: tuple[int, ...]
    values: dict[str, float]
    interval: dict[str, tuple[float, float]]


def average_runs(
    runs: Sequence[FinishedRun], part: str, classes: Sequence[str]
) -> EnsembleSummary | None:
    """Scores of the mean probabilities of runs; ``None`` if there is nothing to average.

    There is nothing to average for a single run, for runs that were scored on different posts, and
    for a head that does not depend on its seed.

    Args:
        runs: The runs of one head in one setting, one per seed.
        part: The part to score.
        classes: Names of the classes.
    """
    trial, first = runs[0].trial, runs[0].predictions[part]
    every = [run.predictions[part] for run in runs]
    same = all(one.ids == first.ids and (one.labels == first.labels).all() for one in every)
    if len(runs) < 2 or not same or not HEADS.load(trial.spec.head).seeded:
        return None
    shares = np.mean([one.probabilities for one in every], axis=0)
    scores = score(first.labels, shares.argmax(axis=1), classes, shares)
    return EnsembleSummary(
        head=trial.spec.head,
        pair=trial.pair,
        setting=trial.setting,
        part=part,
        seeds=tuple(run.trial.spec.training.seed for run in runs),
        values=scores.values,
        interval=scores.intervals,
    )


@dataclass(frozen=True)
class HeadSummary(_Summary):
    """One row of the table: a head in one setting over its seeds.

    Attributes:
        mean: Mean of each score over seeds.
        deviation: Sample standard deviation over seeds.
        interval: Interval of the mean: a bootstrap over posts and seeds; with one split per seed,
            the corrected resampled t-interval over splits.
        seconds: Mean seconds of one training.
        parameters: Number of trained parameters.
        batch_independent: Whether predictions are independent of their batch.
        seeds: Number of its runs.
        failed: Number of failed runs of the same head and setting.
    """

    mean: dict[str, float]
    deviation: dict[str, float]
    interval: dict[str, tuple[float, float]]
    seconds: float
    parameters: int
    batch_independent: bool
    seeds: int = 1
    failed: int = 0


@dataclass(frozen=True)
class BlendSummary(HeadSummary):
    """A head in one setting, its runs over different backbones averaged seed by seed.

    Attributes:
        weights: Mean weight of each pair over seeds, by its label.
    """

    weights: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, repr=False)
class Bench(Tabular):
    """All runs of a bench and their summary.

    Attributes:
        protocol: The protocol tag; with ``resplit`` it ends in ``seed-varied``.
        part: The part of the table.
        pairs: The backbone of each modality, for every compared pair.
        rows: One summary per pair, head and setting, in the given order; none if all runs failed.
        references: Majority and chance rows of the first split.
        runs: Every run or its failure, in the given order.
        seconds: ``loading`` and ``wall`` by the clock; ``training`` and ``scoring`` summed over
            runs, which may have run in parallel or in an earlier bench.
        ensembles: One per row whose seeds can be averaged; none with ``resplit``, as every seed is
            then tested on other posts.
        matched: The width of each head that was chosen for a number of parameters, per pair and
            setting; none unless this was asked for.
        ceilings: Best possible accuracies by what a reader sees, if the data set declares them.
    """

    protocol: str
    part: str
    pairs: list[dict[str, str]]
    rows: list[HeadSummary]
    references: list[dict[str, Any]]
    runs: list[Outcome]
    seconds: dict[str, float]
    ensembles: list[EnsembleSummary] = field(default_factory=list)
    blends: list[BlendSummary] = field(default_factory=list)
    matched: list[MatchedHead] = field(default_factory=list)
    ceilings: dict[str, float] = field(default_factory=dict)

    @property
    def failed(self) -> list[FailedRun]:
        """The failed runs, in the given order."""
        return [run for run in self.runs if isinstance(run, FailedRun)]

    @property
    def backbones(self) -> dict[str, str]:
        """All backbones of each modality, each once, joined by commas."""
        names = {modality: [pair[modality] for pair in self.pairs] for modality in self.pairs[0]}
        return {modality: ", ".join(dict.fromkeys(every)) for modality, every in names.items()}

    def table_rows(self) -> list[Row]:
        """Mean scores of each head, their spread over seeds and their intervals over posts."""
        return [_table_row(row) for row in (*self.rows, *self.blends)]

    def table_title(self) -> str:
        """What was compared, and on which posts."""
        return f"{self.protocol}, {self.part}, {' + '.join(self.backbones.values())}"

    def table_notes(self) -> list[str]:
        """The reference scores, and the runs without a result."""
        named = ", ".join(
            f"{row['name']} {row['values'][Score.F1_MACRO.value]:.4g}" for row in self.references
        )
        failed = [
            f"failed: {run.trial.spec.head}, seed {run.trial.spec.training.seed}: {run.reason}"
            for run in self.failed
        ]
        return [f"f1_macro of references: {named}", *failed]

    def as_record(self) -> dict[str, Any]:
        """The summary and an index of the run folders, as plain values for JSON."""
        return {
            "protocol": self.protocol,
            "part": self.part,
            "backbones": self.backbones,
            "pairs": self.pairs,
            "written": now(),
            "versions": package_versions(),
            "rows": [vars(row) for row in self.rows],
            "ensembles": [vars(row) for row in self.ensembles],
            "blends": [vars(row) for row in self.blends],
            "failed": [run.as_record() for run in self.failed],
            "references": self.references,
            "ceilings": self.ceilings,
            "seconds": self.seconds,
            "matched": [head.as_record() for head in self.matched],
            "runs": [run.as_record() for run in self.runs],
        }


def _table_row(row: HeadSummary) -> Row:
    scores = {
        column: value
        for name in (Score.ACCURACY.value, Score.F1_MACRO.value, Score.F1_WEIGHTED.value)
        for column, value in {
            name: row.mean[name],
            f"{name}_sd": row.deviation[name],
            f"{name}_low": row.interval[name][0],
            f"{name}_high": row.interval[name][1],
        }.items()
    }
    details = {name: getattr(row, name) for name in ("pair", "setting") if getattr(row, name)}
    seeds = {"seeds": row.seeds, "failed": row.failed}
    return {
        "head": row.head,
        **details,
        **scores,
        **seeds,
        "seconds": row.seconds,
        "parameters": row.parameters,
    }


@dataclass(frozen=True)
class BenchContext:
    """Properties shared by all runs of a bench.

    Attributes:
        protocol: The protocol tag of the first split.
        part: The part of the summary: test, or val if the split has no test part.
        classes: Names of the classes.
        references: Majority and chance rows of the first split.
        ceilings: Best possible accuracies that the data set declares; empty if it does not.
    """

    protocol: str
    part: str
    classes: tuple[str, ...]
    references: list[dict[str, Any]]
    ceilings: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, experiment: Experiment) -> "BenchContext":
        """The context of an experiment under the first split."""
        part = "test" if len(experiment.indices["test"]) else "val"
        posts = experiment.posts
        return cls(
            experiment.protocol,
            part,
            posts.classes,
            references(experiment, part),
            {} if posts.path is None else declared_ceilings(posts.storage),
        )


def summarise(
    context: BenchContext,
    pairs: list[dict[str, str]],
    rows: Sequence[Sequence[Outcome]],
    seconds: dict[str, float],
    *,
    resplit: bool = False,
) -> Bench:
    """Summarises runs per pair, head and setting.

    Args:
        context: Properties shared by all runs.
        pairs: The backbone of each modality, for every pair.
        rows: The runs of each row, one per seed.
        seconds: ``loading`` and ``wall``.
        resplit: Whether every seed had its own split.
    """
    part, protocol = context.part, context.protocol
    finished = [[run for run in row if isinstance(run, FinishedRun)] for row in rows]
    some = [(own, len(row) - len(own)) for own, row in zip(finished, rows, strict=True) if own]
    averaged = [average_runs(own, part, context.classes) for own, _ in some]
    runs = [run for own, _ in some for run in own]
    spent = {
        "training": sum(run.metrics["seconds"] for run in runs),
        "scoring": sum(run.metrics["scoring_seconds"] for run in runs),
    }
    return Bench(
        protocol=f"{protocol.rpartition('/')[0]}/seed-varied" if resplit else protocol,
        part=part,
        pairs=pairs,
        rows=[summary_of(own, failed, part) for own, failed in some],
        references=context.references,
        ceilings=context.ceilings,
        runs=[run for row in rows for run in row],
        seconds={name: round(value, 3) for name, value in (seconds | spent).items()},
        ensembles=[] if resplit else [row for row in averaged if row is not None],
    )


def summary_of(runs: Sequence[FinishedRun], failed: int, part: str) -> HeadSummary:
    """The row of the finished runs of one head in one setting, one per seed."""
    first = runs[0]
    scores = [run.metrics["scores"][part]["values"] for run in runs]
    values = {name: [row[name] for row in scores] for name in defined_in_all(scores)}
    return HeadSummary(
        head=first.trial.spec.head,
        pair=first.trial.pair,
        setting=first.trial.setting,
        part=part,
        mean=_each(values, lambda v: float(np.mean(v))),
        deviation=_each(values, lambda v: float(np.std(v, ddof=1)) if len(v) > 1 else 0.0),
        interval=_interval(runs, part, values),
        seconds=float(np.mean([run.metrics["seconds"] for run in runs])),
        parameters=int(first.metrics["parameters"]),
        batch_independent=bool(first.metrics["batch_independent"]),
        seeds=len(runs),
        failed=failed,
    )


def _interval(
    runs: Sequence[FinishedRun], part: str, values: dict[str, list[float]]
) -> dict[str, Interval]:
    """Over posts and seeds of runs on the same posts, else over their splits."""
    places: dict[tuple[str, ...], list[int]] = {}
    for place, run in enumerate(runs):
        places.setdefault(run.predictions[part].ids, []).append(place)
    if len(places) == 1:
        found = mean_interval([run.predictions[part].answers for run in runs])
        return {name: found[name] for name in values}
    sizes = [run.metrics["posts"] for run in runs]
    tested, trained = (sum(size[name] for size in sizes) for name in (part, "train"))
    found = {}
    for name, of_runs in values.items():
        means = [float(np.mean([of_runs[place] for place in own])) for own in places.values()]
        found[name] = Score(name).within(corrected_mean(means, tested / trained).interval)
    return found


def _each(
    values: dict[str, list[float]], reduce: Callable[[list[float]], float]
) -> dict[str, float]:
    return {name: reduce(seeds) for name, seeds in values.items()}
