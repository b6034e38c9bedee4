"""A backbone's layers, from its input up, and the depth of every parameter."""

from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mvsa_pipe.backbones.base import Encoded
from mvsa_pipe.features.batch import HIDDEN, POOLED, Field

# Children of torchvision's classifiers that contain a sequence of layers.
_CHAINS = ("features", "trunk_output")


@dataclass(frozen=True)
class LayerDepths:
    """A backbone's layers and the depth of every parameter.

    Attributes:
        modules: The layers, from the input up.
        depths: Depth of each used parameter by name: 0 below the first layer (embeddings), ``k`` in
            the k-th; parameters after the last layer (a norm, a pooler) have its depth.
    """

    modules: tuple[nn.Module, ...]
    depths: dict[str, int]

    def above(self, count: int | None) -> set[str]:
        """Names of the used parameters in the last ``count`` layers; all of them for ``None``."""
        if count is None:
            return set(self.depths)
        return {name for name, depth in self.depths.items() if depth > len(self.modules) - count}

    def slowed(self, depth: int, decay: float) -> float:
        """Learning-rate factor of a layer, relative to the last layer."""
        return float(decay ** (len(self.modules) - depth))


def layers_of(network: nn.Module, used: Set[str]) -> LayerDepths:
    """Finds the layers: a transformer's blocks, or the stages of a convolutional network.

    Args:
        network: The network.
        used: Names of the parameters that affect its features; layers without any are ignored.
    """
    named = {name: p for name, p in network.named_parameters() if name in used}
    known = {id(p) for p in named.values()}
    modules = [
        layer
        for layer in _blocks(network) or _stages(network)
        if any(id(p) in known for p in layer.parameters())
    ]
    owner = {id(p): k + 1 for k, layer in enumerate(modules) for p in layer.parameters()}
    depths: dict[str, int] = {}
    reached = 0
    for name, parameter in named.items():
        if id(parameter) in owner:
            depths[name], reached = owner[id(parameter)], len(modules)
        else:
            depths[name] = reached
    return LayerDepths(tuple(modules), depths)


def _blocks(network: nn.Module) -> list[nn.Module]:
    """The longest list of modules: a transformer's blocks."""
    lists = [list(m) for m in network.modules() if isinstance(m, nn.ModuleList)]
    return max(lists, key=len, default=[])


def _stages(network: nn.Module) -> list[nn.Module]:
    chains = (getattr(network, name, None) for name in _CHAINS)
    chain = next((c for c in chains if isinstance(c, nn.Sequential)), network)
    children = list(network.children())
    before = [] if chain is network else children[: children.index(chain)]
    return [*before, *chain.children()]


def used_parameters(
    network: nn.Module, encode: Callable[..., Encoded], inputs: Iterable[Tensor], needs: set[Field]
) -> set[str]:
    """Names of the parameters that affect the declared features, found by one post's gradients.

    Otherwise unused poolers and classifiers would be trained and decayed.
    """
    named = dict(network.named_parameters())
    before = {name: parameter.requires_grad for name, parameter in named.items()}
    network.requires_grad_(requires_grad=True)
    with torch.enable_grad():
        hidden, pooled = encode(*inputs)
        read = [hidden.sum()] if needs & HIDDEN else []
        read += [pooled.sum()] if needs & POOLED else []
        gradients = torch.autograd.grad(
            torch.stack(read).sum(), list(named.values()), allow_unused=True
        )
    for name, parameter in named.items():
        parameter.requires_grad_(before[name])
    pairs = zip(named, gradients, strict=True)
    return {name for name, found in pairs if found is not None}  # type: ignore[redundant-expr]


def checkpoint_layer(layer: nn.Module) -> None:
    """Recomputes a layer's activations in the backward pass."""
    once = layer.forward

    def forward(*inputs: Any, **named: Any) -> Any:  # noqa: ANN401  # the layer's own arguments
        if not torch.is_grad_enabled():
            return once(*inputs, **named)
        return checkpoint(once, *inputs, use_reentrant=False, **named)

    layer.forward = forward
