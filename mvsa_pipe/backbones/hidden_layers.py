"""Hidden states of several layers, for backbones whose layers have equal shapes."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from mvsa_pipe.backbones.options import BackboneOptions, without_layers
from mvsa_pipe.layers import Layers


def layer_arguments(layers: Layers) -> dict[str, bool]:
    """Arguments with which a Hugging Face model returns the hidden states of its layers."""
    return {} if layers is Layers.LAST else {"output_hidden_states": True}


def select_layers(
    output: Any,  # noqa: ANN401  # transformers has one class for each model
    last: Float[Tensor, "B T D"],
    options: BackboneOptions,
) -> Float[Tensor, "B T *layers D"]:
    """The requested layers in order: ``[B, T, D]`` for one, ``[B, T, L, D]`` for several.

    The last layer is taken after the final norm where the model has one; the others are the inputs
    of the following layers.

    Raises:
        ConfigError: The model's layers have different shapes, or it does not return them.
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
    """Number of layers of hidden states."""
    return int(hidden.shape[2]) if hidden.dim() == 4 else 1
