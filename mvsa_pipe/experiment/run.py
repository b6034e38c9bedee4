"""One head's run from end to end: trained, selected on validation, scored once, written."""

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mvsa_pipe.devices import describe_device, resolve_device
from mvsa_pipe.energy import counted_joules, spent_joules
from mvsa_pipe.errors import RunError
from mvsa_pipe.experiment.prepare import Experiment
from mvsa_pipe.heads import HEADS
from mvsa_pipe.heads.base import FusionHead
from mvsa_pipe.heads.options import OptionValue, parse_options
from mvsa_pipe.metrics import Scores, chance, majority, score
from mvsa_pipe.provenance import now, package_versions, peak_memory_bytes
from mvsa_pipe.runs import Member, Prediction, Run, free_name, predictions_of, write_run
from mvsa_pipe.training.course import Fitted
from mvsa_pipe.training.fitting import Plan, fit_heads
from mvsa_pipe.training.options import TrainingOptions
from mvsa_pipe.training.pulse import Pulse, no_pulse
from mvsa_pipe.training.scoring import predict_probabilities

_SCORED_PARTS = ("val", "test")


@dataclass(frozen=True)
class Result:
    """One trained head with its scores.

    Attributes:
        head: Its name.
        seed: Its seed.
        record: Everything that ``metrics.json`` holds.
        scores: Scores of each part that has posts, ``val`` and ``test``.
        labels: True classes of each part.
        predicted: Predicted classes of each part.
        probabilities: Probabilities of each part.
        fitted: The head and its history.
        seeds: The seeds of all members, if it is an ensemble.
    """

    head: str
    seed: int
    record: dict[str, Any]
    scores: dict[str, Scores]
    labels: dict[str, NDArray[np.int64]]
    predicted: dict[str, NDArray[np.int64]]
    probabilities: dict[str, NDArray[np.float32]]
    fitted: Fitted
    seeds: tuple[int, ...] = ()


@dataclass(frozen=True)
class Assignment:
    """One run to make.

    Attributes:
        experiment: What its head is trained and scored on.
        training: How it is trained.
        head_options: Options of the head that differ from their defaults.
    """

    experiment: Experiment
    training: TrainingOptions
    head_options: Mapping[str, OptionValue] = field(default_factory=dict)


def run_head(
    experiment: Experiment,
    head: str,
    head_options: Mapping[str, OptionValue],
    training: TrainingOptions,
) -> Result:
    """Trains one head, picks its epoch on validation, and then scores the test part once.

    Raises:
        MvsaError: As ``fit_head``.
    """
    (result,) = run_heads(head, [Assignment(experiment, training, head_options)])
    return result


def run_heads(
    head: str,
    assignments: Sequence[Assignment],
    pulse: Pulse = no_pulse,
    threads: int | None = None,
) -> list[Result]:
    """Several runs of one head, trained as one where that can be; each as by ``run_head``.

    Args:
        head: The head's name.
        assignments: The runs.
        pulse: Called before every training step; whatever it raises ends all of them.
        threads: Threads of the CPU, as of ``fit_heads``.

    Raises:
        MvsaError: As ``fit_head``.
    """
    placed = [
        replace(a, experiment=a.experiment.placed(resolve_device(a.training.device)))
        for a in assignments
    ]
    plans = [Plan(a.experiment.material, a.training, a.head_options) for a in placed]
    device = resolve_device(assignments[0].training.device)
    joules_before = counted_joules(device)
    runs = fit_heads(head, plans, pulse, threads)
    joules = spent_joules(joules_before, counted_joules(device))
    results = [score_fitted(a, head, fitted) for a, fitted in zip(placed, runs, strict=True)]
    for result in results:  # what runs that were trained side by side took each is not known
        result.record["energy_joules"] = joules if len(results) == 1 else None
    return results


def score_fitted(assignment: Assignment, head: str, fitted: Fitted) -> Result:
    """Scores a trained head on validation and, once, on test."""
    experiment, training = assignment.experiment, assignment.training
    material, began = experiment.material, time.perf_counter()
    probabilities = {
        part: predict_probabilities(
            fitted.head, material.features, experiment.indices[part].to(material.train.device)
        )
        for part in scored_parts(experiment)
    }
    return result_of(experiment, head, training, fitted, probabilities, began)


def scored_parts(experiment: Experiment) -> list[str]:
    """The parts that a run is scored on, as far as they have posts."""
    return [part for part in _SCORED_PARTS if len(experiment.indices[part])]


def result_of(
    experiment: Experiment,
    head: str,
    training: TrainingOptions,
    fitted: Fitted,
    probabilities: dict[str, NDArray[np.float32]],
    scoring_since: float,
) -> Result:
    """A trained head with the scores of what it said of each part.

    ``scoring_since`` is when scoring began, by ``time.perf_counter``.
    """
    labels = {part: experiment.labels_of(part) for part in probabilities}
    predicted = {part: values.argmax(axis=1) for part, values in probabilities.items()}
    classes = experiment.posts.classes
    scores = {part: score(labels[part], predicted[part], classes) for part in probabilities}
    record = _metrics_record(experiment, head, training, fitted, scores)
    record["scoring_seconds"] = round(time.perf_counter() - scoring_since, 4)
    return Result(head, training.seed, record, scores, labels, predicted, probabilities, fitted)


