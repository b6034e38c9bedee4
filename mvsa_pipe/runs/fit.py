"""Trains heads, selects their epochs on validation, and scores the test part once."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mvsa_pipe.devices import counted_joules, resolve_device, spent_joules
from mvsa_pipe.errors import MvsaError
from mvsa_pipe.heads import HEADS
from mvsa_pipe.heads.build import build_head
from mvsa_pipe.heads.options import OptionValue, parse_options
from mvsa_pipe.metrics.scores import Scores, score
from mvsa_pipe.progress import OnStep, no_callback
from mvsa_pipe.runs.metadata import metrics_record
from mvsa_pipe.runs.prepare import Experiment
from mvsa_pipe.training.epochs import OnEpoch, ignore_epoch
from mvsa_pipe.training.fitting import or_fault, try_fit_heads
from mvsa_pipe.training.options import RunSpec, TrainingOptions
from mvsa_pipe.training.scoring import predict_probabilities
from mvsa_pipe.training.stacking import Alone, why_alone
from mvsa_pipe.training.state import FittedModel

# A run with its experiment.
PlannedRun = tuple[Experiment, RunSpec]

_SCORED_PARTS = ("val", "test")


@dataclass(frozen=True)
class FitResult:
    """One trained head with its scores.

    Attributes:
        head: Its name.
        seed: Its seed.
        record: Content of ``metrics.json``.
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
    fitted: FittedModel
    seeds: tuple[int, ...] = ()


def run_head(
    experiment: Experiment,
    head: str,
    head_options: Mapping[str, OptionValue],
    training: TrainingOptions,
) -> FitResult:
    """Trains one head, selects its epoch on validation, and scores the test part once.

    Raises:
        MvsaError: From ``fit_head``.
    """
    (result,) = try_run_heads([(experiment, RunSpec(head, training, head_options))])
    if isinstance(result, MvsaError):
        raise result
    return result


def try_run_heads(
    planned: Sequence[PlannedRun],
    on_step: OnStep = no_callback,
    threads: int | None = None,
    on_epoch: OnEpoch = ignore_epoch,
) -> list[FitResult | MvsaError]:
    """Trains and scores several runs of one head; those that can share a stack train as one.

    Args:
        planned: The runs, each with its experiment; all of the same head.
        on_step: Callback before each training step; raise to cancel all runs.
        threads: CPU threads, as in ``fit_heads``.
        on_epoch: Callback after each epoch of each run.

    Returns:
        The results, each as by ``run_head``, or the errors of runs that failed.

    Raises:
        CacheError: From ``try_fit_heads``.
        StorageError: From ``try_fit_heads``.
    """
    device = resolve_device(planned[0][1].training.device)
    placed = [(experiment.to(device), spec) for experiment, spec in planned]
    joules_before = counted_joules(device)
    runs = try_fit_heads(
        [(experiment.training_data, spec) for experiment, spec in placed],
        on_step,
        threads,
        on_epoch,
    )
    joules = spent_joules(joules_before, counted_joules(device))
    results = [
        run
        if isinstance(run, MvsaError)
        else or_fault(partial(score_fitted, experiment, spec, run), device)
        for (experiment, spec), run in zip(placed, runs, strict=True)
    ]
    for result in results:  # the energy of each of several runs is not measured
        if isinstance(result, FitResult):
            result.record["energy_joules"] = joules if len(results) == 1 else None
    return results


def score_fitted(experiment: Experiment, spec: RunSpec, fitted: FittedModel) -> FitResult:
    """Scores a trained head on validation and, once, on test."""
    training_data, began = experiment.training_data, time.perf_counter()
    probabilities = {
        part: predict_probabilities(
            fitted.head,
            training_data.features,
            experiment.indices[part].to(training_data.train.device),
            training_data.texts,
        )
        for part in scored_parts(experiment)
    }
    return result_of(experiment, spec.head, spec.training, fitted, probabilities, began)


def scored_parts(experiment: Experiment) -> list[str]:
    """The scored parts that have posts."""
    return [part for part in _SCORED_PARTS if len(experiment.indices[part])]


def result_of(
    experiment: Experiment,
    head: str,
    training: TrainingOptions,
    fitted: FittedModel,
    probabilities: dict[str, NDArray[np.float32]],
    scoring_since: float,
) -> FitResult:
    """The result of a trained head, from its probabilities for each part.

    ``scoring_since`` is the start of scoring by ``time.perf_counter``.
    """
    labels = {part: experiment.labels_of(part) for part in probabilities}
    predicted = {part: values.argmax(axis=1) for part, values in probabilities.items()}
    classes = experiment.posts.classes
    scores = {
        part: score(labels[part], predicted[part], classes, shares)
        for part, shares in probabilities.items()
    }
    record = metrics_record(experiment, head, training, fitted, scores)
    record["scoring_seconds"] = round(time.perf_counter() - scoring_since, 4)
    return FitResult(head, training.seed, record, scores, labels, predicted, probabilities, fitted)


def refuse_early(
    head: str, head_options: Mapping[str, OptionValue], training: TrainingOptions
) -> None:
    """Raises errors that can be found before posts and features are read.

    Raises:
        ConfigError: The head's options or the device cannot be used.
    """
    parse_options(head, HEADS.load(head).Options, head_options)
    resolve_device(training.device)


def reason_alone(
    experiment: Experiment,
    head: str,
    head_options: Mapping[str, OptionValue],
    training: TrainingOptions,
) -> Alone | None:
    """Why runs of a head train one by one and uncompiled; ``None`` if they can share a stack."""
    device = resolve_device(training.device)
    sizes = experiment.training_data.features.sizes
    built = build_head(head, sizes, training.seed, head_options, device)
    return why_alone(built, experiment.training_data, compiled=training.compiled)
