"""A bench summed up: one row a head and setting, from the records of its runs alone."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mvsa_pipe.bench.averaging import EnsembleSummary, average_runs
from mvsa_pipe.experiment.prepare import Experiment
from mvsa_pipe.experiment.run import references
from mvsa_pipe.metrics import mean_interval
from mvsa_pipe.provenance import now, package_versions


@dataclass(frozen=True)
class HeadSummary:
    """One row of the table: a head in one setting over its seeds, on one part.

    Attributes:
        head: Its name.
        setting: What was varied; empty where nothing was.
        part: ``test``, or ``val`` where the split has no test part.
        mean: Mean of each score over seeds.
        deviation: Sample standard deviation over seeds.
        interval: Bootstrap interval of the mean over posts.
        seconds: Mean seconds of one training.
        parameters: Trained numbers.
        batch_independent: Whether a post's prediction is free of its companions.
    """

    head: str
    setting: str
    part: str
    mean: dict[str, float]
    deviation: dict[str, float]
    interval: dict[str, tuple[float, float]]
    seconds: float
    parameters: int
    batch_independent: bool


@dataclass(frozen=True)
class Bench:
    """All runs of a bench and their summary.

    Attributes:
        protocol: The protocol tag; with ``resplit`` the seed's place says so.
        part: The part that the table shows.
        backbones: Backbone of each modality.
        rows: One summary a head and setting, in the order asked for.
        references: Majority and chance rows of the first split.
        records: Every run's record, with its predictions.
        seconds: Where the time went: ``loading`` and ``wall`` by the clock; ``training`` and
            ``scoring`` summed over runs, some of which ran side by side or were recorded before.
        ensembles: One a row whose seeds can be averaged: of none with ``resplit``, as every seed
            is then tested on other posts.
    """

    protocol: str
    part: str
    backbones: dict[str, str]
    rows: list[HeadSummary]
    references: list[dict[str, Any]]
    records: list[dict[str, Any]]
    seconds: dict[str, float]
    ensembles: list[EnsembleSummary] = field(default_factory=list)

    def as_record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "protocol": self.protocol,
            "part": self.part,
            "backbones": self.backbones,
            "written": now(),
            "versions": package_versions(),
            "rows": [vars(row) for row in self.rows],
            "ensembles": [vars(row) for row in self.ensembles],
            "references": self.references,
            "seconds": self.seconds,
            "runs": self.records,
        }


def summarise(
    experiment: Experiment,
    runs: Iterable[Sequence[dict[str, Any]]],
    seconds: dict[str, float],
    *,
    resplit: bool = False,
) -> Bench:
    """Sums up runs a head and setting at a time, on the test part where there is one.

    Args:
        experiment: What they were trained on, under the first split.
        runs: The records of each head and setting, one a seed.
        seconds: ``loading`` and ``wall``.
        resplit: Whether every seed had a split of its own.
    """
    part = "test" if len(experiment.indices["test"]) else "val"
    classes = experiment.posts.classes
    protocol = experiment.protocol
    groups = [list(group) for group in runs]
    records = [record for group in groups for record in group]
    averaged = [average_runs(group, part, classes) for group in groups]
    spent = {
        "training": sum(record["seconds"] for record in records),
        "scoring": sum(record["scoring_seconds"] for record in records),
    }
    return Bench(
        protocol=f"{protocol.rpartition('/')[0]}/seed-varied" if resplit else protocol,
        part=part,
        backbones=experiment.backbones,
        rows=[_row(group, part, len(classes)) for group in groups],
        references=references(experiment, part),
        records=records,
        seconds={name: round(value, 3) for name, value in (seconds | spent).items()},
        ensembles=[] if resplit else [row for row in averaged if row is not None],
    )


def _row(runs: Sequence[dict[str, Any]], part: str, classes: int) -> HeadSummary:
    scores = [run["scores"][part]["values"] for run in runs]
    values = {name: [row[name] for row in scores] for name in scores[0]}
    pairs = [(np.array(run["labels"][part]), np.array(run["predicted"][part])) for run in runs]
    return HeadSummary(
        head=runs[0]["head"],
        setting=runs[0]["setting"],
        part=part,
        mean=_each(values, lambda v: float(np.mean(v))),
        deviation=_each(values, lambda v: float(np.std(v, ddof=1)) if len(v) > 1 else 0.0),
        interval=mean_interval(pairs, classes),
        seconds=float(np.mean([run["seconds"] for run in runs])),
        parameters=int(runs[0]["parameters"]),
        batch_independent=bool(runs[0]["batch_independent"]),
    )


def _each(
    values: dict[str, list[float]], reduce: Callable[[list[float]], float]
) -> dict[str, float]:
    return {name: reduce(seeds) for name, seeds in values.items()}
