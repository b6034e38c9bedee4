"""Runs of one head over several seeds, averaged into one run."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from mvsa_pipe.devices import resolve_device
from mvsa_pipe.errors import ConfigError, MvsaError
from mvsa_pipe.heads import HEADS
from mvsa_pipe.heads.options import OptionValue
from mvsa_pipe.progress import NO_PROGRESS, Progress
from mvsa_pipe.runs.fit import FitResult, score_fitted, try_run_heads
from mvsa_pipe.runs.options import SeedChoice
from mvsa_pipe.runs.prepare import Experiment
from mvsa_pipe.training.epochs import FitProgress, OnEpoch, both, ignore_epoch
from mvsa_pipe.training.fitting import fit_heads
from mvsa_pipe.training.options import RunSpec, TrainingOptions
from mvsa_pipe.training.state import FittedModel


def refuse_copies(head: str, seeds: SeedChoice) -> None:
    """Raises if all members of an ensemble would be the same.

    Raises:
        ConfigError: The head does not depend on its seed.
    """
    if seeds.ensemble and not HEADS.load(head).seeded:
        raise ConfigError(
            f"--ensemble is pointless for head {head!r}",
            expected="a head whose training depends on the seed",
            found=f"one that is the same for every seed: {seeds.seeds} copies would be averaged",
            hint="leave out --ensemble and --seeds",
        )


def run_seeds(
    experiment: Experiment,
    head: str,
    head_options: Mapping[str, OptionValue],
    training: TrainingOptions,
    choice: SeedChoice,
    progress: Progress = NO_PROGRESS,
    on_epoch: OnEpoch = ignore_epoch,
) -> list[FitResult | MvsaError]:
    """Trains one run per seed, or one ensemble of all seeds; returns results or errors of runs.

    ``on_epoch`` is called after each epoch of each seed.

    Raises:
        MvsaError: From ``try_run_heads``, or for an ensemble from ``fit_head``.
    """
    seeds = choice.counted_from(training.seed)
    if choice.ensemble:
        return [run_ensemble(experiment, head, head_options, training, seeds, progress, on_epoch)]
    planned = [
        (experiment, RunSpec(head, replace(training, seed=seed), head_options)) for seed in seeds
    ]
    shown = FitProgress(progress, [(experiment.training_data, spec) for _, spec in planned])
    return try_run_heads(planned, shown.on_step, on_epoch=both(shown.on_epoch, on_epoch))


def run_ensemble(
    experiment: Experiment,
    head: str,
    head_options: Mapping[str, OptionValue],
    training: TrainingOptions,
    seeds: Sequence[int],
    progress: Progress = NO_PROGRESS,
    on_epoch: OnEpoch = ignore_epoch,
) -> FitResult:
    """Trains a head with every seed, each selected on validation, and averages probabilities.

    Members that can share a stack train together, with the results that they have alone. The test
    part is scored once, for the ensemble. ``on_epoch`` is called after each epoch of each member.

    Raises:
        MvsaError: From ``fit_head``.
    """
    experiment = experiment.to(resolve_device(training.device))
    specs = [RunSpec(head, replace(training, seed=seed), head_options) for seed in seeds]
    planned = [(experiment.training_data, spec) for spec in specs]
    shown = FitProgress(progress, planned)
    fitted = fit_heads(planned, shown.on_step, on_epoch=both(shown.on_epoch, on_epoch))
    result = score_fitted(experiment, specs[0], _joined(seeds, fitted))
    members = [
        {
            "seed": seed,
            "selected": member.history[member.best],
            "steps": member.steps,
            "seconds": round(member.seconds, 4),
        }
        for seed, member in zip(seeds, fitted, strict=True)
    ]
    record: dict[str, Any] = result.record | {
        "seeds": list(seeds),
        "selected": [member["selected"] for member in members],
        "members": members,
    }
    return replace(result, seeds=tuple(seeds), record=record)


def _joined(seeds: Sequence[int], fitted: Sequence[FittedModel]) -> FittedModel:
    first = fitted[0].head
    return FittedModel(
        head=first.average([member.head for member in fitted]),
        history=[
            {"seed": seed, **entry}
            for seed, member in zip(seeds, fitted, strict=True)
            for entry in member.history
        ],
        seconds=sum(member.seconds for member in fitted),
        steps=sum(member.steps for member in fitted),
        threads=fitted[0].threads,
        together=fitted[0].together,
    )
