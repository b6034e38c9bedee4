"""Runs a frozen backbone on one batch and returns arrays of the stored type."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mvsa_pipe.backbones.base import Backbone, Encoded
from mvsa_pipe.cache.fingerprint import Fingerprint, StoredDtype
from mvsa_pipe.devices import Precision, arithmetic
from mvsa_pipe.errors import BackboneError
from mvsa_pipe.layers import Keep

BackboneT_co = TypeVar("BackboneT_co", bound=Backbone, covariant=True)


@dataclass(frozen=True)
class Forward(Generic[BackboneT_co]):
    """A frozen backbone with its device, arithmetic and output type.

    Attributes:
        backbone: The backbone, on ``device``.
        device: The device that computes.
        precision: Arithmetic of the matrix products.
        dtype: Type of the returned numbers.
        keep: What is returned; without hidden states, their arrays have no tokens.
    """

    backbone: BackboneT_co
    device: torch.device
    precision: Precision
    dtype: StoredDtype
    keep: Keep = Keep.ALL

    @property
    def fingerprint(self) -> Fingerprint:
        """The identity of its output."""
        identity = self.backbone.identity
        own = Fingerprint(
            backbone=identity.name,
            modality=identity.modality,
            weights=identity.weights,
            preprocessing=identity.preprocessing,
            layers=identity.layers,
            pooling=identity.pooling,
            precision=self.precision.value,
            dtype=self.dtype,
        )
        return own.without_states if self.keep is Keep.POOLED else own

    @property
    def vector_bytes(self) -> int:
        """Bytes of one stored vector."""
        return self.backbone.width * np.dtype(self.dtype.value).itemsize

    @property
    def token_bytes(self) -> int:
        """Bytes of one stored token: one vector per layer, or none."""
        return 0 if self.keep is Keep.POOLED else self.backbone.layers * self.vector_bytes

    @property
    def encode(self) -> Callable[..., Encoded]:
        """The function that ``launch`` runs on a batch."""
        own: Callable[..., Encoded] = self.backbone.encode  # type: ignore[attr-defined]
        return own

    def launch(self, encode: Callable[..., Encoded], *inputs: Tensor) -> Encoded:
        """Hidden states and pooled vectors of a batch in the stored type, still on the device.

        A batch that does not fit into the device's memory is halved until it fits.

        Raises:
            BackboneError: A single post does not fit.
        """
        try:
            return self._launch(encode, *inputs)
        except torch.OutOfMemoryError as error:
            if len(inputs[0]) == 1:
                raise BackboneError(
                    "A single post needs more memory than the device has free",
                    where=self.backbone.identity.name,
                    found=str(error).splitlines()[0],
                    hint="free memory on it, lower --max-tokens, or use --device cpu",
                ) from error
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        middle = len(inputs[0]) // 2
        first = self.launch(encode, *(values[:middle] for values in inputs))
        second = self.launch(encode, *(values[middle:] for values in inputs))
        return Encoded(*(torch.cat(pair) for pair in zip(first, second, strict=True)))

    def _launch(self, encode: Callable[..., Encoded], *inputs: Tensor) -> Encoded:
        here = [values.to(self.device, non_blocking=True) for values in inputs]
        with torch.inference_mode(), arithmetic(self.precision, self.device):
            hidden, pooled = encode(*here)
            if self.keep is Keep.POOLED:
                hidden = hidden.new_empty((len(hidden), 0, hidden.shape[-1]))
            stored = torch.float16 if self.dtype is StoredDtype.FLOAT16 else torch.float32
            # Cells of a feature map are transposed views; checksums and files need contiguous rows.
            return Encoded(hidden.to(stored).contiguous(), pooled.to(stored).contiguous())

    def collect(self, encoded: Encoded) -> tuple[NDArray[Any], NDArray[Any]]:
        """A launched batch as arrays in this process's memory."""
        return encoded.hidden.cpu().numpy(), encoded.pooled.cpu().numpy()


@contextmanager
def weights_cast_once(module: nn.Module, precision: Precision) -> Iterator[None]:
    """Casts weights of matrix products to ``precision`` inside, and restores them afterwards.

    Autocast casts every weight again for every batch. Casting once gives the same numbers, and
    small batches cost much less.
    """
    if precision is Precision.FLOAT32:
        yield
        return
    layers = [m for m in module.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    own = {id(p): p for m in layers for p in m.parameters(recurse=False)}
    exact = [(p, p.data) for p in own.values() if p.dtype is torch.float32]
    try:
        for parameter, values in exact:
            parameter.data = values.to(torch.bfloat16)
        yield
    finally:
        for parameter, values in exact:
            parameter.data = values


def pinned(values: NDArray[Any], device: torch.device) -> Tensor:
    """An array as a tensor from which a GPU can copy asynchronously."""
    tensor = torch.from_numpy(values)
    return tensor.pin_memory() if device.type == "cuda" else tensor


def padded(
    rows: Sequence[NDArray[np.int32]], pad_id: int
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Token ids ``[B, T]`` of some texts, padded to the longest, and their mask."""
    lengths = np.array([len(row) for row in rows])
    mask = np.arange(lengths.max()) < lengths[:, None]
    ids = np.full(mask.shape, pad_id, np.int32)
    ids[mask] = np.concatenate(rows)
    return ids, mask
