"""Trains heads over cached features: alone, or stacked if their shapes are equal."""

import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from typing import TypeVar

import torch

from mvsa_pipe.baselines.base import Baseline
from mvsa_pipe.devices import (
    Precision,
    cpu_threads,
    memory_errors,
    resolve_device,
    resolve_precision,
    reuse_memory,
)
from mvsa_pipe.errors import CacheError, MvsaError, StorageError
from mvsa_pipe.features.batch import HIDDEN, POOLED, Field
from mvsa_pipe.features.source import batch_of
from mvsa_pipe.heads import HEADS
from mvsa_pipe.heads.base import FusionHead
from mvsa_pipe.heads.building import build_head
from mvsa_pipe.heads.model import CPU, Model
from mvsa_pipe.heads.options import OptionValue, parse_options
from mvsa_pipe.progress import OnStep, no_callback
from mvsa_pipe.training.data import TrainingData
from mvsa_pipe.training.fit_baseline import fit_baseline
from mvsa_pipe.training.masks import Mask, masks_of
from mvsa_pipe.training.options import RunSpec, TrainingOptions
from mvsa_pipe.training.stack import Stack
from mvsa_pipe.training.state import FittedModel, TrainState
from mvsa_pipe.training.step import Trainer, make_trainer

ResultT = TypeVar("ResultT")
# A run with what its head is trained on and selected by.
Planned = tuple[TrainingData, RunSpec]

_LESS_MEMORY = (
    "lower --batch-size or the head's width; --image-grid and --memory-gib hold fewer features"
)


def fit_head(
    name: str,
    head_options: Mapping[str, OptionValue],
    material: TrainingData,
    options: TrainingOptions,
    on_step: OnStep = no_callback,
) -> FittedModel:
    """Trains a head and returns it at its best epoch on validation.

    Raises:
        SplitError: There is nothing to train on or to select by.
        ConfigError: An option cannot be used.
        MvsaError: Training diverged.
    """
    (fitted,) = fit_heads([(material, RunSpec(name, options, head_options))], on_step)
    return fitted


def fit_heads(
    planned: Sequence[Planned], on_step: OnStep = no_callback, threads: int | None = None
) -> list[FittedModel]:
    """Trains several runs of one head; those with equal ``stack_shape`` are trained as one.

    Baselines are fitted one by one; runs that differ only in an unused seed are fitted once.

    Each run gives the result that it gives alone: the same draws, and the same numbers except for
    the order in which matrix products are summed.

    Args:
        planned: The runs, each with its material; all have the same head.
        on_step: Callback before each step; raise to cancel.
        threads: CPU threads; by default one for heads whose operations are too small to divide,
            else torch's number.

    Raises:
        MvsaError: As ``fit_head``, of the first run that has no result.
    """
    fitted = []
    for result in try_fit_heads(planned, on_step, threads):
        if isinstance(result, MvsaError):
            raise result
        fitted.append(result)
    return fitted


def try_fit_heads(
    planned: Sequence[Planned], on_step: OnStep = no_callback, threads: int | None = None
) -> list[FittedModel | MvsaError]:
    """Like ``fit_heads``, with the error in the place of each run that failed.

    A run that diverges, or whose head refuses its data, does not affect the others.

    Raises:
        CacheError: Features were damaged, which concerns all runs.
        StorageError: They cannot be read.
    """
    (name,) = {spec.head for _, spec in planned}
    kind = HEADS.load(name)
    if issubclass(kind, Baseline):
        return _fit_baselines(kind, planned, on_step)
    device = resolve_device(planned[0][1].training.device)
    if device.type == "cpu":
        reuse_memory()
    done: dict[int, FittedModel | MvsaError] = {}
    train_states: dict[int, TrainState] = {}
    for place, (material, spec) in enumerate(planned):
        train_state = or_fault(partial(_started, material, spec), device)
        if isinstance(train_state, MvsaError):
            done[place] = train_state
        else:
            train_states[place] = train_state
    for shape, places in _alike(train_states):
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
        else:  # a run without room in a stack may have it alone
            for place in places:
                (done[place],) = try_fit_heads([planned[place]], on_step, threads)
    return [done[i] for i in range(len(planned))]


