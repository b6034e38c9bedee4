"""What heads attend to: their attention weights over tokens, read or replaced from outside.

Axes beyond the common legend: ``Q`` queries, ``K`` keys, ``h`` attention heads.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mvsa_pipe.features.batch import FeatureBatch

# Called with attention weights; returns those that are used instead.
Probe = Callable[[Tensor], Tensor]


class Kind(StrEnum):
    """What stands at a place of a sequence that is attended from or to."""

    TEXT = "text"
    IMAGE = "picture"
    VECTOR = "vector"
    SHARED = "shared"


# All but these have one place, or what the others leave.
TOKENS = (Kind.TEXT, Kind.IMAGE)


class Attending(nn.Module):
    """Base of modules with attention weights.

    Attributes:
        probe: What reads or replaces the weights; ``None``, as in training, costs nothing.
    """

    probe: Probe | None = None


@dataclass(frozen=True)
class AttentionLayer:
    """One attention of a head, over tokens.

    Attributes:
        name: Queries and keys, such as ``text → picture``.
        module: What computes its weights.
        queries: What the queries are, in order.
        keys: What the keys are, in order.
    """

    name: str
    module: Attending
    queries: tuple[Kind, ...]
    keys: tuple[Kind, ...]


def both_ways(text_asks: Attending, image_asks: Attending) -> tuple[AttentionLayer, ...]:
    """Attention of the text's tokens to the picture's, and the reverse."""
    return (
        AttentionLayer("text → picture", text_asks, (Kind.TEXT,), (Kind.IMAGE,)),
        AttentionLayer("picture → text", image_asks, (Kind.IMAGE,), (Kind.TEXT,)),
    )


def over_all(name: str, module: Attending) -> AttentionLayer:
    """Attention of all tokens of text and picture to all."""
    return AttentionLayer(name, module, TOKENS, TOKENS)


@dataclass(frozen=True)
class AttentionMap:
    """The weights of one layer for one batch.

    Attributes:
        layer: The layer.
        weights: ``[B, h, Q, K]``; each row adds up to 1.
        query_mask: ``[B, Q]``, True where a query is real.
        key_mask: ``[B, K]``, True where a key is real.
        keys: Places of the keys of each kind.
    """

    layer: AttentionLayer
    weights: Float[Tensor, "B h Q K"]
    query_mask: Bool[Tensor, "B Q"]
    key_mask: Bool[Tensor, "B K"]
    keys: dict[Kind, slice]

    @property
    def real_weights(self) -> Float[Tensor, "B h Q K"]:
        """The weights over real keys alone, adding up to 1."""
        real = self.weights * self.key_mask[:, None, None]
        return real / real.sum(dim=-1, keepdim=True).clamp(min=torch.finfo(real.dtype).tiny)

    def entropy(self) -> Float[Tensor, "B h"]:
        """Mean entropy of the real queries over real keys, divided by that of equal weights.

        ``1/Q Σ_q -Σ_k a_qk log a_qk / log K`` over real queries and keys: 1 for equal weights, 0
        for one key that takes all. NaN for a post with fewer than two real keys, or no real query.
        """
        weights = self.real_weights.double()
        own = -torch.xlogy(weights, weights).sum(dim=-1)
        most = self.key_mask.sum(dim=1).double().log()[:, None]
        return self._over_queries(own) / torch.where(most > 0, most, torch.nan)

    def mass(self) -> dict[Kind, Float[Tensor, " B"]]:
        """Share of the real weights on each kind of key, a mean over heads and real queries."""
        weights = self.real_weights.double()
        return {
            kind: self._over_queries(weights[..., places].sum(dim=-1)).mean(dim=1)
            for kind, places in self.keys.items()
        }

    def equal_mass(self) -> dict[Kind, Float[Tensor, " B"]]:
        """What ``mass`` would be with equal weights on all real keys."""
        real = self.key_mask.double()
        return {
            kind: real[:, places].sum(dim=1) / real.sum(dim=1) for kind, places in self.keys.items()
        }

    def of_keys(self) -> Float[Tensor, "B K"]:
        """Weight of each key, a mean over attention heads and real queries."""
        own = self.query_mask[:, None, :, None].to(self.weights.dtype)
        return (self.weights * own).sum(dim=2).mean(dim=1) / own.sum(dim=2)[:, 0].clamp(min=1)

    def _over_queries(self, values: Float[Tensor, "B h Q"]) -> Float[Tensor, "B h"]:
        real = self.query_mask[:, None]
        return torch.where(real, values, 0.0).sum(dim=-1) / real.sum(dim=-1)


@contextmanager
def _probed(
    layers: Sequence[AttentionLayer], probe: Callable[[AttentionLayer, Tensor], Tensor]
) -> Iterator[None]:
    for layer in layers:
        layer.module.probe = partial(probe, layer)
    try:
        yield
    finally:
        for layer in layers:
            layer.module.probe = None


def attention_maps(
    head: nn.Module, layers: Sequence[AttentionLayer], batch: FeatureBatch
) -> list[AttentionMap]:
    """The weights of some layers of a head for one batch, in eval mode or not as the head is."""
    found: dict[str, AttentionMap] = {}

    def read(layer: AttentionLayer, weights: Tensor) -> Tensor:
        found[layer.name] = _map(layer, weights, batch)
        return weights

    with _probed(layers, read):
        head(batch)
    return [found[layer.name] for layer in layers]


def with_equal_attention(
    head: nn.Module, layers: Sequence[AttentionLayer], batch: FeatureBatch
) -> Float[Tensor, "B C"]:
    """Logits of a head where some layers weigh all real keys alike."""

    def equal(layer: AttentionLayer, weights: Tensor) -> Tensor:
        real = _map(layer, weights, batch).key_mask.to(weights.dtype)[:, None, None]
        return (real / real.sum(dim=-1, keepdim=True).clamp(min=1)).expand_as(weights)

    with _probed(layers, equal):
        logits: Tensor = head(batch)
    return logits


def _map(
    layer: AttentionLayer, weights: Float[Tensor, "B h Q K"], batch: FeatureBatch
) -> AttentionMap:
    queries, keys = weights.shape[-2:]
    return AttentionMap(
        layer,
        weights,
        _mask(_places(layer.queries, queries, batch), queries, batch),
        _mask(_places(layer.keys, keys, batch), keys, batch),
        _places(layer.keys, keys, batch),
    )


def _places(kinds: Sequence[Kind], count: int, batch: FeatureBatch) -> dict[Kind, slice]:
    """Places of each kind in a sequence of some length; shared tokens are what is left."""
    lengths = {Kind.VECTOR: 1}
    if batch.text_mask is not None:
        lengths[Kind.TEXT] = batch.text_mask.shape[1]
    if batch.image_hidden is not None:
        lengths[Kind.IMAGE] = batch.image_hidden.shape[1]
    known = sum(lengths[kind] for kind in kinds if kind is not Kind.SHARED)
    lengths[Kind.SHARED] = count - known
    if lengths[Kind.SHARED] < 0 or (Kind.SHARED not in kinds and known != count):
        raise ValueError(f"{count} places of attention, where {known} were declared")
    places, start = {}, 0
    for kind in kinds:
        places[kind] = slice(start, start + lengths[kind])
        start += lengths[kind]
    return places


def _mask(places: dict[Kind, slice], count: int, batch: FeatureBatch) -> Bool[Tensor, "B K"]:
    device = next(value for _, value in batch.tensors()).device
    mask = torch.ones(len(batch), count, dtype=torch.bool, device=device)
    if Kind.TEXT in places and batch.text_mask is not None:
        mask[:, places[Kind.TEXT]] = batch.text_mask
    return mask
