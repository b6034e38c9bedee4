"""Baselines that read one modality."""

from jaxtyping import Float
from torch import Tensor

from mvsa_pipe.features.batch import FeatureBatch, FeatureSizes, Field
from mvsa_pipe.heads.base import FusionHead
from mvsa_pipe.heads.blocks import Classifier, normalise
from mvsa_pipe.heads.options import ClassifierOptions


class TextOnly(FusionHead):
    """Classifies the pooled text and ignores the picture: ``classifier(F_T)``.

    Source:
        The text baselines of arXiv 2412.03625 (S1, table 4) and arXiv 2503.07943 (S2).

    Differs from source:
        The backbone's vector is normalised first.
    """

    needs = frozenset({Field.TEXT_POOLED})
    Options = ClassifierOptions

    def __init__(self, sizes: FeatureSizes, options: ClassifierOptions) -> None:
        super().__init__(sizes, options)
        self.classifier = Classifier(
            sizes.text_width, options.hidden, sizes.classes, options.dropout
        )

    def forward(self, batch: FeatureBatch) -> Float[Tensor, "B C"]:
        """Logits from ``text_pooled``."""
        logits: Tensor = self.classifier(normalise(self.read(batch, Field.TEXT_POOLED)))
        return logits


class ImageOnly(FusionHead):
    """Classifies the pooled picture and ignores the text: ``classifier(F_I)``.

    Source:
        The image baselines of arXiv 2412.03625 (S1, table 4) and arXiv 2503.07943 (S2).

    Differs from source:
        The backbone's vector is normalised first.
    """

    needs = frozenset({Field.IMAGE_POOLED})
    Options = ClassifierOptions

    def __init__(self, sizes: FeatureSizes, options: ClassifierOptions) -> None:
        super().__init__(sizes, options)
        self.classifier = Classifier(
            sizes.image_width, options.hidden, sizes.classes, options.dropout
        )

    def forward(self, batch: FeatureBatch) -> Float[Tensor, "B C"]:
        """Logits from ``image_pooled``."""
        logits: Tensor = self.classifier(normalise(self.read(batch, Field.IMAGE_POOLED)))
        return logits