def or_fault(make: Callable[[], ResultT], device: torch.device) -> ResultT | MvsaError:
    """Result of a call, or the error of one run; errors that concern all runs are raised."""
    try:
        with memory_errors(device, _LESS_MEMORY):
            return make()
    except (CacheError, StorageError):
        raise
    except MvsaError as error:
        return error


def _fit_baselines(
    kind: type[Baseline], planned: Sequence[Planned], on_step: OnStep
) -> list[FittedModel | MvsaError]:
    """Fits one baseline per run; runs that differ only in an unused seed are fitted once."""
    done: dict[Hashable, FittedModel | MvsaError] = {}
    fitted = []
    for place, (material, spec) in enumerate(planned):
        training = spec.training
        options = parse_options(spec.head, kind.Options, spec.head_options)
        posts = (id(material.features), id(material.train), id(material.val))
        key = place if kind.seeded else (posts, replace(training, seed=0), options)
        if key not in done:
            baseline = kind.build(material.features.sizes, options, training.seed)
            fit = partial(fit_baseline, baseline, material, training, on_step)
            done[key] = or_fault(fit, CPU)
        fitted.append(done[key])
    return fitted


def _started(material: TrainingData, spec: RunSpec) -> TrainState:
    options = spec.training
    material.require_posts()
    began = time.perf_counter()
    device = resolve_device(options.device)
    head = build_head(spec.head, material.features.sizes, options.seed, spec.head_options, device)
    assert isinstance(head, FusionHead)  # noqa: S101  # the table has no third kind
    material = material.placed(device)
    if options.centre and head.centres and head.needs & POOLED:
        with torch.no_grad():
            pooled = batch_of(material.features, material.train, head.needs & POOLED)
            head.centre(pooled.to(device))
    train_state = TrainState(head, material, options)
    train_state.seconds += time.perf_counter() - began
    return train_state


def _threads(head: FusionHead) -> int:
    return torch.get_num_threads() if head.needs & HIDDEN else 1


@dataclass(frozen=True)
class StackShape:
    """Common properties of runs that are trained as one.

    Attributes:
        features: Identity of their features.
        parameters: Names and shapes of their parameters.
        masks: The dropout masks of a step.
        precision: Arithmetic of the matrix products.
        device: Where the heads live.
        compiled: Whether the step is compiled.
    """

    features: int
    parameters: tuple[tuple[str, tuple[int, ...]], ...]
    masks: tuple[Mask, ...]
    precision: Precision
    device: torch.device
    compiled: bool


def _alike(train_states: Mapping[int, TrainState]) -> list[tuple[StackShape | None, list[int]]]:
    """Places of the runs by stack shape; ``None`` for runs that are trained alone."""
    groups: dict[StackShape | None, list[int]] = {}
    for place, train_state in train_states.items():
        groups.setdefault(stack_shape(train_state), []).append(place)
    return list(groups.items())


class Alone(StrEnum):
    """Why a run cannot share a stack, as the end of a sentence about its head."""

    SOLVED = "set by a solver"
    PADDING = "whose predictions depend on their batch"
    LAYERS = "behind a mixing of layers"
    ROUNDING = "whose training enlarges rounding"
    TOKENS = "that read tokens, of which each fills a core of a CPU"
    MASKS = "with dropout as long as a text"


def why_alone(head: Model, material: TrainingData, *, compiled: bool = False) -> Alone | None:
    """Why runs of a head train one by one; ``None`` for those that can share a stack.

    The same heads cannot be compiled either: a compiled step is that of a stack, even of one run.

    A stack pads texts to the longest of all its runs, which changes the results of heads whose
    predictions depend on padding, or whose masks are as long as a text. It sums in another order,
    a difference that training amplifies in some heads. Heads that read tokens are excluded only on
    a CPU and only if they are not compiled: their operations are large enough to fill a core, and
    a stack of them gains nothing (``benchmarks/stacking.py``).
    """
    if not isinstance(head, FusionHead):
        return Alone.SOLVED
    kept_out = _kept_out(head, compiled=compiled)
    if kept_out is not None:
        return kept_out
    return Alone.MASKS if _masks(head, material) is None else None


