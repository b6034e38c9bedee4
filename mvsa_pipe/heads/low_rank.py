"""Every product of a text entry and an image entry, weighted by a tensor of low rank."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from mvsa_pipe.features.batch import FeatureBatch, FeatureSizes, Field
from mvsa_pipe.heads.base import FusionHead
from mvsa_pipe.heads.blocks import Classifier, Projection, normalise
from mvsa_pipe.heads.options import ProjectionOptions
from mvsa_pipe.options import option


@dataclass(frozen=True)
class LowRankOptions(ProjectionOptions):
    """Options of ``low-rank``.

    Attributes:
        rank: Number of rank-one terms that the weight tensor is a sum of.
    """

    rank: int = option(4, least=1, most=1024)


class LowRank(FusionHead):
    """Classifies a bilinear form of both modalities without ever building its weight tensor.

    With ``z = [f; 1]`` of the projected vectors ``f``, entry ``k`` of the fused vector is
    ``h_k = Σ_ij W_kij z_T,i z_I,j`` with ``W_k = Σ_r w_T,rk ⊗ w_I,rk``, computed as
    ``h = Σ_r (w_T,r z_T) * (w_I,r z_I)``; then ``classifier(h)``. The appended 1 lets each
    modality speak for itself beside the products.

    Source:
        Liu et al. 2018, "Efficient Low-rank Multimodal Fusion with Modality-Specific Factors",
        arXiv 1806.00064, section 3.

    Differs from source:
        Two modalities instead of three. ``h`` is normalised and classified by two layers.
        Features are normalised before their projections.
    """

    needs = frozenset({Field.TEXT_POOLED, Field.IMAGE_POOLED})
    Options = LowRankOptions

    def __init__(self, sizes: FeatureSizes, options: LowRankOptions) -> None:
        super().__init__(sizes, options)
        width = options.width
        self.text = Projection(sizes.text_width, width, options.input_dropout)
        self.image = Projection(sizes.image_width, width, options.input_dropout)
        self.fusion = LowRankFusion(width, options.rank)
        self.classifier = Classifier(width, options.hidden, sizes.classes, options.dropout)

    def forward(self, batch: FeatureBatch) -> Float[Tensor, "B C"]:
        """Logits from the products."""
        text = self.text(self.read(batch, Field.TEXT_POOLED))
        image = self.image(self.read(batch, Field.IMAGE_POOLED))
        logits: Tensor = self.classifier(normalise(self.fusion(text, image)))
        return logits


class LowRankFusion(nn.Module):
    """``Σ_r (w_T,r [f_T; 1]) * (w_I,r [f_I; 1])``; the biases are the columns of the appended 1.

    Args:
        width: Width of both vectors and of the fused one.
        rank: Number of terms.
    """

    def __init__(self, width: int, rank: int) -> None:
        super().__init__()
        self.rank = rank
        self.text_factors = nn.Linear(width, rank * width)
        self.image_factors = nn.Linear(width, rank * width)

    def forward(
        self, text: Float[Tensor, "B D"], image: Float[Tensor, "B D"]
    ) -> Float[Tensor, "B D"]:
        """The fused vector."""
        products: Tensor = self.text_factors(text) * self.image_factors(image)
        return products.view(products.shape[0], self.rank, -1).sum(dim=1)
