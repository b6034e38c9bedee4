"""Fusion without interaction: pooled vectors side by side, or two classifiers added."""

from jaxtyping import Float
from torch import Tensor

from mvsa_pipe.features.batch import FeatureBatch, FeatureSizes, Field
from mvsa_pipe.heads.base import FusionHead
from mvsa_pipe.heads.blocks import Classifier, join, normalise
from mvsa_pipe.heads.faithful_blocks import (
    PublishedOptions,
    PublishedPair,
    PublishedProjection,
    pair_loss_floor,
)
from mvsa_pipe.heads.options import ClassifierOptions

_POOLED = frozenset({Field.TEXT_POOLED, Field.IMAGE_POOLED})


class NativeCat(FusionHead):
    """Classifies both pooled vectors side by side: ``classifier([F_T; F_I])``.

    Source:
        arXiv 2412.03625 (S1), section 3.4, NaiveCat.

    Differs from source:
        Each backbone's vector is normalised first; the classifier's hidden layer stands in for
        the projections of S1's public code.
    """

    needs = _POOLED
    Options = ClassifierOptions

    def __init__(self, sizes: FeatureSizes, options: ClassifierOptions) -> None:
        super().__init__(sizes, options)
        inputs = sizes.text_width + sizes.image_width
        self.classifier = Classifier(inputs, options.hidden, sizes.classes, options.dropout)

    def forward(self, batch: FeatureBatch) -> Float[Tensor, "B C"]:
        """Logits from both pooled vectors."""
        text, image = self.read(batch, Field.TEXT_POOLED), self.read(batch, Field.IMAGE_POOLED)
        logits: Tensor = self.classifier(join(text, image))
        return logits


class NativeCombine(FusionHead):
    """Classifies each modality alone and adds the logits: ``softmax(cls_T(F_T) + cls_I(F_I))``.

    Source:
        arXiv 2412.03625 (S1), section 3.4, NaiveCombine.

    Differs from source:
        Logits are added, not probabilities, and meet softmax once. Each backbone's vector is
        normalised first. Class weights are an option of training, for every head alike.
    """

    needs = _POOLED
    Options = ClassifierOptions

    def __init__(self, sizes: FeatureSizes, options: ClassifierOptions) -> None:
        super().__init__(sizes, options)
        hidden, classes, dropout = options.hidden, sizes.classes, options.dropout
        self.text = Classifier(sizes.text_width, hidden, classes, dropout)
        self.image = Classifier(sizes.image_width, hidden, classes, dropout)

    def forward(self, batch: FeatureBatch) -> Float[Tensor, "B C"]:
        """The sum of both classifiers' logits."""
        text = normalise(self.read(batch, Field.TEXT_POOLED))
        image = normalise(self.read(batch, Field.IMAGE_POOLED))
        logits: Tensor = self.text(text) + self.image(image)
        return logits


class NativeCombineFaithful(FusionHead):
    """``native-combine`` as published: probabilities are added and meet softmax again.

    ``softmax(softmax(cls_T(f_T)) + softmax(cls_I(f_I)))`` with ``f = ReLU(Linear(Dropout(F)))``
    is handed to the cross-entropy as if it were logits.

    Source:
        arXiv 2412.03625 (S1), section 3.4, and its public code (S1c).

    Differs from source:
        Class weights are an option of training; S1c fixes them in this one model.
    """

    centres = False
    needs = _POOLED
    Options = PublishedOptions
    loss_floor = pair_loss_floor(classes=3)

    def __init__(self, sizes: FeatureSizes, options: PublishedOptions) -> None:
        super().__init__(sizes, options)
        width, dropout = options.width, options.input_dropout
        self.text = PublishedProjection(sizes.text_width, width, dropout)
        self.image = PublishedProjection(sizes.image_width, width, dropout)
        self.pair = PublishedPair(width, options, sizes.classes)

    def forward(self, batch: FeatureBatch) -> Float[Tensor, "B C"]:
        """Probabilities where logits are expected."""
        text = self.text(self.read(batch, Field.TEXT_POOLED))
        image = self.image(self.read(batch, Field.IMAGE_POOLED))
        scores: Tensor = self.pair(text, image)
        return scores
