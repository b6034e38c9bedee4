"""Trains heads over cached features: alone, or stacked if their shapes are equal."""

import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

import torch

from mvsa_pipe.baselines.base import Baseline
from mvsa_pipe.devices import (
    cpu_threads,
    memory_errors,
    resolve_device,
    reuse_memory,
)
from mvsa_pipe.errors import CacheError, MvsaError, StorageError
from mvsa_pipe.features.absent import without
from mvsa_pipe.features.batch import HIDDEN, POOLED
from mvsa_pipe.features.source import batch_of
from mvsa_pipe.heads import HEADS
from mvsa_pipe.heads.base import FusionHead
from mvsa_pipe.heads.build import build_head
from mvsa_pipe.heads.contract import require_sound
from mvsa_pipe.heads.model import CPU
from mvsa_pipe.heads.options import OptionValue, parse_options
from mvsa_pipe.progress import OnStep, no_callback
from mvsa_pipe.training.data import TrainingData
from mvsa_pipe.training.epochs import OnEpoch, ignore_epoch
from mvsa_pipe.training.fit_baseline import fit_baseline
from mvsa_pipe.training.options import RunSpec, TrainingOptions
from mvsa_pipe.training.stack import Stack
from mvsa_pipe.training.stacking import StackShape, by_stack_shape
from mvsa_pipe.training.state import FittedModel, TrainState
from mvsa_pipe.training.step import Trainer, make_trainer, training_precision

ResultT = TypeVar("ResultT")
# A run with its training and validation posts.
Planned = tuple[TrainingData, RunSpec]

_LESS_MEMORY = (
    "lower --batch-size or the head's width; --image-grid and --memory-gib hold fewer features"
)


def fit_head(
    name: str,
    head_options: Mapping[str, OptionValue],
    data: TrainingData,
    options: TrainingOptions,
    on_step: OnStep = no_callback,
    on_epoch: OnEpoch = ignore_epoch,
) -> FittedModel:
    """Trains a head and returns it at its best epoch on validation.

    Raises:
        SplitError: There are no training or no validation posts.
        ConfigError: An option cannot be used.
        MvsaError: Training diverged.
    """
    spec = RunSpec(name, options, head_options)
    (fitted,) = fit_heads([(data, spec)], on_step, on_epoch=on_epoch)
    return fitted


def fit_heads(
    planned: Sequence[Planned],
    on_step: OnStep = no_callback,
    threads: int | None = None,
    on_epoch: OnEpoch = ignore_epoch,
) -> list[FittedModel]:
    """Trains several runs of one head; those with equal ``stack_shape`` are trained as one.

    Baselines are fitted one by one; runs that differ only in an unused seed are fitted once.

    Each run has the same result as when trained alone: the same random draws, and the same numbers
    except for the order in which matrix products are summed.

    Args:
        planned: The runs, each with its data; all of the same head.
        on_step: Callback before each step; raise to cancel.
        threads: CPU threads; by default one for heads whose operations are too small to
            parallelise, else torch's number.
        on_epoch: Callback after each epoch of each run.

    Raises:
        MvsaError: From ``fit_head``: the error of the first run that failed.
    """
    fitted = []
    for result in try_fit_heads(planned, on_step, threads, on_epoch):
        if isinstance(result, MvsaError):
            raise result
        fitted.append(result)
    return fitted


def try_fit_heads(
    planned: Sequence[Planned],
    on_step: OnStep = no_callback,
    threads: int | None = None,
    on_epoch: OnEpoch = ignore_epoch,
) -> list[FittedModel | MvsaError]:
    """Like ``fit_heads``, but returns the errors of runs that failed.

    A failed run, for example one that diverges, does not affect the others.

    Raises:
        CacheError: Features are damaged, which affects all runs.
        StorageError: Features cannot be read.
    """
    (name,) = {spec.head for _, spec in planned}
    kind = HEADS.load(name)
    if issubclass(kind, Baseline):
        return _fit_baselines(kind, planned, on_step, on_epoch)
    device = resolve_device(planned[0][1].training.device)
    if device.type == "cpu":
        reuse_memory()
    done: dict[int, FittedModel | MvsaError] = {}
    train_states: dict[int, TrainState] = {}
    for place, (data, spec) in enumerate(planned):
        train_state = or_fault(partial(_started, data, spec, on_epoch), device)
        if isinstance(train_state, MvsaError):
            done[place] = train_state
        else:
            train_states[place] = train_state
    for shape, places in by_stack_shape(train_states):
        together = [train_states[i] for i in places]
        with cpu_threads(threads or _threads(together[0].head)):
            if shape is None or (len(together) == 1 and not shape.compiled):
                done |= zip(places, _train_each(together, on_step), strict=True)
                continue
            stacked = or_fault(partial(_train_together, together, shape, on_step), device)
        if not isinstance(stacked, MvsaError):
            done |= zip(places, stacked, strict=True)
        elif len(places) == 1:
            done[places[0]] = stacked
        else:  # a run that does not fit into memory in a stack may fit alone
            for place in places:
                (done[place],) = try_fit_heads([planned[place]], on_step, threads, on_epoch)
    return [done[i] for i in range(len(planned))]


