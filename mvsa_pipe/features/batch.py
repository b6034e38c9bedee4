"""What heads read: one batch of backbone features, and the axis legend that all rooms share.

Axes: ``B`` batch, ``N`` posts, ``T`` text tokens, ``P`` image tokens (patches or cells),
``D`` width (``Dt`` of text, ``Di`` of image), ``C`` classes, ``S`` runs trained together.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
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
        """The half of the post that the feature describes."""
        return Modality.TEXT if self.value.startswith("text") else Modality.IMAGE


POOLED = frozenset({Field.TEXT_POOLED, Field.IMAGE_POOLED})
HIDDEN = frozenset({Field.TEXT_HIDDEN, Field.IMAGE_HIDDEN})
ENCODED = POOLED | HIDDEN


@dataclass(frozen=True)
class FeatureSizes:
    """The sizes that a head is built for.

    Attributes:
        text_width: ``Dt``.
        image_width: ``Di``.
        image_tokens: ``P``, fixed for an image backbone.
        classes: ``C``.
        text_layers: Layers and width of each text backbone, where the head shall mix several
            layers; their states then come in the hidden states' place, all those of a token in
            turn. Empty otherwise.
        image_layers: Those of each image backbone.
    """

    text_width: int
    image_width: int
    image_tokens: int
    classes: int
    text_layers: tuple[tuple[int, int], ...] = ()
    image_layers: tuple[tuple[int, int], ...] = ()

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "FeatureSizes":
        """Sizes from the plain values of ``asdict``, as JSON hands them back."""
        lists = {
            name: tuple((int(layers), int(width)) for layers, width in record.get(name, ()))
            for name in ("text_layers", "image_layers")
        }
        return cls(**{**record, **lists})


@dataclass(frozen=True)
class FeatureBatch:
    """Features of ``B`` posts; what a head did not declare may be ``None``.

    Attributes:
        text_hidden: ``[B, T, Dt]`` hidden states of the text tokens.
        text_mask: ``[B, T]``, True on real tokens; present exactly when ``text_hidden`` is.
        text_pooled: ``[B, Dt]``.
        image_hidden: ``[B, P, Di]`` hidden states of patches or cells.
        image_pooled: ``[B, Di]``.

    Raises:
        ValueError: Shapes disagree, or a mask is missing.
    """

    text_hidden: Float[Tensor, "B T Dt"] | None = None
    text_mask: Bool[Tensor, "B T"] | None = None
    text_pooled: Float[Tensor, "B Dt"] | None = None
    image_hidden: Float[Tensor, "B P Di"] | None = None
    image_pooled: Float[Tensor, "B Di"] | None = None

    def __post_init__(self) -> None:
        for name, axes in _AXES.items():
            value = getattr(self, name)
            if value is not None and value.dim() != len(axes):
                raise ValueError(f"{name} must be {list(axes)}, not {list(value.shape)}")
        if (self.text_hidden is None) != (self.text_mask is None):
            raise ValueError("text_hidden and text_mask come together")
        lengths: dict[str, tuple[str, int]] = {}
        for name, axes in _AXES.items():
            value = getattr(self, name)
            if value is None:
                continue
            for axis, length in zip(axes, value.shape, strict=True):
                owner, known = lengths.setdefault(axis, (name, length))
                if known != length:
                    raise ValueError(f"axis {axis}: {known} in {owner}, {length} in {name}")
        if not lengths:
            raise ValueError("a feature batch needs at least one feature")

    def __len__(self) -> int:
        return next(
            len(value) for f in fields(self) if (value := getattr(self, f.name)) is not None
        )

    def to(self, device: torch.device) -> "FeatureBatch":
        """The same features on another device."""
        present = {name: value for name in _AXES if (value := getattr(self, name)) is not None}
        if all(value.device == device for value in present.values()):
            return self  # as on a CPU at every step
        return replace(self, **{name: value.to(device) for name, value in present.items()})


_AXES: dict[str, tuple[str, ...]] = {
    "text_hidden": ("B", "T", "Dt"),
    "text_mask": ("B", "T"),
    "text_pooled": ("B", "Dt"),
    "image_hidden": ("B", "P", "Di"),
    "image_pooled": ("B", "Di"),
}
