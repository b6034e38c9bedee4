"""One transformer layer over the pooled vectors."""

import torch
from jaxtyping import Float
from torch import Tensor

from mvsa_pipe.features.batch import FeatureBatch, FeatureSizes, Field
from mvsa_pipe.heads.attention import EncoderLayer, MultiHeadAttention, SingleKeyAttention
from mvsa_pipe.heads.base import FusionHead
from mvsa_pipe.heads.blocks import Classifier, Projection
from mvsa_pipe.heads.faithful_blocks import PublishedEncoderOptions, PublishedProjection
from mvsa_pipe.heads.options import EncoderOptions

_POOLED = frozenset({Field.TEXT_POOLED, Field.IMAGE_POOLED})


class Ote(FusionHead):
    """The two pooled vectors attend to each other: one transformer layer, two tokens.

    ``F' = TransformerEncoderLayer((f_I, f_T))``, ``classifier([F'_I; F'_T])`` with both vectors
    projected to ``d``.

    Source:
        arXiv 2412.03625 (S1), section 3.3, OutputTransformerEncoder.

    Differs from source:
        The modalities are two tokens of width ``d`` instead of one token of width ``2d``, whose
        attention weights are always 1. Features are normalised before their projections.
    """

    needs = _POOLED
    Options = EncoderOptions

    def __init__(self, sizes: FeatureSizes, options: EncoderOptions) -> None:
        super().__init__(sizes, options)
        width = options.width
        self.text = Projection(sizes.text_width, width, options.input_dropout)
        self.image = Projection(sizes.image_width, width, options.input_dropout)
        attention = MultiHeadAttention(width, options.n_attn, options.attention_dropout)
        self.encoder = EncoderLayer(width, attention, options.feedforward, options.encoder_dropout)
        self.classifier = Classifier(2 * width, options.hidden, sizes.classes, options.dropout)

    def forward(self, batch: FeatureBatch) -> Float[Tensor, "B C"]:
        """Logits from both encoded vectors side by side."""
        text = self.text(self.read(batch, Field.TEXT_POOLED))
        image = self.image(self.read(batch, Field.IMAGE_POOLED))
        encoded: Tensor = self.encoder(torch.stack([image, text], dim=1))
        logits: Tensor = self.classifier(encoded.flatten(1))
        return logits


class OteFaithful(FusionHead):
    """``ote`` as published: a transformer layer over a sequence of one token.

    ``F' = TransformerEncoderLayer([f_I; f_T])``, ``classifier(F')`` with
    ``f = ReLU(Linear(Dropout(F)))`` and a sequence of length 1.

    Source:
        arXiv 2412.03625 (S1), section 3.3, with the figures of its public code (S1c).

    Differs from source:
        Query and key projections are left out: over one token they cannot change the result. A
        batch of one works.
    """

    centres = False
    needs = _POOLED
    Options = PublishedEncoderOptions

    def __init__(self, sizes: FeatureSizes, options: PublishedEncoderOptions) -> None:
        super().__init__(sizes, options)
        both, dropout = 2 * options.width, options.attention_dropout
        self.text = PublishedProjection(sizes.text_width, options.width, options.input_dropout)
        self.image = PublishedProjection(sizes.image_width, options.width, options.input_dropout)
        attention = SingleKeyAttention(both, options.n_attn, dropout)
        self.encoder = EncoderLayer(both, attention, options.feedforward, dropout)
        self.classifier = Classifier(both, options.hidden, sizes.classes, options.dropout)

    def forward(self, batch: FeatureBatch) -> Float[Tensor, "B C"]:
        """Logits from the one encoded vector."""
        text = self.text(self.read(batch, Field.TEXT_POOLED))
        image = self.image(self.read(batch, Field.IMAGE_POOLED))
        encoded: Tensor = self.encoder(torch.cat([image, text], dim=-1).unsqueeze(1))
        logits: Tensor = self.classifier(encoded.squeeze(1))
        return logits
