"""Attention with explicit dropout generators; masked positions never influence anything.

Axes beyond the common legend: ``Q`` queries, ``K`` keys, ``h`` attention heads.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mvsa_pipe.heads.attention_maps import Attending
from mvsa_pipe.heads.blocks import Dropout
from mvsa_pipe.heads.options import EncoderOptions
from mvsa_pipe.pooling import mean_over_tokens


class PreNormLayer(nn.Module):
    """A transformer layer of self- or cross-attention.

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
        query, key = self.before_attention(queries), self.before_attention(keys)
        attended = queries + self.dropout(self.attention(query, key, key_mask))
        hidden = self.dropout(self.expand(self.before_feedforward(attended)).relu())
        informed: Tensor = attended + self.dropout(self.contract(hidden))
        return informed


def build_layers(count: int, options: EncoderOptions) -> nn.ModuleList:
    """``count`` layers with separate weights."""
    return nn.ModuleList([PreNormLayer(options) for _ in range(count)])


class MultiHeadAttention(Attending):
    """Scaled dot-product attention with ``n_attn`` heads over a batch of sequences.

    The key projection has no bias: it would shift all scores of a query alike, which softmax
    ignores, so it could never learn.

    Args:
        width: Width of queries, keys and outputs.
        n_attn: Number of attention heads; divides ``width``.
        dropout: Chance of dropping an attention weight.
    """

    def __init__(self, width: int, n_attn: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.n_attn = n_attn
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)
        self.dropout = Dropout(dropout)

    def forward(
        self,
        queries: Float[Tensor, "B Q D"],
        keys: Float[Tensor, "B K D"],
        key_mask: Bool[Tensor, "B K"] | None = None,
    ) -> Float[Tensor, "B Q D"]:
        """What each query finds among the keys that the mask marks as real."""
        found: Tensor = self.output(self.attend(queries, keys, key_mask))
        return found

    def pooled(
        self,
        queries: Float[Tensor, "B Q D"],
        keys: Float[Tensor, "B K D"],
        *,
        query_mask: Bool[Tensor, "B Q"] | None = None,
        key_mask: Bool[Tensor, "B K"] | None = None,
    ) -> Float[Tensor, "B D"]:
        """The mean of ``forward`` over the real queries, projecting only that mean.

        The output projection is linear, so it may be applied after the mean, once instead of
        ``Q`` times.
        """
        mean: Tensor = self.output(
            mean_over_tokens(self.attend(queries, keys, key_mask), query_mask)
        )
        return mean

    def attend(
        self,
        queries: Float[Tensor, "B Q D"],
        keys: Float[Tensor, "B K D"],
        key_mask: Bool[Tensor, "B K"] | None = None,
    ) -> Float[Tensor, "B Q D"]:
        """The weighted values of all attention heads side by side, not yet projected."""
        q = self._split(self.query(queries))
        k = self._split(self.key(keys))
        v = self._split(self.value(keys))
        bias = None if key_mask is None else _score_bias(key_mask, q.dtype)
        dropping = self.training and self.dropout.probability > 0.0
        # vmap, under which masks are given, has no rule for the fused CPU kernel. The fused CUDA
        # kernel that takes a mask adds gradients up in no fixed order, and a run must repeat bit
        # for bit.
        stacked = self.dropout.given is not None
        if self.probe is not None:
            found = self.probe(_weights(q, k, bias)) @ v
        elif dropping or stacked or (q.is_cuda and torch.is_grad_enabled()):
            found = self.dropout(_weights(q, k, bias)) @ v
        else:
            found = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        side_by_side: Tensor = found.transpose(1, 2).flatten(2)
        return side_by_side

    def _split(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B h T d"]:
        batch, tokens, width = x.shape
        return x.view(batch, tokens, self.n_attn, width // self.n_attn).transpose(1, 2)


class SingleKeyAttention(Attending):
    """Multi-head attention over a sequence of length 1, where every weight is 1.

    ``Attn(q, k, v) = output(value(k))`` whatever the query is. Query and key projections cannot
    matter, so there are none. Dropout of weights drops an attention head's whole share, as it
    would in ``MultiHeadAttention``.

    Args:
        width: Width of the only key, and of the output.
        n_attn: Number of attention heads; divides ``width``.
        dropout: Chance of dropping an attention weight.
    """

    def __init__(self, width: int, n_attn: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.n_attn = n_attn
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)
        self.dropout = Dropout(dropout)

    def forward(
        self,
        queries: Float[Tensor, "B Q D"],
        keys: Float[Tensor, "B 1 D"],
        key_mask: Bool[Tensor, "B 1"] | None = None,  # noqa: ARG002 (the only key is real)
    ) -> Float[Tensor, "B Q D"]:
        """What every query finds: the only key."""
        values: Tensor = self.value(keys)
        shares = values.view(values.shape[0], self.n_attn, -1)
        weights = self.dropout(torch.ones_like(shares[..., :1]))
        found: Tensor = self.output((weights * shares).view_as(values))
        return found.expand(-1, queries.shape[1], -1)

    def pooled(
        self,
        queries: Float[Tensor, "B Q D"],
        keys: Float[Tensor, "B 1 D"],
        *,
        query_mask: Bool[Tensor, "B Q"] | None = None,
        key_mask: Bool[Tensor, "B 1"] | None = None,
    ) -> Float[Tensor, "B D"]:
        """The mean of ``forward`` over the real queries."""
        return mean_over_tokens(self(queries, keys, key_mask), query_mask)


Attention = MultiHeadAttention | SingleKeyAttention


class AttentionBlock(nn.Module):
    """Self-attention with its residual: ``LayerNorm(x + Dropout(Attn(x, x, x)))``."""

    def __init__(self, width: int, attention: Attention, dropout: Dropout) -> None:
        super().__init__()
        self.attention = attention
        self.dropout = dropout
        self.norm = nn.LayerNorm(width)

    def forward(
        self, x: Float[Tensor, "B T D"], mask: Bool[Tensor, "B T"] | None = None
    ) -> Float[Tensor, "B T D"]:
        """Each token, informed by all real ones."""
        informed: Tensor = self.norm(x + self.dropout(self.attention(x, x, mask)))
        return informed


class EncoderLayer(nn.Module):
    """A transformer encoder layer, normalised after each residual (Vaswani et al. 2017, 3.1).

    ``y = LayerNorm(x + Dropout(Attn(x, x, x)))``, then
    ``LayerNorm(y + Dropout(Linear(Dropout(ReLU(Linear(y))))))``.

    Args:
        width: Width of the tokens.
        attention: The attention of the layer.
        feedforward: Width of the hidden layer of the second step.
        dropout: Chance of dropping an entry.
        across_tokens: Whether all tokens of a post lose the same entries.
    """

    def __init__(
        self,
        width: int,
        attention: Attention,
        feedforward: int,
        dropout: float,
        *,
        across_tokens: bool = False,
    ) -> None:
        super().__init__()
        self.dropout = Dropout(dropout, across_tokens=across_tokens)
        self.attend = AttentionBlock(width, attention, self.dropout)
        self.expand = nn.Linear(width, feedforward)
        self.contract = nn.Linear(feedforward, width)
        self.norm = nn.LayerNorm(width)

    def forward(
        self, x: Float[Tensor, "B T D"], mask: Bool[Tensor, "B T"] | None = None
    ) -> Float[Tensor, "B T D"]:
        """Each token, informed by all real ones."""
        attended = self.attend(x, mask)
        hidden = self.dropout(self.expand(attended).relu())
        informed: Tensor = self.norm(attended + self.dropout(self.contract(hidden)))
        return informed


def _weights(
    q: Float[Tensor, "B h Q d"], k: Float[Tensor, "B h K d"], bias: Tensor | None
) -> Float[Tensor, "B h Q K"]:
    """Attention weights ``softmax(q k' / sqrt(d))``, zero on masked keys."""
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    weights: Tensor = (scores if bias is None else scores + bias).softmax(dim=-1)
    return weights


def _score_bias(key_mask: Bool[Tensor, "B K"], dtype: torch.dtype) -> Float[Tensor, "B 1 1 K"]:
    """What to add to the scores so that softmax gives masked keys exactly zero.

    The least finite number rather than minus infinity: a row without any real key then yields
    a finite result instead of NaN.
    """
    bias = torch.zeros_like(key_mask, dtype=dtype)
    return bias.masked_fill_(~key_mask, torch.finfo(dtype).min)[:, None, None, :]
