"""Hidden states of several layers, of backbones whose layers all have one shape."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from mvsa_pipe.backbones.options import BackboneOptions, without_layers
from mvsa_pipe.layers import Layers


def asked_of(layers: Layers) -> dict[str, bool]:
    """What a Hugging Face model must be told to hand out the layers too."""
    return {} if layers is Layers.LAST else {"output_hidden_states": True}


def kept(
    output: Any,  # noqa: ANN401  # transformers has a class of its own for each model
    last: Float[Tensor, "B T D"],
    options: BackboneOptions,
) -> Float[Tensor, "B T *layers D"]:
    """The layers asked for, in order: ``[B, T, D]`` of one, ``[B, T, L, D]`` of several.

    The last one is what is kept of a backbone by default, behind its final norm where it has one;
    the others are as the model hands them on from layer to layer.

    Raises:
        ConfigError: The model's layers are of different shapes, or it hands out none.
    """
    if options.layers is Layers.LAST:
        return last
    found = getattr(output, "hidden_states", None) or ()
    # the first are the embeddings
    wanted = found[1:][-options.layers.count_of(len(found) - 1) :] if len(found) > 1 else ()
    if not wanted or any(states.shape != last.shape for states in wanted):
        raise without_layers(options)
    if len(wanted) == 1:
        return last
    return torch.stack([*(states.float() for states in wanted[:-1]), last], dim=2)


def layers_in(hidden: Float[Tensor, "B T *layers D"]) -> int:
    """How many layers some hidden states hold."""
    return int(hidden.shape[2]) if hidden.dim() == 4 else 1