def _kept_out(head: FusionHead, *, compiled: bool) -> Alone | None:
    """Reasons to train a head alone that need no forward pass."""
    if not head.batch_independent:
        return Alone.PADDING
    if head.sizes.text_layers or head.sizes.image_layers:
        return Alone.LAYERS
    if not head.steady:
        return Alone.ROUNDING
    on_cpu = next(head.parameters()).device.type == "cpu"
    if on_cpu and head.needs & HIDDEN and not compiled:
        return Alone.TOKENS
    return None


def stack_shape(train_state: TrainState) -> StackShape | None:
    """The shape of a run's stack; ``None`` for a run that must be trained alone."""
    head, material = train_state.head, train_state.material
    device = next(head.parameters()).device
    compiled = train_state.options.compiled
    masks = None if _kept_out(head, compiled=compiled) else _masks(head, material)
    if masks is None:
        return None
    shapes = tuple((name, tuple(value.shape)) for name, value in head.named_parameters())
    precision = training_precision(train_state.options, device)
    return StackShape(id(material.features), shapes, masks, precision, device, compiled)


def _masks(head: FusionHead, material: TrainingData) -> tuple[Mask, ...] | None:
    """The masks of one step; ``None`` if they depend on how long its texts are."""
    features = material.features
    ends = torch.zeros(2, dtype=torch.int64, device=material.train.device)
    counts = features.token_counts
    if Field.TEXT_HIDDEN in head.needs and counts is not None:
        ends = torch.stack([counts.argmin(), counts.argmax()])
    device = next(head.parameters()).device
    short, long = (
        masks_of(head, batch_of(features, end[None], head.needs).to(device)) for end in ends
    )
    return short if short == long else None


def _train_together(
    train_states: Sequence[TrainState], shape: StackShape, on_step: OnStep
) -> list[FittedModel | MvsaError]:
    stack = Stack(train_states, shape.masks, shape.precision, shape.device, compiled=shape.compiled)
    while stack.train_states:
        stack.run_epoch(on_step)
    return [train_state.fault or train_state.finished() for train_state in train_states]


def _train_each(
    train_states: Sequence[TrainState], on_step: OnStep
) -> list[FittedModel | MvsaError]:
    """Trains one after the other."""
    return [
        or_fault(partial(_train_alone, train_state, on_step), train_state.material.labels.device)
        for train_state in train_states
    ]


def _train_alone(train_state: TrainState, on_step: OnStep) -> FittedModel:
    device = next(train_state.head.parameters()).device
    trainer = make_trainer(
        train_state.head,
        train_state.options,
        train_state.class_weights(),
        train_state.steps_an_epoch * train_state.options.epochs,
        training_precision(train_state.options, device),
        device,
    )
    while train_state.should_continue:
        began = time.perf_counter()
        loss = _epoch(trainer, train_state, on_step)
        train_state.close_epoch(loss, time.perf_counter() - began)
    return train_state.finished()


def _epoch(trainer: Trainer, train_state: TrainState, on_step: OnStep) -> float:
    """One pass over the training posts; returns the mean loss over posts."""
    trainer.head.train()
    material, chosen = train_state.material, train_state.next_batches()
    total = torch.zeros((), device=trainer.device)
    batches = material.features.batches(chosen, trainer.head.needs)
    for posts, batch in zip(chosen, batches, strict=True):
        on_step()
        labels = material.labels[posts].to(trainer.device)
        total += trainer.step(batch.to(trainer.device), labels) * len(posts)
    return float(total) / len(material.train)


def training_precision(options: TrainingOptions, device: torch.device) -> Precision:
    """Arithmetic of training: ``auto`` is mixed precision on a GPU only, where heads gain."""
    if options.precision == "auto" and device.type != "cuda":
        return Precision.FLOAT32
    return resolve_precision(options.precision, device)