def refuse_early(
    head: str, head_options: Mapping[str, OptionValue], training: TrainingOptions
) -> None:
    """Refuses what can be refused before posts and features are read.

    Raises:
        ConfigError: The head's options or the device cannot be used.
    """
    parse_options(head, HEADS.load(head).Options, head_options)
    resolve_device(training.device)


def references(experiment: Experiment, part: str) -> list[dict[str, Any]]:
    """The majority and the chance row of one part."""
    train, labels = experiment.labels_of("train"), experiment.labels_of(part)
    classes = len(experiment.posts.classes)
    return [row(train, labels, classes).as_record() for row in (majority, chance)]


def _metrics_record(
    experiment: Experiment,
    head: str,
    training: TrainingOptions,
    fitted: Fitted,
    scores: Mapping[str, Scores],
) -> dict[str, Any]:
    device = resolve_device(training.device)
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
    return {
        "protocol": experiment.protocol,
        "head": head,
        "batch_independent": fitted.head.batch_independent,
        "seed": training.seed,
        "backbones": experiment.backbones,
        "image_grid": experiment.caches.image_grid,
        "layer_mix": experiment.caches.layer_mix.value,
        "posts": experiment.sizes,
        "left_out": list(experiment.left_out),
        "selected_by": f"val_{training.select.value}",
        "selected": fitted.history[fitted.best],
        "parameters": sum(p.numel() for p in fitted.head.parameters()),
        "steps": fitted.steps,
        "seconds": round(fitted.seconds, 4),
        "peak_memory_bytes": peak_memory_bytes(),
        "peak_gpu_bytes": peak,
        "device": describe_device(device),
        "scores": {part: values.as_record() for part, values in scores.items()},
        "references": {part: references(experiment, part) for part in scores},
    }


def save_run(
    experiment: Experiment,
    result: Result,
    training: TrainingOptions,
    folder: Path,
    name: str | None = None,
    more_config: Mapping[str, Any] | None = None,
    more: Mapping[str, Path] | None = None,
) -> Run:
    """Writes a result as a run folder.

    Args:
        experiment: What the head was trained on.
        result: The trained head.
        training: How it was trained.
        folder: The folder of all runs.
        name: The run's name; one that is free, made of its parts, unless given.
        more_config: What else the run was made from.
        more: Files that are copied into the folder, by their names there.

    Raises:
        RunError: A run of the given name is there already.
        StorageError: The disk refuses.
    """
    contents = (
        config_record(experiment, result.head, result.fitted.head, training, result.seeds)
        | dict(more_config or {}),
        result.record,
        result.fitted.history,
        result.fitted.head.state_dict(),
        _predictions(experiment, result),
        _members(experiment),
        more,
    )
    if name is not None:
        return write_run(folder / name, *contents)
    wanted = default_run_name(experiment, result.head, result.seeds or (result.seed,))
    while True:
        try:
            return write_run(folder / free_name(folder, wanted), *contents)
        except RunError:
            continue  # another process took the name in between


def config_record(
    experiment: Experiment,
    name: str,
    head: FusionHead,
    training: TrainingOptions,
    seeds: Sequence[int] = (),
) -> dict[str, Any]:
    """Everything that ``config.json`` says of a run of a head, or of an ensemble of ``seeds``."""
    return {
        "head": name,
        "head_options": asdict(head.options),
        "sizes": asdict(experiment.material.features.sizes),
        "training": asdict(training),
        # of an ensemble: one a member, whose weights stand under members.<k> in the checkpoint
        **({"seeds": list(seeds)} if seeds else {}),
        "protocol": experiment.protocol,
        "data": {
            "path": str(experiment.data.path.resolve()),
            "read": asdict(experiment.data.read),
            "split": experiment.data.split,
            "split_seed": experiment.data.split_seed,
            "name": experiment.posts.name,
            "classes": list(experiment.posts.classes),
        },
        "image_grid": experiment.caches.image_grid,
        "layer_mix": experiment.caches.layer_mix.value,
        "caches": experiment.feature_records(),
        "versions": package_versions(),
        "written": now(),
    }


def _predictions(experiment: Experiment, result: Result) -> list[Prediction]:
    rows = []
    classes = experiment.posts.classes
    for part, probabilities in result.probabilities.items():
        ids = [experiment.material.features.post_ids[i] for i in experiment.indices[part].tolist()]
        labels = [classes[c] for c in result.labels[part].tolist()]
        rows += predictions_of(ids, [part] * len(ids), labels, probabilities, classes)
    return rows


def _members(experiment: Experiment) -> list[Member]:
    labels = {post.id: post.label or "" for post in experiment.posts.posts}
    return [Member(i, part, labels[i]) for i, part in experiment.split.parts.items()]


def default_run_name(experiment: Experiment, head: str, seeds: Sequence[int]) -> str:
    """``<data set>-<head>-<text>-<image>-seed<k>``, in characters that any disk takes.

    An ensemble's ends in ``-seeds<first>-<last>``.
    """
    seed = f"seed{seeds[0]}" if len(seeds) == 1 else f"seeds{seeds[0]}-{seeds[-1]}"
    parts = [experiment.posts.name, head, *experiment.backbones.values(), seed]
    return "-".join(re.sub(r"[^A-Za-z0-9._+]+", "-", part).strip("-") for part in parts)