def _with_conditions(
    results: Sequence[FittedModel | MvsaError], together: int
) -> list[FittedModel | MvsaError]:
    """The same results, with what changes their last digits."""
    threads = torch.get_num_threads()
    return [
        result
        if isinstance(result, MvsaError)
        else replace(result, threads=threads, together=together)
        for result in results
    ]


def or_fault(make: Callable[[], ResultT], device: torch.device) -> ResultT | MvsaError:
    """Result of a call, or the error of one run; errors that affect all runs are raised."""
    try:
        with memory_errors(device, _LESS_MEMORY):
            return make()
    except (CacheError, StorageError):
        raise
    except MvsaError as error:
        return error


def _fit_baselines(
    kind: type[Baseline], planned: Sequence[Planned], on_step: OnStep, on_epoch: OnEpoch
) -> list[FittedModel | MvsaError]:
    """Fits one baseline per run; runs that differ only in an unused seed are fitted once."""
    done: dict[Hashable, FittedModel | MvsaError] = {}
    fitted = []
    for place, (data, spec) in enumerate(planned):
        training = spec.training
        options = parse_options(spec.head, kind.Options, spec.head_options)
        posts = (id(data.features), id(data.train), id(data.val))
        key = place if kind.seeded else (posts, replace(training, seed=0), options)
        if key not in done:
            baseline = kind.build(data.features.sizes, options, training.seed)
            fit = partial(fit_baseline, baseline, data, spec, on_step, on_epoch)
            done[key] = or_fault(fit, CPU)
        fitted.append(done[key])
    return fitted


def _started(data: TrainingData, spec: RunSpec, on_epoch: OnEpoch) -> TrainState:
    options = spec.training
    data.require_posts()
    began = time.perf_counter()
    device = resolve_device(options.device)
    require_sound(spec.head, spec.head_options, data.features.sizes)
    head = build_head(spec.head, data.features.sizes, options.seed, spec.head_options, device)
    assert isinstance(head, FusionHead)  # noqa: S101  # the registry has no third kind
    data = data.to(device)
    centre_features(head, data, options, device)
    train_state = TrainState(head, data, spec, on_epoch)
    train_state.seconds += time.perf_counter() - began
    return train_state


@torch.no_grad()
def centre_features(
    head: FusionHead, data: TrainingData, options: TrainingOptions, device: torch.device
) -> None:
    """Lets a head subtract the training posts' means, as training asks; faithful heads never."""
    if not head.centres:
        return
    pooled, hidden = head.needs & POOLED, head.needs & HIDDEN
    if options.centre and pooled:
        head.centre(batch_of(data.features, data.train, pooled).to(device))
    if options.centre_tokens and hidden:
        head.centre_tokens(batch.to(device) for batch in data.train_batches(hidden))


def _threads(head: FusionHead) -> int:
    return torch.get_num_threads() if head.needs & HIDDEN else 1


def _train_together(
    train_states: Sequence[TrainState], shape: StackShape, on_step: OnStep
) -> list[FittedModel | MvsaError]:
    stack = Stack(train_states, shape.masks, shape.precision, shape.device, compiled=shape.compiled)
    while stack.train_states:
        stack.run_epoch(on_step)
    results = [train_state.fault or train_state.finished() for train_state in train_states]
    return _with_conditions(results, len(train_states))


def _train_each(
    train_states: Sequence[TrainState], on_step: OnStep
) -> list[FittedModel | MvsaError]:
    """Trains runs one after the other."""
    results = [
        or_fault(partial(_train_alone, train_state, on_step), train_state.data.labels.device)
        for train_state in train_states
    ]
    return _with_conditions(results, 1)


def _train_alone(train_state: TrainState, on_step: OnStep) -> FittedModel:
    device = next(train_state.head.parameters()).device
    trainer = make_trainer(
        train_state.head,
        train_state.options,
        train_state.class_weights(),
        train_state.steps,
        training_precision(train_state.options, device),
        device,
    )
    while train_state.should_continue:
        began = time.perf_counter()
        loss = _epoch(trainer, train_state, on_step)
        with trainer.averaged():
            train_state.close_epoch(loss, time.perf_counter() - began)
    return train_state.finished()


def _epoch(trainer: Trainer, train_state: TrainState, on_step: OnStep) -> float:
    """One pass over the training posts; returns the mean loss over posts."""
    trainer.head.train()
    data, chosen = train_state.data, train_state.next_batches()
    total = torch.zeros((), device=trainer.device)
    batches = data.features.batches(chosen, trainer.head.needs)
    for posts, batch in zip(chosen, batches, strict=True):
        on_step()
        labels = data.labels[posts].to(trainer.device)
        given = train_state.with_noise(batch.to(trainer.device))
        if train_state.loses_halves:
            for modality, absent in train_state.draw_absences(len(posts)).items():
                given = without(given, absent.to(trainer.device), modality)
        total += trainer.step(given, labels) * len(posts)
    return float(total) / len(data.train)
