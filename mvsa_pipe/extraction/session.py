"""A loaded backbone at work: resolved, on its device, measured against float32."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from mvsa_pipe.backbones import load_backbone
from mvsa_pipe.backbones.base import ImageBackbone, TextBackbone
from mvsa_pipe.backbones.options import BackboneOptions
from mvsa_pipe.cache.fingerprint import StoredDtype
from mvsa_pipe.cache.layout import Rows
from mvsa_pipe.devices import Precision, describe_device, resolve_device, resolve_precision
from mvsa_pipe.errors import DataError
from mvsa_pipe.extraction.contents import Content
from mvsa_pipe.extraction.forward import Forward, count_cut, stream_images, stream_texts
from mvsa_pipe.extraction.options import ExtractOptions
from mvsa_pipe.extraction.resolution import Resolution, remember

# Posts that the deviation from float32 is measured on: a second of work, every value counted.
_MEASURED_POSTS = 16


@dataclass
class Session:
    """A frozen backbone, ready to compute.

    Attributes:
        options: What was asked for.
        backbone: The backbone, on its device.
        device: Where it computes.
        precision: Arithmetic of the matrix products.
        resolution: The fingerprint that its features have.
    """

    options: ExtractOptions
    backbone: TextBackbone | ImageBackbone
    device: torch.device
    precision: Precision
    resolution: Resolution

    @classmethod
    def load(cls, wanted: BackboneOptions, options: ExtractOptions) -> "Session":
        """Loads the backbone and resolves device, precision and fingerprint.

        Raises:
            BackboneError: The weights cannot be had.
            ConfigError: The device or an option cannot be used.
        """
        started = time.time()
        device = resolve_device(options.device)
        precision = resolve_precision(options.precision, device)
        backbone = load_backbone(wanted)
        resolution = remember(
            wanted, options, backbone.identity, precision, describe_device(device), started
        )
        backbone.to(device)
        return cls(options, backbone, device, precision, resolution)

    @property
    def device_name(self) -> str:
        """The device as records name it."""
        return self.resolution.device

    def stream(
        self,
        items: Sequence[Content],
        advance: Callable[[int], None],
        refused: Callable[[Content, DataError], None],
        *,
        precision: Precision | None = None,
        dtype: StoredDtype | None = None,
    ) -> Iterator[Rows]:
        """Features of posts, part by part; unreadable ones go to ``refused``."""
        how = (self.device, precision or self.precision, dtype or self.options.dtype)
        size = self.options.batch_size
        if isinstance(self.backbone, TextBackbone):
            return stream_texts(Forward(self.backbone, *how, size), items, advance)
        forward = Forward(self.backbone, *how, size)
        return stream_images(forward, items, self.options.workers, advance, refused)

    def deviation(self, items: Sequence[Content]) -> dict[str, Any] | None:
        """How far what is stored lies from float32 arithmetic and storage, on a few posts."""
        few = list(items[:_MEASURED_POSTS])
        stored = self._gather(few, self.precision, self.options.dtype)
        exact = self._gather(few, Precision.FLOAT32, StoredDtype.FLOAT32)
        if stored is None or exact is None:
            return None
        flat = [(_flat(a), _flat(b)) for a, b in zip(stored, exact, strict=True)]
        return {
            "posts": len(exact[0]),
            "largest": max(float(np.abs(a - b).max()) for a, b in flat),
            "least_cosine": min(float(_cosines(a, b).min()) for a, b in flat),
        }

    def _gather(
        self, items: list[Content], precision: Precision, dtype: StoredDtype
    ) -> tuple[Any, Any] | None:
        """Pooled vectors and hidden states of a few posts, whatever can be read of them."""

        def ignore(*_: object) -> None:
            pass

        parts = list(self.stream(items, ignore, ignore, precision=precision, dtype=dtype))
        if not parts:
            return None
        return (
            np.concatenate([rows.pooled for rows in parts]),
            np.concatenate([rows.hidden for rows in parts]),
        )

    def notes(self, contents: Sequence[Content]) -> dict[str, Any]:
        """Facts for ``mvsa cache info``: of the posts alone, however often it was interrupted."""
        notes: dict[str, Any] = {"deviation_from_float32": self.deviation(contents)}
        if isinstance(self.backbone, TextBackbone):
            notes |= count_cut(self.backbone, contents)
        return notes


def _flat(values: Any) -> Any:  # noqa: ANN401
    return values.astype(np.float32).reshape(-1, values.shape[-1])


def _cosines(a: Any, b: Any) -> Any:  # noqa: ANN401
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return (a * b).sum(axis=1) / np.maximum(norms, 1e-30)
