"""A gate that decides, entry by entry, how much text and how much image comes through."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mvsa_pipe.features.batch import FeatureBatch, FeatureSizes, Field
from mvsa_pipe.heads.base import FusionHead
from mvsa_pipe.heads.blocks import Classifier, Dropout, normalise
from mvsa_pipe.heads.options import ProjectionOptions


class Gated(FusionHead):
    """Mixes both modalities by a gate that has read both: the gated multimodal unit.

    ``h_T = tanh(W_T F_T)``, ``h_I = tanh(W_I F_I)``, ``z = sigmoid(W_z [F_T; F_I])``,
    ``h = z * h_T + (1 - z) * h_I``, ``classifier(h)``.

    Source:
        Arevalo et al. 2017, "Gated Multimodal Units for Information Fusion", arXiv 1702.01992,
        the bimodal unit.

    Differs from source:
        The three maps have biases. The shared classifier stands in for the source's maxout
        layers. Features are normalised first.
    """

    needs = frozenset({Field.TEXT_POOLED, Field.IMAGE_POOLED})
    Options = ProjectionOptions

    def __init__(self, sizes: FeatureSizes, options: ProjectionOptions) -> None:
        super().__init__(sizes, options)
        width = options.width
        self.dropout = Dropout(options.input_dropout)
        self.text = nn.Linear(sizes.text_width, width)
        self.image = nn.Linear(sizes.image_width, width)
        self.opening = nn.Linear(sizes.text_width + sizes.image_width, width)
        self.classifier = Classifier(width, options.hidden, sizes.classes, options.dropout)

    def forward(self, batch: FeatureBatch) -> Float[Tensor, "B C"]:
        """Logits from the mixture."""
        text = self.dropout(normalise(self.read(batch, Field.TEXT_POOLED)))
        image = self.dropout(normalise(self.read(batch, Field.IMAGE_POOLED)))
        gate = self.gate(text, image)
        mixed = gate * self.text(text).tanh() + (1.0 - gate) * self.image(image).tanh()
        logits: Tensor = self.classifier(mixed)
        return logits

    def gate(
        self, text: Float[Tensor, "B Dt"], image: Float[Tensor, "B Di"]
    ) -> Float[Tensor, "B D"]:
        """The share of the text in each entry of the mixture, from 0 to 1."""
        opening: Tensor = self.opening(torch.cat([text, image], dim=-1))
        return opening.sigmoid()
