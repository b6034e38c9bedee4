"""Heads × settings × seeds over one cache: what is not recorded is trained, then all summed up."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from mvsa_pipe.bench.crew import Records, Task, do_side_by_side
from mvsa_pipe.bench.options import BenchOptions
from mvsa_pipe.bench.ray_sweep import Order, do_on_ray
from mvsa_pipe.bench.records import RunRecords, experiment_digest, record_name
from mvsa_pipe.bench.settings import Setting, settings_of
from mvsa_pipe.bench.summary import Bench, summarise
from mvsa_pipe.bench.tasks import Trial, Workshop, cut
from mvsa_pipe.devices import resolve_device, usable_cores
from mvsa_pipe.durable import write_json
from mvsa_pipe.errors import ConfigError
from mvsa_pipe.experiment.options import CacheChoice, DataChoice
from mvsa_pipe.experiment.run import refuse_early
from mvsa_pipe.progress import Progress
from mvsa_pipe.runs import free_name
from mvsa_pipe.training.options import TrainingOptions


def run_bench(
    data: DataChoice,
    caches: CacheChoice,
    options: BenchOptions,
    training: TrainingOptions,
    progress: Progress,
    runs: Path | None = None,
) -> Bench:
    """Trains every head in every setting with every seed; posts and features are loaded once.

    Args:
        data: The posts and their split.
        caches: Their features.
        options: Heads, settings and seeds.
        training: How every head is trained.
        progress: Listens.
        runs: The folder of all runs, in which every run is recorded as it ends; what is recorded
            there is not trained again.

    Raises:
        ConfigError: A split that lies in files shall be drawn anew, or a setting cannot be used.
        MvsaError: As ``prepare`` and ``run_heads``.
    """
    began = time.perf_counter()
    heads, settings = options.chosen_heads(), settings_of(options.vary, training)
    _refuse_early(data, options, settings)
    first_split = training.seed if options.resplit else None
    workshop = Workshop(data, caches, heads, first_split)
    workshop.first = workshop.first.placed(resolve_device(training.device))
    loaded = time.perf_counter() - began
    for remark in workshop.first.remarks():
        progress.say(remark)
    trials = _every_trial(workshop, settings, options)
    progress.start("bench", len(trials))
    kept = RunRecords(runs)
    found = {} if options.force else {t.record: kept.find(t.record) for t in trials}
    records = {name: record for name, record in found.items() if record is not None}
    if records:
        progress.say(f"{len(records):,} runs were recorded before; --force trains them again")
        progress.advance(len(records))
    missing = [trial for trial in trials if trial.record not in records]
    order = Order(data, caches, heads, first_split)
    for task, answers in _done(workshop, missing, order, options, training):
        for trial, record in zip(task, answers, strict=True):
            kept.keep(trial.record, record)
            records[trial.record] = record
        progress.advance(len(task))
    seconds = {"loading": loaded, "wall": time.perf_counter() - began}
    groups = [[records[trial.record] for trial in row] for row in _rows(trials, options.seeds)]
    return summarise(workshop.first, groups, seconds, resplit=options.resplit)


def _refuse_early(data: DataChoice, options: BenchOptions, settings: Sequence[Setting]) -> None:
    if options.resplit and not data.split.startswith("random"):
        raise ConfigError(
            "--resplit cannot draw a split that lies in files anew",
            expected="--split random-TRAIN:VAL:TEST",
            found=data.split,
        )
    for head in options.chosen_heads():
        for setting in settings:
            refuse_early(head, setting.head_options, setting.training)


def _every_trial(
    workshop: Workshop, settings: Sequence[Setting], options: BenchOptions
) -> list[Trial]:
    """All trials, those of one head and setting one after the other."""
    start = settings[0].training.seed
    seeds = range(start, start + options.seeds)
    splits = {seed: seed if options.resplit else None for seed in seeds}
    digests = {
        split: experiment_digest(workshop.experiment(split)) for split in set(splits.values())
    }
    trials = []
    for head in options.chosen_heads():
        for setting in settings:
            for seed in seeds:
                training = replace(setting.training, seed=seed)
                name = record_name(digests[splits[seed]], head, training, setting.head_options)
                trials.append(
                    Trial(head, setting.label, training, setting.head_options, splits[seed], name)
                )
    return trials


def _rows(trials: Sequence[Trial], seeds: int) -> Iterator[Sequence[Trial]]:
    return (trials[start : start + seeds] for start in range(0, len(trials), seeds))


def _done(
    workshop: Workshop,
    trials: Sequence[Trial],
    order: Order,
    options: BenchOptions,
    training: TrainingOptions,
) -> Iterator[tuple[Task, Records]]:
    """Trains trials wherever they shall be: on a cluster, on all cores, or on a GPU."""
    on_cpu = resolve_device(training.device).type == "cpu"
    tasks = cut(trials, on_cpu=on_cpu)
    if options.ray:
        return do_on_ray(options.ray, order.anywhere(), tasks)
    if not on_cpu:  # one GPU does one task after the other
        return ((task, list(workshop.do(task))) for task in tasks)
    return do_side_by_side(
        tasks, lambda task, pulse: list(workshop.do(task, pulse, threads=1)), usable_cores()
    )


def save_bench(bench: Bench, runs: Path) -> Path:
    """Writes all records beside the runs; returns the file.

    Raises:
        StorageError: The disk refuses.
    """
    dataset = bench.protocol.partition("/")[0]
    path = runs / free_name(runs, f"bench-{dataset}") / "bench.json"
    write_json(path, bench.as_record())
    return path
