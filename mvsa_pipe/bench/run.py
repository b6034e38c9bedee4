"""Heads × seeds over one experiment, summed up a head at a time."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mvsa_pipe.bench.options import BenchOptions
from mvsa_pipe.bench.records import RunRecords, record_name
from mvsa_pipe.devices import resolve_device
from mvsa_pipe.durable import write_json
from mvsa_pipe.errors import ConfigError
from mvsa_pipe.experiment.options import CacheChoice, DataChoice
from mvsa_pipe.experiment.prepare import Experiment, needs_of, prepare
from mvsa_pipe.experiment.run import Result, references, refuse_early, run_head
from mvsa_pipe.metrics import mean_interval
from mvsa_pipe.progress import Progress
from mvsa_pipe.provenance import now, package_versions
from mvsa_pipe.runs import free_name
from mvsa_pipe.training.options import TrainingOptions


@dataclass(frozen=True)
class HeadSummary:
    """One row of the table: a head over its seeds, on one part.

    Attributes:
        head: Its name.
        part: ``test``, or ``val`` where the split has no test part.
        mean: Mean of each score over seeds.
        deviation: Sample standard deviation over seeds.
        interval: Bootstrap interval of the mean over posts.
        seconds: Mean seconds of one training.
        parameters: Trained numbers.
        batch_independent: Whether a post's prediction is free of its companions.
    """

    head: str
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
        rows: One summary a head, in the order asked for.
        references: Majority and chance rows of the first split.
        records: Every run's record, with its predictions.
    """

    protocol: str
    part: str
    backbones: dict[str, str]
    rows: list[HeadSummary]
    references: list[dict[str, Any]]
    records: list[dict[str, Any]]

    def as_record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "protocol": self.protocol,
            "part": self.part,
            "backbones": self.backbones,
            "written": now(),
            "versions": package_versions(),
            "rows": [vars(row) for row in self.rows],
            "references": self.references,
            "runs": self.records,
        }


def run_bench(
    data: DataChoice,
    caches: CacheChoice,
    options: BenchOptions,
    training: TrainingOptions,
    progress: Progress,
    runs: Path | None = None,
) -> Bench:
    """Trains every head with every seed; posts and features are loaded once.

    Args:
        data: The posts and their split.
        caches: Their features.
        options: Heads and seeds.
        training: How every head is trained.
        progress: Listens.
        runs: The folder of all runs, in which every run is recorded as it ends; what is recorded
            there is not trained again.

    Raises:
        ConfigError: A split that lies in files shall be drawn anew.
        MvsaError: As ``prepare`` and ``run_head``.
    """
    if options.resplit and not data.split.startswith("random"):
        raise ConfigError(
            "--resplit cannot draw a split that lies in files anew",
            expected="--split random-TRAIN:VAL:TEST",
            found=data.split,
        )
    heads = options.chosen_heads()
    for head in heads:
        refuse_early(head, {}, training)
    seeds = range(training.seed, training.seed + options.seeds)
    first_split = seeds[0] if options.resplit else None
    device = resolve_device(training.device)
    first = prepare(data, caches, needs_of(heads), first_split).placed(device)
    for remark in first.remarks():
        progress.say(remark)
    progress.start("bench", len(heads) * options.seeds)
    kept, found = RunRecords(runs), 0
    records: dict[str, list[dict[str, Any]]] = {head: [] for head in heads}
    for seed in seeds:
        experiment = first.split_again(seed) if options.resplit else first
        for head in heads:
            own = replace(training, seed=seed)
            name = record_name(experiment, head, own)
            record = None if options.force else kept.find(name)
            found += record is not None
            if record is None:
                record = _record(experiment, run_head(experiment, head, {}, own))
                kept.keep(name, record)
            records[head].append(record)
            progress.advance(1)
    if found:
        progress.say(f"{found:,} runs were recorded before; --force trains them again")
    return summarise(first, records, resplit=options.resplit)


def save_bench(bench: Bench, runs: Path) -> Path:
    """Writes all records beside the runs; returns the file.

    Raises:
        StorageError: The disk refuses.
    """
    dataset = bench.protocol.partition("/")[0]
    path = runs / free_name(runs, f"bench-{dataset}") / "bench.json"
    write_json(path, bench.as_record())
    return path


def summarise(
    experiment: Experiment,
    records: Mapping[str, Sequence[dict[str, Any]]],
    *,
    resplit: bool = False,
) -> Bench:
    """Sums up runs a head at a time, on the test part where there is one."""
    part = "test" if len(experiment.indices["test"]) else "val"
    classes = len(experiment.posts.classes)
    protocol = experiment.protocol
    return Bench(
        protocol=f"{protocol.rpartition('/')[0]}/seed-varied" if resplit else protocol,
        part=part,
        backbones=experiment.backbones,
        rows=[_row(head, runs, part, classes) for head, runs in records.items() if runs],
        references=references(experiment, part),
        records=[run for runs in records.values() for run in runs],
    )


def _row(head: str, runs: Sequence[dict[str, Any]], part: str, classes: int) -> HeadSummary:
    scores = [run["scores"][part]["values"] for run in runs]
    values = {name: [row[name] for row in scores] for name in scores[0]}
    pairs = [(np.array(run["labels"][part]), np.array(run["predicted"][part])) for run in runs]
    return HeadSummary(
        head=head,
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


def _record(experiment: Experiment, run: Result) -> dict[str, Any]:
    """Everything that comparing runs needs: predictions post by post, and the way there."""
    ids = experiment.material.features.post_ids
    return {
        **run.record,
        "history": run.fitted.history,
        "ids": {p: [ids[i] for i in experiment.indices[p].tolist()] for p in run.predicted},
        "labels": {part: classes.tolist() for part, classes in run.labels.items()},
        "predicted": {part: classes.tolist() for part, classes in run.predicted.items()},
    }
