"""Hidden states of cached posts, their layers mixed or handed on for a head to mix."""

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from mvsa_pipe.cache.layout import bounds_of
from mvsa_pipe.cache.reading import FeatureFile
from mvsa_pipe.devices import memory_to_copy_from
from mvsa_pipe.layers import LayerMix

# Posts whose layers are mixed at a time: all layers of all posts need several times the memory.
_BLOCK = 64


def layers_for(file: FeatureFile, mix: LayerMix) -> int:
    """How many layers of a cache a head is handed."""
    return file.header.layers if mix is LayerMix.LEARNED else 1


def read_states(
    file: FeatureFile, rows: NDArray[np.int64], mix: LayerMix
) -> tuple[Tensor, NDArray[np.int64]]:
    """Hidden states of some rows, checked, and where each row's begin and end.

    Of the ``L`` layers that a head is handed, those of a text token stand one after the other,
    ``[ΣT·L, D]``, and those of an image token side by side, ``[N, P, L·D]``.

    Raises:
        CacheError: Bytes were changed on disk; names the posts.
    """
    header, layers = file.header, layers_for(file, mix)
    dtype = header.fingerprint.dtype.value
    lengths = np.ones_like(rows) if header.offsets is None else np.diff(header.offsets)[rows]
    bounds = bounds_of(lengths)
    if header.layers == 1:
        into = memory_to_copy_from((int(bounds[-1]), *header.entry_shape), dtype)
        return torch.from_numpy(file.hidden(rows, into)[0]), bounds
    shape = (int(bounds[-1]), *header.entry_shape[:-2], layers, header.width)
    states = memory_to_copy_from(shape, dtype)
    for start in range(0, len(rows), _BLOCK):
        stop = min(start + _BLOCK, len(rows))
        block = torch.from_numpy(file.hidden(rows[start:stop])[0])
        states[bounds[start] : bounds[stop]] = _mixed(block, mix).numpy()
    if header.offsets is None:
        return torch.from_numpy(states).flatten(2), bounds
    return torch.from_numpy(states).flatten(0, 1), bounds * layers


def _mixed(states: Float[Tensor, "N *tokens L D"], mix: LayerMix) -> Float[Tensor, "N *rest D"]:
    """The layers that a head is handed: all, or the one that they are mixed to."""
    if mix is LayerMix.LAST:
        return states[..., -1:, :]
    if mix is LayerMix.MEAN:
        normalised = F.layer_norm(states.float(), states.shape[-1:])
        return normalised.mean(dim=-2, keepdim=True).to(states.dtype)
    return states
