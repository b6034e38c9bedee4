"""Text and image choose their tokens together, by how well the tokens of one fit the other's."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mvsa_pipe.features.batch import FeatureBatch, FeatureSizes
from mvsa_pipe.heads.attention_maps import Attending, AttentionLayer, Kind
from mvsa_pipe.heads.blocks import Classifier, join
from mvsa_pipe.heads.options import ProjectionOptions
from mvsa_pipe.heads.tokens import TokenHead


class CoAttention(TokenHead):
    """Weighs the tokens of each modality by the tokens of the other.

    With ``X`` the projected tokens, ``f`` the projected vectors and ``q_T``, ``q_I`` the means of
    ``ParallelCoAttention(X_T, X_I)``: ``classifier([f_T + q_T; f_I + q_I])``, both normalised.

    Source:
        Lu et al. 2016, "Hierarchical Question-Image Co-Attention for Visual Question Answering",
        arXiv 1606.00061, section 3.3, parallel co-attention.

    Differs from source:
        One level, the backbone's tokens, instead of words, phrases and question. Sums over the
        other modality's tokens are means: over hundreds of patches ``tanh`` would saturate.
        Pooled vectors enter as residuals; both are classified side by side, not added. Padding
        is masked; features are normalised.
    """

    def __init__(self, sizes: FeatureSizes, options: ProjectionOptions) -> None:
        super().__init__(sizes, options)
        self.attention = ParallelCoAttention(options.width)
        self.classifier = Classifier(
            2 * options.width, options.hidden, sizes.classes, options.dropout
        )

    def forward(self, batch: FeatureBatch) -> Float[Tensor, "B C"]:
        """Logits from both vectors and the chosen tokens."""
        projected = self.project(batch)
        from_text, from_image = self.attention(
            projected.text_tokens, projected.image_tokens, projected.text_mask
        )
        text, image = projected.text + from_text, projected.image + from_image
        logits: Tensor = self.classifier(join(text, image))
        return logits

    def attention_layers(self) -> tuple[AttentionLayer, ...]:
        """The weights of the text's tokens and of the picture's, one set a post."""
        post = (Kind.VECTOR,)
        return (
            AttentionLayer("post → text", self.attention.text_weights, post, (Kind.TEXT,)),
            AttentionLayer("post → picture", self.attention.image_weights, post, (Kind.IMAGE,)),
        )


class TokenWeights(Attending):
    """Softmax over the tokens of a post: attention of one query with one attention head."""

    def forward(self, scores: Float[Tensor, "B X"]) -> Float[Tensor, "B X"]:
        """The weights of the tokens."""
        weights = scores.softmax(dim=-1)
        return weights if self.probe is None else self.probe(weights[:, None, None])[:, 0, 0]


class ParallelCoAttention(nn.Module):
    """One weighted mean a modality, each weighted with an eye on the other.

    ``C = tanh(X_T W_C X_I')`` is how well each pair of tokens fits,
    ``H_T = tanh(X_T W_T + C X_I W_I / P)``, ``H_I = tanh(X_I W_I + C' X_T W_T / T)``,
    ``a = softmax(H w)`` over tokens and ``q = Σ a X`` for each modality.

    Args:
        width: Width of the tokens.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fit = nn.Linear(width, width, bias=False)
        self.text = nn.Linear(width, width)
        self.image = nn.Linear(width, width)
        # no bias: softmax ignores what it adds to all scores alike
        self.text_score = nn.Linear(width, 1, bias=False)
        self.image_score = nn.Linear(width, 1, bias=False)
        self.text_weights, self.image_weights = TokenWeights(), TokenWeights()

    def forward(
        self,
        text: Float[Tensor, "B T D"],
        image: Float[Tensor, "B P D"],
        text_mask: Bool[Tensor, "B T"],
    ) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B D"]]:
        """The weighted means of the real text tokens and of the image tokens."""
        text_weights, image_weights = self.weigh(text, image, text_mask)
        return _mix(text_weights, text), _mix(image_weights, image)

    def weigh(
        self,
        text: Float[Tensor, "B T D"],
        image: Float[Tensor, "B P D"],
        text_mask: Bool[Tensor, "B T"],
    ) -> tuple[Float[Tensor, "B T"], Float[Tensor, "B P"]]:
        """The weights of the text tokens, zero on padding, and of the image tokens."""
        fits = (self.fit(text) @ image.transpose(1, 2)).tanh()
        fits = fits.masked_fill(~text_mask.unsqueeze(-1), 0.0)
        own_text, own_image = self.text(text), self.image(image)
        real = text_mask.sum(dim=1).clamp(min=1)[:, None, None]
        text_views = (own_text + fits @ own_image / image.shape[1]).tanh()
        image_views = (own_image + fits.transpose(1, 2) @ own_text / real).tanh()
        scores = self.text_score(text_views).squeeze(-1)
        # the least finite number: a post without text then has finite weights, not NaN
        scores = scores.masked_fill(~text_mask, torch.finfo(scores.dtype).min)
        image_scores = self.image_score(image_views).squeeze(-1)
        return self.text_weights(scores), self.image_weights(image_scores)


def _mix(weights: Float[Tensor, "B X"], tokens: Float[Tensor, "B X D"]) -> Float[Tensor, "B D"]:
    """The mean of the tokens by their weights."""
    return (weights.unsqueeze(1) @ tokens).squeeze(1)
