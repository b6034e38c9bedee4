"""Outcomes of trials: run folders, written as each trial ends, so that a stopped bench resumes.

The name of a trial's folder contains the digest of everything that determines the run, so that an
existing run is found by one look-up. The folder of a failed trial contains only the error.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from mvsa_pipe.benches.trials import Trial
from mvsa_pipe.cluster.pool import LostWorkersError
from mvsa_pipe.devices import MemoryShortageError
from mvsa_pipe.disk import inside
from mvsa_pipe.durable import json_bytes, whole_folder
from mvsa_pipe.errors import MvsaError, RunError
from mvsa_pipe.json_schema import Count, Schema, Seconds, validated
from mvsa_pipe.metrics.scores import score
from mvsa_pipe.metrics.weighted import PROBABILITY_DECIMALS, Answers
from mvsa_pipe.provenance import now
from mvsa_pipe.runs import Prediction, Run, RunContents, open_run, write_run
from mvsa_pipe.runs.fit import scored_parts
from mvsa_pipe.runs.layout import FAILED
from mvsa_pipe.runs.prepare import Experiment
from mvsa_pipe.runs.reading import read_failure


class _MetricsShape(Schema):
    """The metrics that a bench reads of a run."""

    seconds: Seconds
    scoring_seconds: Seconds
    parameters: Count
    batch_independent: bool


@dataclass(frozen=True)
class Predictions:
    """A run's predictions for one part.

    Attributes:
        ids: The posts.
        labels: Their true classes.
        predicted: Their predicted classes.
        probabilities: Probability of each class, with six decimals.
    """

    ids: tuple[str, ...]
    labels: Int[ndarray, " N"]
    predicted: Int[ndarray, " N"]
    probabilities: Float[ndarray, "N C"]

    @property
    def answers(self) -> Answers:
        """The same without the posts' ids, for scores."""
        classes = self.probabilities.shape[1]
        return Answers(self.labels, self.predicted, classes, self.probabilities)


@dataclass(frozen=True)
class FinishedRun:
    """A trial with a result.

    Attributes:
        trial: The trial.
        path: Its run folder; ``None`` if runs are not kept.
        metrics: Content of ``metrics.json``, with scores computed from the predictions.
        predictions: Its predictions for each part.
    """

    trial: Trial
    path: Path | None
    metrics: dict[str, Any]
    predictions: dict[str, Predictions]

    def as_record(self) -> dict[str, Any]:
        """The entry of a bench's index."""
        names = ("protocol", "parameters", "seconds", "selected", "scores")
        return _entry(self.trial, self.path) | {name: self.metrics[name] for name in names}


@dataclass(frozen=True)
class FailedRun:
    """A failed trial.

    Attributes:
        trial: The trial.
        path: The folder with the error; ``None`` if runs are not kept.
        reason: The error, as one paragraph.
        lasting: Whether the same run would fail again; not so for a shortage of memory or a lost
            worker.
    """

    trial: Trial
    path: Path | None
    reason: str
    lasting: bool

    def as_record(self) -> dict[str, Any]:
        """The entry of a bench's index."""
        return _entry(self.trial, self.path) | {"failed": True, "reason": self.reason}


Outcome = FinishedRun | FailedRun


def _entry(trial: Trial, path: Path | None) -> dict[str, Any]:
    return {
        "run": None if path is None else str(path),
        "digest": trial.digest,
        "head": trial.spec.head,
        "pair": trial.pair,
        "setting": trial.setting,
        "seed": trial.spec.training.seed,
    }


class RunFolders:
    """The run folders of trials.

    Args:
        runs: The folder of all runs; with ``None``, no run is kept or found.
    """

    def __init__(self, runs: Path | None) -> None:
        self._runs = runs

    def find(self, trial: Trial, experiment: Experiment) -> Outcome | None:
        """The outcome of a trial; ``None`` if there is none, or a failure that may not recur.

        Scores and intervals are computed again from its predictions.

        Raises:
            RunError: Its folder contains another run, or is damaged.
        """
        path = self._path(trial)
        if path is None or not path.exists():
            return None
        try:
            if not (path / FAILED).is_file():
                return _found(open_run(path), trial, experiment)
            failure = read_failure(path)
            _require_same(failure.spec_digest, trial)
        except (RunError, ValueError) as error:
            raise RunError(
                "This folder does not contain the run that this bench would make",
                where=path,
                found=error,
                hint="use --force, or remove the folder, to train it again",
            ) from error
        return FailedRun(trial, path, failure.reason, lasting=True) if failure.lasting else None

    def keep(self, trial: Trial, result: RunContents | MvsaError) -> Outcome:
        """Writes the folder of a trial; replaces an existing one.

        Raises:
            StorageError: The disk refuses.
        """
        path = self._path(trial)
        if isinstance(result, RunContents):
            if path is not None:
                write_run(path, result, replace=True)
            classes = result.config["data"]["classes"]
            predictions = _by_part(result.predictions, classes)
            return FinishedRun(trial, path, dict(result.metrics), predictions)
        lasting = not isinstance(result, MemoryShortageError | LostWorkersError)
        failed = FailedRun(trial, path, result.paragraph(), lasting)
        if path is not None:
            record = {
                "spec_digest": trial.digest,
                "head": trial.spec.head,
                "seed": trial.spec.training.seed,
                "kind": type(result).__name__,
                "reason": failed.reason,
                "lasting": lasting,
                "written": now(),
            }
            with whole_folder(path, replace=True) as folder:
                (folder / FAILED).write_bytes(json_bytes(record))
        return failed

    def _path(self, trial: Trial) -> Path | None:
        return None if self._runs is None else inside(self._runs, trial.name)


def _require_same(digest: str, trial: Trial) -> None:
    if digest != trial.digest:
        raise ValueError(f"a run of another digest: {digest[:12] or 'none'}")


def _found(run: Run, trial: Trial, experiment: Experiment) -> FinishedRun:
    """A recorded run, with scores computed from its predictions.

    Raises:
        ValueError: It has another digest, other posts, or invalid metrics.
        RunError: Its predictions are damaged.
    """
    _require_same(run.config.get("spec_digest", ""), trial)
    validated(run.metrics, _MetricsShape)
    ids, classes = experiment.training_data.features.post_ids, experiment.posts.classes
    predictions, scores = _by_part(run.predictions(), run.config["data"]["classes"]), {}
    for part in scored_parts(experiment):
        labels, own = experiment.labels_of(part), predictions.get(part)
        if own is None or list(own.ids) != [ids[i] for i in experiment.indices[part].tolist()]:
            raise ValueError(f"predictions of other posts than those of the part {part}")
        if tuple(run.config["data"]["classes"]) != classes or (own.labels != labels).any():
            raise ValueError(f"other labels than those of the part {part}")
        scores[part] = score(labels, own.predicted, classes, own.probabilities).as_record()
    metrics = run.metrics | {"protocol": experiment.protocol, "scores": scores}
    return FinishedRun(trial, run.path, metrics, predictions)


def _by_part(predictions: Sequence[Prediction], classes: Sequence[str]) -> dict[str, Predictions]:
    indices = {name: index for index, name in enumerate(classes)}
    parts: dict[str, list[Prediction]] = {}
    for row in predictions:
        parts.setdefault(row.split, []).append(row)
    return {
        part: Predictions(
            tuple(row.post_id for row in rows),
            np.array([indices[row.label] for row in rows], np.int64),
            np.array([indices[row.prediction] for row in rows], np.int64),
            np.array([[round(p, PROBABILITY_DECIMALS) for p in row.probabilities] for row in rows]),
        )
        for part, rows in parts.items()
    }
