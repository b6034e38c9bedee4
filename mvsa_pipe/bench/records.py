"""Records of single runs, each written as its run ends, so that a stopped bench goes on.

A record is found by everything that decides its run: posts, labels and split, the caches' contents,
head, seed, training options, device and versions. What is not the same is not found.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from mvsa_pipe.bench.failures import has_failed
from mvsa_pipe.bench.tasks import Trial
from mvsa_pipe.cache.reading import FeatureFile
from mvsa_pipe.checked import Count, Seconds, Shape, read_json, shaped
from mvsa_pipe.durable import write_json
from mvsa_pipe.errors import RunError
from mvsa_pipe.heads.options import OptionValue
from mvsa_pipe.metrics.scores import score
from mvsa_pipe.provenance import package_versions
from mvsa_pipe.runs.fit import scored_parts
from mvsa_pipe.runs.prepare import Experiment
from mvsa_pipe.runs.reading import share_fault
from mvsa_pipe.training.options import TrainingOptions

FOLDER = "bench-records"


class FailedShape(Shape):
    """Why a run has no result."""

    reason: str
    lasting: bool


class FailureShape(Shape):
    """A record of a run without a result."""

    failed: FailedShape


class RecordShape(Shape):
    """A record of a run, as far as a bench reads it."""

    ids: dict[str, tuple[str, ...]]
    labels: dict[str, tuple[Count, ...]]
    predicted: dict[str, tuple[Count, ...]]
    probabilities: dict[str, tuple[tuple[float, ...], ...]]
    seconds: Seconds
    scoring_seconds: Seconds
    parameters: Count
    batch_independent: bool


class RunRecords:
    """The records in one folder of runs.

    Args:
        runs: The folder of all runs; ``None`` keeps nothing and finds nothing.
    """

    def __init__(self, runs: Path | None) -> None:
        self._folder = None if runs is None else runs / FOLDER

    def find(self, trial: Trial, experiment: Experiment) -> dict[str, Any] | None:
        """The record of a trial; ``None`` if there is none, or none that was written to its end.

        Its scores and intervals are computed anew from its predictions, and from the labels that
        the posts have: what a record says of itself is not believed.

        Raises:
            RunError: It is whole, but not what a bench writes of this trial.
        """
        if self._folder is None:
            return None
        path = self._folder / trial.record
        try:
            found = read_json(path)
        except (OSError, ValueError):
            return None
        if not isinstance(found, dict) or found.get("record") != trial.record:
            return None
        try:
            return _checked(found, trial, experiment)
        except ValueError as error:
            raise RunError(
                "This record is not what a bench writes of this run",
                where=path,
                found=error,
                hint="--force trains it again, and so does removing the record",
            ) from error

    def keep(self, name: str, record: Mapping[str, Any]) -> None:
        """Writes a record, whole or not at all.

        Raises:
            StorageError: The disk refuses.
        """
        if self._folder is not None:
            write_json(self._folder / name, {"record": name, **record})


def _checked(found: dict[str, Any], trial: Trial, experiment: Experiment) -> dict[str, Any]:
    """A record whose scores follow from its predictions.

    Raises:
        ValueError: It is of another shape, or of other posts.
    """
    if has_failed(found):
        shaped(found, FailureShape)
        return _of(found, trial)
    record = shaped(found, RecordShape)
    ids, classes = experiment.material.features.post_ids, experiment.posts.classes
    scores = {}
    for part in scored_parts(experiment):
        labels = experiment.labels_of(part)
        expected = [ids[i] for i in experiment.indices[part].tolist()]
        predicted, shares = record.predicted.get(part, ()), record.probabilities.get(part, ())
        if list(record.ids.get(part, ())) != expected:
            raise ValueError(f"other posts than the split has - at `$.ids.{part}`")
        if list(record.labels.get(part, ())) != labels.tolist():
            raise ValueError(f"other labels than the posts have - at `$.labels.{part}`")
        if not len(predicted) == len(shares) == len(expected):
            raise ValueError(f"not one prediction a post - at `$.predicted.{part}`")
        if any(len(row) != len(classes) for row in shares) or max(predicted) >= len(classes):
            raise ValueError(f"other classes than the posts have - at `$.probabilities.{part}`")
        fault = share_fault(shares, predicted)
        if fault is not None:
            place, what = fault
            raise ValueError(f"{what} - at `$.probabilities.{part}[{place}]`")
        scores[part] = score(labels, np.array(predicted, np.int64), classes).as_record()
    return _of(found, trial) | {"protocol": experiment.protocol, "scores": scores}


def _of(found: dict[str, Any], trial: Trial) -> dict[str, Any]:
    return found | {"head": trial.head, "seed": trial.training.seed}


def experiment_digest(experiment: Experiment) -> str:
    """Digest of everything but the head and its training that decides a run's numbers."""
    labels = {post.id: post.label for post in experiment.posts.posts}
    deciding = {
        "protocol": experiment.protocol,
        "split": [[i, part, labels[i]] for i, part in experiment.split.parts.items()],
        "classes": experiment.posts.classes,
        "left_out": experiment.left_out,
        "caches": {
            m.value: [_features_digest(file, experiment) for file in files]
            for m, files in experiment.files.items()
        },
        "image_grid": experiment.caches.image_grid,
        "layer_mix": experiment.caches.layer_mix.value,
        "device": str(experiment.material.labels.device),
        "versions": package_versions(),
    }
    return _digest(deciding)


def _features_digest(file: FeatureFile, experiment: Experiment) -> str:
    """Digest of the features that are read; a cache that has grown by other posts keeps it."""
    rows = [file.rows[post_id] for post_id in experiment.material.features.post_ids]
    features = hashlib.sha256(np.ascontiguousarray(file.checksums[rows]).tobytes()).hexdigest()
    return f"{file.header.fingerprint.digest}-{features}"


def record_name(
    experiment: str, head: str, training: TrainingOptions, head_options: Mapping[str, OptionValue]
) -> str:
    """``<head>-seed<k>-<digest>.json``; equal names mean equal runs.

    Args:
        experiment: What ``experiment_digest`` says of its posts and features.
        head: The head's name.
        training: How it is trained.
        head_options: Options of the head that differ from their defaults.
    """
    deciding = [experiment, head, asdict(training), dict(head_options)]
    return f"{head}-seed{training.seed}-{_digest(deciding)[:16]}.json"


def _digest(deciding: object) -> str:
    return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()
