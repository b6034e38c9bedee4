"""Loads a backbone on its device, and measures its deviation from float32."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mvsa_pipe.backbones import load_backbone
from mvsa_pipe.backbones.base import TextBackbone
from mvsa_pipe.backbones.decoding import Decoding, ExactDecoding
from mvsa_pipe.backbones.options import BackboneOptions
from mvsa_pipe.cache.content import Rows
from mvsa_pipe.cache.fingerprint import StoredDtype
from mvsa_pipe.devices import Precision, describe_device, resolve_device, resolve_precision
from mvsa_pipe.extraction.batches import BatchWork
from mvsa_pipe.extraction.clock import Clock
from mvsa_pipe.extraction.fingerprint_memo import ResolvedFingerprint, remember
from mvsa_pipe.extraction.forward import Forward
from mvsa_pipe.extraction.image_batches import ImageWork
from mvsa_pipe.extraction.options import ExtractOptions
from mvsa_pipe.extraction.text_batches import TextWork
from mvsa_pipe.posts.contents import Content

# Number of posts on which the deviation from float32 is measured, which takes a second.
_MEASURED_POSTS = 16

# Default batch size: on a CPU small batches stay in its caches, on a GPU large ones use all of it.
_CPU_BATCH, _GPU_BATCH = 8, 64


@dataclass
class LoadedBackbone:
    """A frozen backbone, ready to compute.

    Attributes:
        options: The requested options.
        forward: The backbone with its device and arithmetic.
        resolved: The fingerprint of its features.
    """

    options: ExtractOptions
    forward: Forward[Any]
    resolved: ResolvedFingerprint

    @classmethod
    def load(cls, wanted: BackboneOptions, options: ExtractOptions) -> "LoadedBackbone":
        """Loads the backbone and resolves device, precision and fingerprint.

        Raises:
            BackboneError: The weights cannot be loaded.
            ConfigError: The device or an option cannot be used.
        """
        started = time.time()
        device = resolve_device(options.device)
        precision = resolve_precision(options.precision, device)
        backbone = load_backbone(wanted)
        backbone.to(device)
        forward = Forward(backbone, device, precision, options.dtype, options.keep)
        resolved = ResolvedFingerprint(forward.fingerprint, describe_device(device))
        remember(wanted, options, resolved, backbone.identity.witnesses, started)
        return cls(options, forward, resolved)

    def deviation(self, items: Sequence[Content]) -> dict[str, Any] | None:
        """Deviation of stored features from float32 arithmetic and storage, on a few posts."""
        few = items[:_MEASURED_POSTS]
        stored = self._computed(few, self.forward)
        exact = self._computed(
            few,
            replace(
                self.forward,
                precision=Precision.FLOAT32,
                dtype=StoredDtype.FLOAT32,
            ),
        )
        if stored is None or exact is None:
            return None
        pairs = ((stored.pooled, exact.pooled), (stored.hidden, exact.hidden))
        flat = [(_flat(a), _flat(b)) for a, b in pairs if a.size]
        return {
            "posts": len(exact.ids),
            "largest": max(float(np.abs(a - b).max()) for a, b in flat),
            "least_cosine": min(float(_cosines(a, b).min()) for a, b in flat),
        }

    def _computed(self, items: Sequence[Content], forward: Forward[Any]) -> Rows | None:
        work = make_work([forward], Clock(), self.options.batch_size)
        batches = [batch for part in work.parts(items, [{i.id for i in items}]) for batch in part]
        blocks = work.compute(batches).rows[0] if batches else []
        return Rows.joined(blocks) if blocks else None

    def tokens_of(self, items: Sequence[Content]) -> list[int]:
        """Number of tokens of every text before cutting; empty for pictures."""
        backbone = self.forward.backbone
        if not isinstance(backbone, TextBackbone):
            return []
        return [len(ids) for ids in backbone.tokenize([item.text for item in items])]


def make_work(
    forwards: Sequence[Forward[Any]],
    clock: Clock,
    batch_size: int = 0,
    decoding: Decoding[Any] | None = None,
) -> BatchWork:
    """The batch work of several image backbones, or of one text backbone.

    Args:
        forwards: The backbones.
        clock: Measures the time.
        batch_size: As in ``ExtractOptions``.
        decoding: How pictures are decoded; by default exactly.
    """
    size = batch_size or (_CPU_BATCH if forwards[0].device.type == "cpu" else _GPU_BATCH)
    if isinstance(forwards[0].backbone, TextBackbone):
        (text,) = forwards
        return TextWork(text, size, clock)
    return ImageWork(forwards, size, clock, decoding or ExactDecoding())


def _flat(values: Any) -> Any:  # noqa: ANN401
    return values.astype(np.float32).reshape(-1, values.shape[-1])


def _cosines(a: Any, b: Any) -> Any:  # noqa: ANN401
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return (a * b).sum(axis=1) / np.maximum(norms, 1e-30)
