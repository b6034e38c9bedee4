"""Features computed on demand, with the interface of cached ones."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn import functional as F

from mvsa_pipe.devices import Precision, arithmetic, usable_cores
from mvsa_pipe.extraction.pipeline import map_in_order
from mvsa_pipe.features.batch import FeatureBatch, FeatureSizes, Field
from mvsa_pipe.features.grid import to_grid
from mvsa_pipe.finetune.tunable_backbone import EncodedBatch, TunableBackbone
from mvsa_pipe.modality import Modality

# Batches that are read and decoded while the backbones compute.
_READ_AHEAD = 2

Inputs = dict[Modality, list[Tensor]]


@dataclass(frozen=True)
class LiveFeatures:
    """The features of ``N`` posts, computed by backbones for every batch.

    With gradients enabled, as in training, gradients flow into the trained parameters of backbones;
    without, as on validation, backbones are in the same mode as in an extraction.

    Attributes:
        post_ids: The posts, in index order.
        sizes: Sizes of the features.
        token_counts: Text tokens of every post ``[N]``; ``None`` without a text backbone.
        tunables: The backbone of each modality.
        precision: Arithmetic of the matrix products.
        image_grid: Image tokens are averaged to at most this many rows and columns; 0 keeps all.
        at_a_time: Posts per forward pass of the backbones without gradients.
    """

    post_ids: tuple[str, ...]
    sizes: FeatureSizes
    token_counts: Int[Tensor, " N"] | None
    tunables: Mapping[Modality, TunableBackbone]
    precision: Precision = Precision.FLOAT32
    image_grid: int = 0
    at_a_time: int = 16
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(usable_cores()))

    @property
    def bytes_held(self) -> int:
        """0: features are not kept in memory."""
        return 0

    def to(self, _: torch.device) -> "LiveFeatures":
        """Returns itself: backbones are on their device."""
        return self

    def batches(
        self, chosen: Iterable[Int[Tensor, " B"]], needs: Iterable[Field]
    ) -> Iterator[FeatureBatch]:
        """The declared features, batch by batch; the next inputs are read ahead."""
        wanted = frozenset(needs)
        training = torch.is_grad_enabled()
        read = partial(self._read, wanted=wanted, training=training)
        for parts in map_in_order(self._pool, read, chosen, _READ_AHEAD):
            yield self._encoded(parts, wanted)

    def _read(
        self, posts: Int[Tensor, " B"], *, wanted: frozenset[Field], training: bool
    ) -> list[Inputs]:
        """Inputs of the backbones for some posts; one part in training, as callers cut batches."""
        indices = posts.tolist()
        size = len(indices) if training else self.at_a_time
        modalities = {need.modality for need in wanted}
        return [
            {
                modality: tunable.read(indices[at : at + size], training=training)
                for modality, tunable in self.tunables.items()
                if modality in modalities
            }
            for at in range(0, len(indices), size)
        ]

    def _encoded(self, parts: Sequence[Inputs], wanted: frozenset[Field]) -> FeatureBatch:
        device = next(iter(self.tunables.values())).device
        with arithmetic(self.precision, device):
            encoded = [{m: self.tunables[m].encode(v) for m, v in part.items()} for part in parts]
        text = _joined([part[Modality.TEXT] for part in encoded if Modality.TEXT in part])
        image = _joined([part[Modality.IMAGE] for part in encoded if Modality.IMAGE in part])
        values: dict[str, Tensor | None] = {}
        if text is not None:
            values["text_hidden"], values["text_pooled"] = text.hidden, text.pooled
        if image is not None:
            values["image_hidden"] = to_grid(image.hidden, self.image_grid)
            values["image_pooled"] = image.pooled
        declared: dict[str, Any] = {
            name: value for name, value in values.items() if Field(name) in wanted
        }
        mask = text.mask if text is not None and Field.TEXT_HIDDEN in wanted else None
        return FeatureBatch(**declared, text_mask=mask)


def _joined(parts: Sequence[EncodedBatch]) -> EncodedBatch | None:
    """Concatenates parts of a batch, padding texts."""
    if len(parts) <= 1:
        return parts[0] if parts else None
    longest = max(part.hidden.shape[1] for part in parts)
    missing = [longest - part.hidden.shape[1] for part in parts]
    hidden = [F.pad(p.hidden, (0, 0, 0, n)) for p, n in zip(parts, missing, strict=True)]
    masks = [
        F.pad(p.mask, (0, n)) for p, n in zip(parts, missing, strict=True) if p.mask is not None
    ]
    pooled = torch.cat([part.pooled for part in parts])
    return EncodedBatch(torch.cat(hidden), pooled, torch.cat(masks) if masks else None)
