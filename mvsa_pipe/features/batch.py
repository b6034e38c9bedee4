"""One batch of backbone features, what heads declare of it, and the axis legend of all rooms.

Axes: ``B`` batch, ``N`` posts, ``T`` text tokens, ``P`` image tokens (patches or cells),
``L`` layers (only where a head mixes several), ``D`` width (``Dt`` of text, ``Di`` of image),
``C`` classes, ``S`` runs trained together.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mvsa_pipe.modality import Modality


class Field(StrEnum):
    """What a head can declare in its ``needs``: features of backbones."""

    TEXT_HIDDEN = "text_hidden"
    TEXT_POOLED = "text_pooled"
    IMAGE_HIDDEN = "image_hidden"
    IMAGE_POOLED = "image_pooled"

    @property
    def modality(self) -> Modality:
        """The modality of the feature."""
        return Modality.TEXT if self.value.startswith("text") else Modality.IMAGE


POOLED = frozenset({Field.TEXT_POOLED, Field.IMAGE_POOLED})
HIDDEN = frozenset({Field.TEXT_HIDDEN, Field.IMAGE_HIDDEN})
ENCODED = POOLED | HIDDEN


def reads_states(needs: Iterable[Field], modality: Modality) -> bool:
    """Whether hidden states of one half of the post are among some features."""
    return any(need in HIDDEN and need.modality is modality for need in needs)


@dataclass(frozen=True)
class FeatureSizes:
    """The sizes that a head is built for.

    Attributes:
        text_width: ``Dt``.
        image_width: ``Di``.
        image_tokens: ``P``, fixed for an image backbone.
        classes: ``C``.
        text_layers: Layers and width of each text backbone, where the head mixes several layers;
            hidden states then have a layer axis. Empty otherwise.
        image_layers: Those of each image backbone.
    """

    text_width: int
    image_width: int
    image_tokens: int
    classes: int
    text_layers: tuple[tuple[int, int], ...] = ()
    image_layers: tuple[tuple[int, int], ...] = ()

    def width_of(self, modality: Modality) -> int:
        """``Dt`` or ``Di``."""
        return self.text_width if modality is Modality.TEXT else self.image_width

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "FeatureSizes":
        """Sizes from the plain values of ``asdict``, as JSON returns them."""
        lists = {
            name: tuple((int(layers), int(width)) for layers, width in record.get(name, ()))
            for name in ("text_layers", "image_layers")
        }
        return cls(**{**record, **lists})


@dataclass(frozen=True)
class FeatureBatch:
    """Features of ``B`` posts; what a head did not declare may be ``None``.

    Attributes:
        text_hidden: ``[B, T, Dt]`` hidden states of the text tokens; ``[B, T, L, Dt]`` where the
            head mixes layers.
        text_mask: ``[B, T]``, True on real tokens; present exactly when ``text_hidden`` is.
        text_pooled: ``[B, Dt]``.
        image_hidden: ``[B, P, Di]`` hidden states of patches or cells, or ``[B, P, L, Di]``.
        image_pooled: ``[B, Di]``.

    Raises:
        ValueError: Shapes disagree, or a mask is missing.
    """

    text_hidden: Float[Tensor, "B T *Lt Dt"] | None = None
    text_mask: Bool[Tensor, "B T"] | None = None
    text_pooled: Float[Tensor, "B Dt"] | None = None
    image_hidden: Float[Tensor, "B P *Li Di"] | None = None
    image_pooled: Float[Tensor, "B Di"] | None = None

    def __post_init__(self) -> None:
        if (self.text_hidden is None) != (self.text_mask is None):
            raise ValueError("text_hidden and text_mask come together")
        lengths: dict[str, tuple[str, int]] = {}
        for name, value in self.tensors():
            for axis, length in zip(_axes(name, value), value.shape, strict=True):
                owner, known = lengths.setdefault(axis, (name, length))
                if known != length:
                    raise ValueError(f"axis {axis}: {known} in {owner}, {length} in {name}")
        if not lengths:
            raise ValueError("a feature batch needs at least one feature")

    def __len__(self) -> int:
        return next(len(value) for _, value in self.tensors())

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Name and value of every tensor that is present."""
        for name in _AXES:
            value: Tensor | None = getattr(self, name)
            if value is not None:
                yield name, value

    def to(self, device: torch.device) -> "FeatureBatch":
        """The same features on another device."""
        present = dict(self.tensors())
        if all(value.device == device for value in present.values()):
            return self  # as on a CPU at every step
        moved: dict[str, Any] = {name: value.to(device) for name, value in present.items()}
        return replace(self, **moved)


_AXES: dict[str, tuple[str, ...]] = {
    "text_hidden": ("B", "T", "Dt"),
    "text_mask": ("B", "T"),
    "text_pooled": ("B", "Dt"),
    "image_hidden": ("B", "P", "Di"),
    "image_pooled": ("B", "Di"),
}


def _axes(name: str, value: Tensor) -> tuple[str, ...]:
    axes = _AXES[name]
    if Field.TEXT_HIDDEN.value != name != Field.IMAGE_HIDDEN.value or value.dim() == len(axes):
        layered = axes
    else:
        layered = (*axes[:-1], f"L of {name}", axes[-1])
    if value.dim() != len(layered):
        raise ValueError(f"{name} must be {list(axes)}, not {list(value.shape)}")
    return layered
