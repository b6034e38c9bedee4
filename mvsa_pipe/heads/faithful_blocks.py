"""What the faithful heads share: blocks and figures of S1's public code (S1c), defects included.

S1 is arXiv 2412.03625; S1c is the code on GitHub under YeexiaoZheng/Multimodal-Sentiment-Analysis.
The facts were read from it; the code here is our own.
"""

from dataclasses import dataclass
from math import exp, log

from jaxtyping import Float
from torch import Tensor, nn

from mvsa_pipe.heads.blocks import Classifier, Dropout
from mvsa_pipe.heads.options import (
    AttentionOptions,
    ClassifierOptions,
    ProjectionOptions,
    rate,
    size,
)


@dataclass(frozen=True)
class PublishedOptions(ProjectionOptions):
    """S1c's figures for heads without attention."""

    dropout: float = rate(0.5)
    width: int = size(64)


@dataclass(frozen=True)
class PublishedAttentionOptions(AttentionOptions):
    """S1c's figures for heads that attend."""

    dropout: float = rate(0.5)
    width: int = size(64)
    n_attn: int = size(8, (1, 2, 4, 8))
    attention_dropout: float = rate(0.4)


@dataclass(frozen=True)
class PublishedEncoderOptions(PublishedAttentionOptions):
    """S1c's figures for heads with a transformer layer.

    Attributes:
        feedforward: Hidden width of the layer; 2048 is the default of torch, which S1c keeps.
    """

    feedforward: int = size(2048)


class PublishedProjection(nn.Module):
    """S1c's way to the head's width: ``ReLU(Linear(Dropout(x)))`` on raw features."""

    def __init__(self, inputs: int, width: int, dropout: float) -> None:
        super().__init__()
        self.dropout = Dropout(dropout)
        self.linear = nn.Linear(inputs, width)

    def forward(self, x: Float[Tensor, "B *tokens Din"]) -> Float[Tensor, "B *tokens D"]:
        """Projects pooled vectors or each token."""
        projected: Tensor = self.linear(self.dropout(x))
        return projected.relu()


class ChannelTokens(nn.Module):
    """S1c's image tokens: 64 learned channels, each spread over the ``P`` places.

    A convolution over single places leaves 64 channels; each channel's ``P`` values pass
    ``ReLU(Linear(Dropout(x)))`` and become one token.
    """

    CHANNELS = 64

    def __init__(self, inputs: int, places: int, width: int, dropout: float) -> None:
        super().__init__()
        self.channels = nn.Linear(inputs, self.CHANNELS)
        self.project = PublishedProjection(places, width, dropout)

    def forward(self, x: Float[Tensor, "B P Di"]) -> Float[Tensor, "B 64 D"]:
        """Tokens that are channels, not places."""
        tokens: Tensor = self.project(self.channels(x).transpose(1, 2))
        return tokens


class PublishedPair(nn.Module):
    """S1c's two classifiers: ``softmax(softmax(cls_T(x_T)) + softmax(cls_I(x_I)))``.

    These probabilities are then treated as logits, that is, meet softmax a third time in the
    loss, which therefore cannot fall to zero.
    """

    def __init__(self, inputs: int, options: ClassifierOptions, classes: int) -> None:
        super().__init__()
        self.text = Classifier(inputs, options.hidden, classes, options.dropout)
        self.image = Classifier(inputs, options.hidden, classes, options.dropout)

    def forward(
        self, text: Float[Tensor, "B D"], image: Float[Tensor, "B D"]
    ) -> Float[Tensor, "B C"]:
        """Probabilities where logits are expected."""
        both: Tensor = self.text(text).softmax(dim=-1) + self.image(image).softmax(dim=-1)
        return both.softmax(dim=-1)


def pair_loss_floor(classes: int) -> float:
    """The least cross-entropy that ``PublishedPair`` can reach: both classifiers sure and right."""
    sure = exp(2.0) / (exp(2.0) + classes - 1)
    rest = (1.0 - sure) / (classes - 1)
    return log(exp(sure) + (classes - 1) * exp(rest)) - sure
