"""Cross-modal attention with one classifier a modality."""

import torch
from jaxtyping import Float
from torch import Tensor

from mvsa_pipe.features.batch import ENCODED, FeatureBatch, FeatureSizes, Field
from mvsa_pipe.heads.attention import MultiHeadAttention
from mvsa_pipe.heads.attention_maps import AttentionLayer, both_ways
from mvsa_pipe.heads.base import FusionHead
from mvsa_pipe.heads.blocks import Classifier, join
from mvsa_pipe.heads.faithful_blocks import (
    ChannelTokens,
    PublishedAttentionOptions,
    PublishedPair,
    PublishedProjection,
    pair_loss_floor,
)
from mvsa_pipe.heads.options import AttentionOptions
from mvsa_pipe.heads.tokens import TokenHead


class Cmac(TokenHead):
    """Each modality attends to the other; both results are classified, and the logits added.

    ``a_I→T = mean_P(Attn(q=H_I, k=H_T, v=H_T))``, ``a_T→I = mean_T(Attn(q=H_T, k=H_I, v=H_I))``,
    ``softmax(cls_T([F_T; a_I→T]) + cls_I([F_I; a_T→I]))``, all of them projected to ``d`` first.

    Source:
        arXiv 2412.03625 (S1), section 3.1, CMAC.

    Differs from source:
        Padding is masked as key and left out of the mean over queries. Image tokens are the ``P``
        places, not conv channels. Logits are added, not probabilities. Features are normalised
        before their projections, vectors before the classifiers. Hidden states and pooled vectors
        have projections of their own.
    """

    Options = AttentionOptions

    def __init__(self, sizes: FeatureSizes, options: AttentionOptions) -> None:
        super().__init__(sizes, options)
        width = options.width
        self.image_asks = MultiHeadAttention(width, options.n_attn, options.attention_dropout)
        self.text_asks = MultiHeadAttention(width, options.n_attn, options.attention_dropout)
        classes = sizes.classes
        self.vote_text = Classifier(2 * width, options.hidden, classes, options.dropout)
        self.vote_image = Classifier(2 * width, options.hidden, classes, options.dropout)

    def forward(self, batch: FeatureBatch) -> Float[Tensor, "B C"]:
        """The sum of both classifiers' logits."""
        hidden, mask = self.read_text_tokens(batch)
        text_tokens = self.text_tokens(hidden)
        image_tokens = self.image_tokens(self.read(batch, Field.IMAGE_HIDDEN))
        from_text = self.image_asks.pooled(image_tokens, text_tokens, key_mask=mask)
        from_image = self.text_asks.pooled(text_tokens, image_tokens, query_mask=mask)
        text = self.text(self.read(batch, Field.TEXT_POOLED))
        image = self.image(self.read(batch, Field.IMAGE_POOLED))
        logits: Tensor = self.vote_text(join(text, from_text)) + self.vote_image(
            join(image, from_image)
        )
        return logits

    def attention_layers(self) -> tuple[AttentionLayer, ...]:
        """Each modality's attention to the other."""
        return both_ways(self.text_asks, self.image_asks)


class CmacFaithful(FusionHead):
    """``cmac`` as published: no padding mask, channels as image tokens, softmax upon softmax.

    The equations of ``Cmac`` with one projection for hidden and pooled text, 64 conv channels as
    image tokens, means over padding too, and probabilities added and softmaxed again.

    Source:
        arXiv 2412.03625 (S1), section 3.1, with the figures of its public code (S1c).

    Differs from source:
        Padded text states are zeros: a cache stores none. S1c hands each classifier the other
        direction (``[F_T; a_T→I]``, ``[F_I; a_I→T]``) than the paper's equations, which are kept.
    """

    centres = False
    needs = ENCODED
    Options = PublishedAttentionOptions
    batch_independent = False
    loss_floor = pair_loss_floor(classes=3)

    def __init__(self, sizes: FeatureSizes, options: PublishedAttentionOptions) -> None:
        super().__init__(sizes, options)
        width, dropout = options.width, options.input_dropout
        self.text = PublishedProjection(sizes.text_width, width, dropout)
        self.image = PublishedProjection(sizes.image_width, width, dropout)
        self.image_tokens = ChannelTokens(sizes.image_width, sizes.image_tokens, width, dropout)
        self.image_asks = MultiHeadAttention(width, options.n_attn, options.attention_dropout)
        self.text_asks = MultiHeadAttention(width, options.n_attn, options.attention_dropout)
        self.pair = PublishedPair(2 * width, options, sizes.classes)

    def forward(self, batch: FeatureBatch) -> Float[Tensor, "B C"]:
        """Probabilities where logits are expected."""
        hidden, _ = self.read_text_tokens(batch)
        text_tokens = self.text(hidden)
        image_tokens = self.image_tokens(self.read(batch, Field.IMAGE_HIDDEN))
        from_text = self.image_asks.pooled(image_tokens, text_tokens)
        from_image = self.text_asks.pooled(text_tokens, image_tokens)
        text = self.text(self.read(batch, Field.TEXT_POOLED))
        image = self.image(self.read(batch, Field.IMAGE_POOLED))
        scores: Tensor = self.pair(
            torch.cat([text, from_text], dim=-1), torch.cat([image, from_image], dim=-1)
        )
        return scores
