"""Content of a run's ``config.json`` and ``metrics.json``."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from mvsa_pipe.devices import describe_device, resolve_device
from mvsa_pipe.heads.model import Model
from mvsa_pipe.heads.own import SOURCE, head_origin
from mvsa_pipe.metrics.scores import Reference, Scores, chance, majority_reference
from mvsa_pipe.provenance import now, package_versions, peak_memory_bytes
from mvsa_pipe.runs.prepare import Experiment
from mvsa_pipe.training.options import TrainingOptions
from mvsa_pipe.training.state import FittedModel


def references(experiment: Experiment, part: str) -> list[dict[str, Any]]:
    """The majority and chance rows of one part."""
    train, labels = experiment.labels_of("train"), experiment.labels_of(part)
    rows = _references(train.tobytes(), labels.tobytes(), len(experiment.posts.classes))
    return [row.as_record() for row in rows]


@lru_cache(maxsize=16)  # all runs of a bench have the same
def _references(train: bytes, labels: bytes, classes: int) -> tuple[Reference, ...]:
    """Scores of the majority and of chance, by classes of posts as of ``labels_of``."""
    of_train, of_part = (np.frombuffer(values, np.int64) for values in (train, labels))
    return tuple(row(of_train, of_part, classes) for row in (majority_reference, chance))


def metrics_record(
    experiment: Experiment,
    head: str,
    training: TrainingOptions,
    fitted: FittedModel,
    scores: Mapping[str, Scores],
) -> dict[str, Any]:
    """Content of ``metrics.json``, except for the seconds of scoring."""
    device = resolve_device(training.device)
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
    return {
        "protocol": experiment.protocol,
        "head": head,
        "batch_independent": fitted.head.batch_independent,
        "seed": training.seed,
        "backbones": experiment.backbones,
        "image_grid": experiment.caches.features.image_grid,
        "layer_mix": experiment.caches.features.layer_mix.value,
        "posts": experiment.sizes,
        "left_out": list(experiment.left_out),
        "selected_by": f"val_{training.select.value}",
        "selected": fitted.history[fitted.best],
        "parameters": fitted.head.parameter_count,
        "steps": fitted.steps,
        "seconds": round(fitted.seconds, 4),
        "peak_memory_bytes": peak_memory_bytes(),
        "peak_gpu_bytes": peak,
        "device": describe_device(device),
        # what changes the last digits of a training
        "threads": fitted.threads or None,
        "trained_together": fitted.together,
        "scores": {part: values.as_record() for part, values in scores.items()},
        "references": {part: references(experiment, part) for part in scores},
    }


def origin_of(experiment: Experiment) -> dict[str, Any]:
    """What a run is trained on, for lists of runs outside of their folders."""
    return {
        "protocol": experiment.protocol,
        "data": {"name": experiment.posts.name, "split": experiment.data.split},
        "backbones": experiment.backbones,
    }


def head_source(name: str) -> dict[str, dict[str, str]]:
    """Where the class of an own head comes from, for ``config.json``; empty for others."""
    origin = head_origin(name)
    return {} if origin is None else {SOURCE: origin.as_record()}


def config_record(
    experiment: Experiment,
    name: str,
    head: Model,
    training: TrainingOptions,
    seeds: Sequence[int] = (),
) -> dict[str, Any]:
    """Content of ``config.json`` of a run of a head, or of an ensemble of ``seeds``."""
    return {
        "head": name,
        **head_source(name),
        "head_options": asdict(head.options),
        "sizes": asdict(experiment.training_data.features.sizes),
        "training": training.as_record(),
        # seeds of an ensemble's members, whose weights are members.<k> in the checkpoint
        **({"seeds": list(seeds)} if seeds else {}),
        "protocol": experiment.protocol,
        "data": {
            "path": experiment.data.recorded_path,
            "read": experiment.data.read.as_record(),
            "split": experiment.data.split,
            "split_seed": experiment.data.split_seed,
            "name": experiment.posts.name,
            "digest": experiment.posts.digest,
            "classes": list(experiment.posts.classes),
        },
        "image_grid": experiment.caches.features.image_grid,
        "layer_mix": experiment.caches.features.layer_mix.value,
        "caches": experiment.feature_records(),
        "versions": package_versions(),
        "written": now(),
    }
