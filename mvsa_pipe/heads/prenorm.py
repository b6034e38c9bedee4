"""A transformer layer that normalises before it computes, as the later papers have it."""

from jaxtyping import Bool, Float
from torch import Tensor, nn

from mvsa_pipe.heads.attention import MultiHeadAttention
from mvsa_pipe.heads.layers import Dropout
from mvsa_pipe.heads.options import EncoderOptions


class PreNormLayer(nn.Module):
    """A transformer layer in which one sequence asks another, or itself.

    ``y = q + Dropout(Attn(N(q), N(k), N(k)))``, then
    ``y + Dropout(Linear(Dropout(ReLU(Linear(M(y))))))``, with ``N`` and ``M`` layer norms. What
    comes out is not normalised.

    Args:
        options: Width, attention heads and dropout. All tokens of a post lose the same entries.
    """

    def __init__(self, options: EncoderOptions) -> None:
        super().__init__()
        width, feedforward = options.width, options.feedforward
        self.before_attention = nn.LayerNorm(width)
        self.attention = MultiHeadAttention(width, options.n_attn, options.attention_dropout)
        self.before_feedforward = nn.LayerNorm(width)
        self.expand = nn.Linear(width, feedforward)
        self.contract = nn.Linear(feedforward, width)
        self.dropout = Dropout(options.encoder_dropout, across_tokens=True)

    def forward(
        self,
        queries: Float[Tensor, "B Q D"],
        keys: Float[Tensor, "B K D"],
        key_mask: Bool[Tensor, "B K"] | None = None,
    ) -> Float[Tensor, "B Q D"]:
        """Each query, informed by the keys that the mask marks as real."""
        asked, seen = self.before_attention(queries), self.before_attention(keys)
        attended = queries + self.dropout(self.attention(asked, seen, key_mask))
        hidden = self.dropout(self.expand(self.before_feedforward(attended)).relu())
        informed: Tensor = attended + self.dropout(self.contract(hidden))
        return informed


def build_layers(count: int, options: EncoderOptions) -> nn.ModuleList:
    """As many layers, each with weights of its own."""
    return nn.ModuleList([PreNormLayer(options) for _ in range(count)])
