"""Which runs can be trained as one stack: equal shapes, equal dropout masks, equal arithmetic."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor

from mvsa_pipe.devices import Precision
from mvsa_pipe.features.batch import HIDDEN, FeatureBatch, Field
from mvsa_pipe.features.source import batch_of
from mvsa_pipe.heads.base import FusionHead
from mvsa_pipe.heads.model import Model
from mvsa_pipe.training.data import TrainingData
from mvsa_pipe.training.state import TrainState
from mvsa_pipe.training.step import training_precision


@dataclass(frozen=True)
class Mask:
    """One dropout mask of a forward pass: its layer, and its shape for a batch of one."""

    layer: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class StackShape:
    """Common properties of runs that are trained as one.

    Attributes:
        features: ``id`` of their features.
        weights: Names and shapes of their parameters, and of the means that they subtract.
        masks: The dropout masks of a step.
        precision: Arithmetic of the matrix products.
        device: The heads' device.
        compiled: Whether the step is compiled.
    """

    features: int
    weights: tuple[tuple[str, tuple[int, ...]], ...]
    masks: tuple[Mask, ...]
    precision: Precision
    device: torch.device
    compiled: bool


def by_stack_shape(
    train_states: Mapping[int, TrainState],
) -> list[tuple[StackShape | None, list[int]]]:
    """Indices of the runs by stack shape; ``None`` for runs that are trained alone."""
    groups: dict[StackShape | None, list[int]] = {}
    for place, train_state in train_states.items():
        groups.setdefault(stack_shape(train_state), []).append(place)
    return list(groups.items())


class Alone(StrEnum):
    """Why a run cannot share a stack; completes the phrase "heads …"."""

    SOLVED = "set by a solver"
    PADDING = "whose predictions depend on their batch"
    LAYERS = "that mix layers by trained weights"
    ROUNDING = "whose training enlarges rounding"
    OWN = "outside of mvsa-pipe"
    TOKENS = "that read tokens, each of which uses a whole CPU core"
    MASKS = "whose dropout masks depend on text length"


def why_alone(head: Model, data: TrainingData, *, compiled: bool = False) -> Alone | None:
    """Why runs of a head train one by one; ``None`` for those that can share a stack.

    These heads cannot be compiled either: a compiled step is a stack's step, even for one run.

    A stack pads texts to the longest of all its runs, which changes the results of heads whose
    predictions depend on padding, or whose masks are as long as a text. It sums in another order,
    a difference that training amplifies in some heads. Heads that read tokens are excluded only on
    a CPU and only if they are not compiled: their operations already use a whole core, and a stack
    gains nothing (``benchmarks/stacking.py``).
    """
    if not isinstance(head, FusionHead):
        return Alone.SOLVED
    kept_out = _kept_out(head, compiled=compiled)
    if kept_out is not None:
        return kept_out
    return Alone.MASKS if _masks(head, data) is None else None


def _kept_out(head: FusionHead, *, compiled: bool) -> Alone | None:
    """Reasons to train a head alone that need no forward pass."""
    if not head.batch_independent:
        return Alone.PADDING
    if head.sizes.text_layers or head.sizes.image_layers:
        return Alone.LAYERS
    if not head.shares_stack:
        return Alone.OWN
    if not head.steady:
        return Alone.ROUNDING
    on_cpu = next(head.parameters()).device.type == "cpu"
    if on_cpu and head.needs & HIDDEN and not compiled:
        return Alone.TOKENS
    return None


def stack_shape(train_state: TrainState) -> StackShape | None:
    """The shape of a run's stack; ``None`` for a run that must be trained alone."""
    head, data = train_state.head, train_state.data
    device = next(head.parameters()).device
    compiled = train_state.options.compiled
    masks = None if _kept_out(head, compiled=compiled) else _masks(head, data)
    if masks is None:
        return None
    shapes = tuple((name, tuple(value.shape)) for name, value in head.state_dict().items())
    precision = training_precision(train_state.options, device)
    return StackShape(id(data.features), shapes, masks, precision, device, compiled)


def _masks(head: FusionHead, data: TrainingData) -> tuple[Mask, ...] | None:
    """The masks of one step; ``None`` if they depend on text length."""
    features = data.features
    ends = torch.zeros(2, dtype=torch.int64, device=data.train.device)
    counts = features.token_counts
    if Field.TEXT_HIDDEN in head.needs and counts is not None:
        ends = torch.stack([counts.argmin(), counts.argmax()])
    device = next(head.parameters()).device
    short, long = (
        masks_of(head, batch_of(features, end[None], head.needs).to(device)) for end in ends
    )
    return short if short == long else None


def masks_of(head: FusionHead, batch: FeatureBatch) -> tuple[Mask, ...]:
    """The dropout masks that a forward pass over a batch of one draws, in order."""
    drawn: list[Mask] = []
    layers = head.dropouts()

    def recorder(name: str) -> Callable[[Tensor], Tensor]:
        def record(like: Tensor) -> Tensor:
            drawn.append(Mask(name, tuple(like.shape)))
            return torch.ones_like(like)

        return record

    for name, layer in layers.items():
        layer.given = recorder(name)
    with torch.no_grad():
        head.train()(batch)
    for layer in layers.values():
        layer.given = None
    return tuple(drawn)
