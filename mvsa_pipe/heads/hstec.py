"""One transformer layer over the tokens of both modalities, one classifier a modality."""

import torch
from jaxtyping import Float
from torch import Tensor

from mvsa_pipe.features.batch import ENCODED, FeatureBatch, FeatureSizes, Field
from mvsa_pipe.heads.attention import EncoderLayer, MultiHeadAttention
from mvsa_pipe.heads.attention_maps import AttentionLayer, over_all
from mvsa_pipe.heads.base import FusionHead
from mvsa_pipe.heads.blocks import Classifier, join
from mvsa_pipe.heads.faithful_blocks import (
    ChannelTokens,
    PublishedEncoderOptions,
    PublishedPair,
    PublishedProjection,
    pair_loss_floor,
)
from mvsa_pipe.heads.options import EncoderOptions
from mvsa_pipe.heads.tokens import TokenHead
from mvsa_pipe.pooling import mean_over_tokens


class Hstec(TokenHead):
    """Reads both modalities as one sequence, then lets both vote with its summary.

    ``a = mean(TransformerEncoderLayer([H_T; H_I]))``,
    ``softmax(cls_T([F_T; a]) + cls_I([F_I; a]))``, all of them projected to ``d`` first.

    Source:
        arXiv 2412.03625 (S1), section 3.2, HSTEC.

    Differs from source:
        Padding is masked and left out of the mean. Image tokens are the ``P`` places, not conv
        channels. Logits are added, not probabilities. Features are normalised before their
        projections, vectors before the classifiers. Hidden states and pooled vectors have
        projections of their own.
    """

    Options = EncoderOptions

    def __init__(self, sizes: FeatureSizes, options: EncoderOptions) -> None:
        super().__init__(sizes, options)
        width = options.width
        attention = MultiHeadAttention(width, options.n_attn, options.attention_dropout)
        self.encoder = EncoderLayer(
            width, attention, options.feedforward, options.encoder_dropout, across_tokens=True
        )
        classes = sizes.classes
        self.vote_text = Classifier(2 * width, options.hidden, classes, options.dropout)
        self.vote_image = Classifier(2 * width, options.hidden, classes, options.dropout)

    def forward(self, batch: FeatureBatch) -> Float[Tensor, "B C"]:
        """The sum of both classifiers' logits."""
        hidden, text_mask = self.read_text_tokens(batch)
        text_tokens = self.text_tokens(hidden)
        image_tokens = self.image_tokens(self.read(batch, Field.IMAGE_HIDDEN))
        mask = torch.cat([text_mask, text_mask.new_ones(image_tokens.shape[:2])], dim=1)
        encoded = self.encoder(torch.cat([text_tokens, image_tokens], dim=1), mask)
        summary = mean_over_tokens(encoded, mask)
        text = self.text(self.read(batch, Field.TEXT_POOLED))
        image = self.image(self.read(batch, Field.IMAGE_POOLED))
        logits: Tensor = self.vote_text(join(text, summary)) + self.vote_image(join(image, summary))
        return logits

    def attention_layers(self) -> tuple[AttentionLayer, ...]:
        """The layer's attention of all tokens to all."""
        return (over_all("all → all", self.encoder.attend.attention),)


class HstecFaithful(FusionHead):
    """``hstec`` as published: no padding mask, channels as image tokens, softmax upon softmax.

    The equations of ``Hstec`` with one projection for hidden and pooled text, 64 conv channels as
    image tokens, a mean over padding too, and probabilities added and softmaxed again.

    Source:
        arXiv 2412.03625 (S1), section 3.2, with the figures of its public code (S1c).

    Differs from source:
        Padded text states are zeros: a cache stores none.
    """

    centres = False
    needs = ENCODED
    Options = PublishedEncoderOptions
    batch_independent = False
    loss_floor = pair_loss_floor(classes=3)

    def __init__(self, sizes: FeatureSizes, options: PublishedEncoderOptions) -> None:
        super().__init__(sizes, options)
        width, dropout = options.width, options.input_dropout
        self.text = PublishedProjection(sizes.text_width, width, dropout)
        self.image = PublishedProjection(sizes.image_width, width, dropout)
        self.image_tokens = ChannelTokens(sizes.image_width, sizes.image_tokens, width, dropout)
        attention = MultiHeadAttention(width, options.n_attn, options.attention_dropout)
        self.encoder = EncoderLayer(
            width, attention, options.feedforward, options.attention_dropout
        )
        self.pair = PublishedPair(2 * width, options, sizes.classes)

    def forward(self, batch: FeatureBatch) -> Float[Tensor, "B C"]:
        """Probabilities where logits are expected."""
        hidden, _ = self.read_text_tokens(batch)
        image_tokens = self.image_tokens(self.read(batch, Field.IMAGE_HIDDEN))
        encoded = self.encoder(torch.cat([self.text(hidden), image_tokens], dim=1))
        summary = mean_over_tokens(encoded)
        text = self.text(self.read(batch, Field.TEXT_POOLED))
        image = self.image(self.read(batch, Field.IMAGE_POOLED))
        scores: Tensor = self.pair(
            torch.cat([text, summary], dim=-1), torch.cat([image, summary], dim=-1)
        )
        return scores
