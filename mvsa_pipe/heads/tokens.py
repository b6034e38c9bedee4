"""What heads that read tokens start from: both modalities, vectors and tokens, at one width."""

from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor

from mvsa_pipe.features.batch import ENCODED, FeatureBatch, FeatureSizes, Field
from mvsa_pipe.heads.base import FusionHead
from mvsa_pipe.heads.blocks import Projection
from mvsa_pipe.heads.options import ProjectionOptions


@dataclass(frozen=True)
class Projected:
    """Features of ``B`` posts at the head's width.

    Attributes:
        text: ``[B, D]``, the pooled vector of the text.
        image: ``[B, D]``, that of the image.
        text_tokens: ``[B, T, D]``; padding has finite values that must not be read.
        text_mask: ``[B, T]``, True on real tokens.
        image_tokens: ``[B, P, D]``.
    """

    text: Float[Tensor, "B D"]
    image: Float[Tensor, "B D"]
    text_tokens: Float[Tensor, "B T D"]
    text_mask: Bool[Tensor, "B T"]
    image_tokens: Float[Tensor, "B P D"]


class TokenHead(FusionHead):
    """Base of heads that read all four features, each through a separate projection."""

    needs = ENCODED
    Options = ProjectionOptions

    def __init__(self, sizes: FeatureSizes, options: ProjectionOptions) -> None:
        super().__init__(sizes, options)
        width, dropout = options.width, options.input_dropout
        self.text = Projection(sizes.text_width, width, dropout)
        self.image = Projection(sizes.image_width, width, dropout)
        self.text_tokens = Projection(sizes.text_width, width, dropout)
        self.image_tokens = Projection(sizes.image_width, width, dropout)

    def project(self, batch: FeatureBatch) -> Projected:
        """Both modalities at the head's width."""
        hidden, mask = self.read_text_tokens(batch)
        return Projected(
            text=self.text(self.read(batch, Field.TEXT_POOLED)),
            image=self.image(self.read(batch, Field.IMAGE_POOLED)),
            text_tokens=self.text_tokens(hidden),
            text_mask=mask,
            image_tokens=self.image_tokens(self.read(batch, Field.IMAGE_HIDDEN)),
        )
