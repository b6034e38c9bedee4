"""What ONNX holds: the head alone, and backbones with head, from plain tensors to probabilities."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mvsa_pipe.backbones.base import Encoded, ImageBackbone, TextBackbone
from mvsa_pipe.export.model import ExportedModel, declared
from mvsa_pipe.features.batch import FeatureBatch, Field
from mvsa_pipe.features.grid import to_grid
from mvsa_pipe.heads.base import FusionHead
from mvsa_pipe.modality import Modality

_BATCH, _TOKENS = "batch", "tokens"
MASK = "text_mask"
IDS, ATTENTION, PIXELS = "input_ids", "attention_mask", "pixels"


class Graph(nn.Module):
    """A network whose inputs have names, in the order in which ``forward`` takes them.

    Attributes:
        axes: Each input's name with its axes whose length is free.
    """

    axes: dict[str, dict[int, str]]


class HeadGraph(Graph):
    """Features to probabilities ``[B, C]``: what the head reads, and the mask if it reads tokens.

    Args:
        head: The head, in eval mode.
    """

    def __init__(self, head: FusionHead) -> None:
        super().__init__()
        self.head = head
        self.axes = {}
        for field in declared(head):
            tokens = {1: _TOKENS} if field is Field.TEXT_HIDDEN else {}
            self.axes[field.value] = {0: _BATCH, **tokens}
            if tokens:
                self.axes[MASK] = {0: _BATCH, **tokens}

    def forward(self, *inputs: Tensor) -> Tensor:
        """Probabilities of every class."""
        given: dict[str, Any] = dict(zip(self.axes, inputs, strict=True))
        probabilities: Tensor = self.head(FeatureBatch(**given)).softmax(dim=-1)
        return probabilities


class ModelGraph(Graph):
    """Token ids with their mask, and prepared pixels, to probabilities ``[B, C]``.

    All in float32: the rounding of cached features, and the bfloat16 of some backbones, are left
    out. Averages over a grid of image cells are one matrix, since ONNX knows no adaptive pooling.

    Args:
        model: The whole model, on the CPU.
        head: Its head.
    """

    grid: Tensor

    def __init__(self, model: ExportedModel, head: FusionHead) -> None:
        super().__init__()
        self.head = head
        self._backbones = {m: part.backbone for m, part in model.parts.items()}
        # Registered too, so that their weights are the graph's.
        self.networks = nn.ModuleDict({m.value: b.module for m, b in self._backbones.items()})
        self.axes = {}
        if Modality.TEXT in model.parts:
            self.axes |= {name: {0: _BATCH, 1: _TOKENS} for name in (IDS, ATTENTION)}
        if Modality.IMAGE in model.parts:
            self.axes[PIXELS] = {0: _BATCH}
        image = self._backbones.get(Modality.IMAGE)
        self._averages = False
        if isinstance(image, ImageBackbone) and model.image_grid:
            self._averages = True
            every_cell = torch.eye(image.tokens)[None]
            self.register_buffer("grid", to_grid(every_cell, model.image_grid)[0])

    def forward(self, *inputs: Tensor) -> Tensor:
        """Probabilities of every class."""
        given = dict(zip(self.axes, inputs, strict=True))
        features: dict[str, Tensor] = {}
        text = self._backbones.get(Modality.TEXT)
        if isinstance(text, TextBackbone):
            mask = given[ATTENTION] > 0
            features |= _named(Modality.TEXT, text.encode(given[IDS], mask))
            features[MASK] = mask
        image = self._backbones.get(Modality.IMAGE)
        if isinstance(image, ImageBackbone):
            hidden, pooled = image.encode(given[PIXELS])
            hidden = self.grid @ hidden if self._averages else hidden
            features |= _named(Modality.IMAGE, Encoded(hidden, pooled))
        wanted = _read_by(self.head, features)
        probabilities: Tensor = self.head(FeatureBatch(**wanted)).softmax(dim=-1)
        return probabilities


def _named(modality: Modality, encoded: Encoded) -> dict[str, Tensor]:
    return {f"{modality}_hidden": encoded.hidden, f"{modality}_pooled": encoded.pooled}


def _read_by(head: FusionHead, features: Mapping[str, Tensor]) -> dict[str, Any]:
    """The features that a head declares, without which the graph would compute in vain."""
    names = {field.value for field in head.needs}
    names |= {MASK} if Field.TEXT_HIDDEN.value in names else set()
    return {name: value for name, value in features.items() if name in names}
