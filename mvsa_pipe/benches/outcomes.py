"""Outcomes of trials: run folders, written as each trial ends, so that a stopped bench resumes.

A trial's folder has the digest of everything that decides the run in its name, so that a run that
is there is found by one look-up. A trial without a result leaves a folder with its reason alone.
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
    """What a bench needs of a run's metrics."""

    seconds: Seconds
    scoring_seconds: Seconds
    parameters: Count
    batch_independent: bool


@dataclass(frozen=True)
class TestPredictions:
    """A run's predictions for one part.

    Attributes:
        ids: The posts.
        labels: Their true classes.
        predicted: Their predicted classes.
        probabilities: The probability of each class, with six decimals.
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
        trial: What was trained.
        path: Its run folder; ``None`` where runs are not kept.
        metrics: Everything that ``metrics.json`` holds, with scores that follow from the answers.
        answers: Its predictions for each part.
    """

    trial: Trial
    path: Path | None
    metrics: dict[str, Any]
    answers: dict[str, TestPredictions]

    def as_record(self) -> dict[str, Any]:
        """The entry of a bench's index."""
        names = ("protocol", "parameters", "seconds", "selected", "scores")
        return _entry(self.trial, self.path) | {name: self.metrics[name] for name in names}


@dataclass(frozen=True)
class FailedRun:
    """A trial without a result.

    Attributes:
        trial: What was trained.
        path: The folder with the reason; ``None`` where runs are not kept.
        reason: Why it has no result, as one paragraph.
        lasting: Whether the same run would fail again: a shortage of memory, or a lost worker,
            may be over the next time.
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
        runs: The folder of all runs; ``None`` keeps nothing and finds nothing.
    """

    def __init__(self, runs: Path | None) -> None:
        self._runs = runs

    def find(self, trial: Trial, experiment: Experiment) -> Outcome | None:
        """The outcome of a trial; ``None`` if there is none, or a failure that may be over.

        Scores and intervals are computed anew from its predictions.

        Raises:
            RunError: Its folder holds something else, or is damaged.
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
                "This folder does not hold the run that this bench would make",
                where=path,
                found=error,
                hint="--force trains it again, and so does removing the folder",
            ) from error
        return FailedRun(trial, path, failure.reason, lasting=True) if failure.lasting else None

    def keep(self, trial: Trial, result: RunContents | MvsaError) -> Outcome:
        """Writes the folder of a trial, in the place of what has its name.

        Raises:
            StorageError: The disk refuses.
        """
        path = self._path(trial)
        if isinstance(result, RunContents):
            if path is not None:
                write_run(path, result, replace=True)
            classes = result.config["data"]["classes"]
            answers = _answers(result.predictions, classes)
            return FinishedRun(trial, path, dict(result.metrics), answers)
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
    """A run whose scores follow from its predictions.

    Raises:
        ValueError: It is of another digest, of other posts, or its metrics are of another shape.
        RunError: Its predictions are damaged.
    """
    _require_same(run.config.get("spec_digest", ""), trial)
    validated(run.metrics, _MetricsShape)
    ids, classes = experiment.training_data.features.post_ids, experiment.posts.classes
    answers, scores = _answers(run.predictions(), run.config["data"]["classes"]), {}
    for part in scored_parts(experiment):
        labels, own = experiment.labels_of(part), answers.get(part)
        if own is None or list(own.ids) != [ids[i] for i in experiment.indices[part].tolist()]:
            raise ValueError(f"predictions of other posts than the part {part} has")
        if tuple(run.config["data"]["classes"]) != classes or (own.labels != labels).any():
            raise ValueError(f"other labels than the posts of the part {part} have")
        scores[part] = score(labels, own.predicted, classes, own.probabilities).as_record()
    metrics = run.metrics | {"protocol": experiment.protocol, "scores": scores}
    return FinishedRun(trial, run.path, metrics, answers)


def _answers(
    predictions: Sequence[Prediction], classes: Sequence[str]
) -> dict[str, TestPredictions]:
    places = {name: place for place, name in enumerate(classes)}
    parts: dict[str, list[Prediction]] = {}
    for row in predictions:
        parts.setdefault(row.split, []).append(row)
    return {
        part: TestPredictions(
            tuple(row.post_id for row in rows),
            np.array([places[row.label] for row in rows], np.int64),
            np.array([places[row.prediction] for row in rows], np.int64),
            np.array([[round(p, PROBABILITY_DECIMALS) for p in row.probabilities] for row in rows]),
        )
        for part, rows in parts.items()
    }
