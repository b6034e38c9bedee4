"""Mixes the layers of a backbone in front of any head, by weights that are trained with it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from mvsa_pipe.features.batch import FeatureBatch, Field
from mvsa_pipe.heads.blocks import normalise

if TYPE_CHECKING:
    from mvsa_pipe.heads.base import FusionHead


class ScalarMix(nn.Module):
    """One vector a token from those of ``L`` layers: ``Σ_l softmax(s)_l · normalise(h_l)``.

    Every backbone has scores ``s`` of its own, zero at first, so that training starts from the
    mean; weight decay pulls towards it, as the penalty ``λ‖w‖²`` does in the source.

    Source:
        Peters et al. 2018, "Deep contextualized word representations", arXiv 1802.05365, section
        3.2, equation 1.

    Differs from source:
        No factor ``γ``: heads normalise what they read. Layers are normalised first, which the
        source does "in some cases". The embeddings below the first layer are no layer.

    Args:
        sources: Layers and width of each backbone, in the order of their columns.
    """

    def __init__(self, sources: Sequence[tuple[int, int]]) -> None:
        super().__init__()
        self.sources = tuple(sources)
        self.layers = max(layers for layers, _ in sources)
        self.scores = nn.ParameterDict(
            {str(n): torch.zeros(layers) for n, (layers, _) in enumerate(sources) if layers > 1}
        )

    def weights(self) -> Float[Tensor, "L D"]:
        """The weight of each layer in each column; none where a backbone has fewer layers."""
        columns = []
        for number, (layers, width) in enumerate(self.sources):
            if layers > 1:
                own = self.scores[str(number)].softmax(dim=0)
            else:
                own = next(self.parameters()).new_ones(1)
            columns.append(F.pad(own, (self.layers - layers, 0)).unsqueeze(1).expand(-1, width))
        return torch.cat(columns, dim=1)

    def forward(self, states: Float[Tensor, "B T L D"]) -> Float[Tensor, "B T D"]:
        """Mixes the layers of every token."""
        weights = self.weights()
        return (normalise(states.to(weights.dtype)) * weights).sum(dim=2)


class Mixing(nn.Module):
    """Input module of a head that reads tokens of several layers.

    Args:
        text: Layers and width of each text backbone; empty where there is nothing to mix.
        image: Those of each image backbone.
    """

    def __init__(self, text: Sequence[tuple[int, int]], image: Sequence[tuple[int, int]]) -> None:
        super().__init__()
        self.text = ScalarMix(text) if text else None
        self.image = ScalarMix(image) if image else None

    def forward(self, batch: FeatureBatch) -> FeatureBatch:
        """The batch that the head was built for."""
        if self.text is not None and batch.text_hidden is not None:
            batch = replace(batch, text_hidden=self.text(batch.text_hidden))
        if self.image is not None and batch.image_hidden is not None:
            batch = replace(batch, image_hidden=self.image(batch.image_hidden))
        return batch


def put_in_front(head: "FusionHead") -> None:
    """Adds the mixing that a head's sizes require, if the head reads mixed features."""
    sizes = head.sizes
    text = sizes.text_layers if Field.TEXT_HIDDEN in head.needs else ()
    image = sizes.image_layers if Field.IMAGE_HIDDEN in head.needs else ()
    if text or image:
        head.add_module("mixing", Mixing(text, image))
        head.register_forward_pre_hook(_through_mixing)


def mixed_layers(head: nn.Module, batch: FeatureBatch) -> FeatureBatch:
    """The batch as the head reads it: unchanged if the head mixes no layers."""
    mixing = getattr(head, "mixing", None)
    if mixing is None:
        return batch
    mixed: FeatureBatch = mixing(batch)
    return mixed


def _through_mixing(head: nn.Module, inputs: tuple[Any, ...]) -> tuple[FeatureBatch]:
    """A hook finds the mixing in the head that it is called for, which may be a copy."""
    (batch,) = inputs
    return (mixed_layers(head, batch),)
