"""Which dropout masks a head draws in one forward pass."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mvsa_pipe.features.batch import FeatureBatch
from mvsa_pipe.heads.base import FusionHead


@dataclass(frozen=True)
class Mask:
    """One dropout of a forward pass: which layer draws it, and its shape for a batch of one."""

    layer: str
    shape: tuple[int, ...]


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
