"""S2's three schemes over latents of width ``d = 256``: basic, self-attention, dual-attention.

S2 is arXiv 2503.07943. Its text gives the latent width, the schemes and their results, but not
what they attend over, nor attention heads, dropout or learning rate: ``self-attention`` and
``dual-attention`` are interpretations.
"""

from abc import abstractmethod
from dataclasses import dataclass
from enum import StrEnum

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mvsa_pipe.features.batch import ENCODED, FeatureBatch, FeatureSizes, Field
from mvsa_pipe.heads.attention import (
    Attention,
    AttentionBlock,
    MultiHeadAttention,
    SingleKeyAttention,
)
from mvsa_pipe.heads.attention_maps import AttentionLayer, Kind, both_ways, over_all
from mvsa_pipe.heads.base import FusionHead
from mvsa_pipe.heads.blocks import Classifier, Dropout, Projection, join
from mvsa_pipe.heads.options import AttentionOptions, ProjectionOptions
from mvsa_pipe.pooling import mean_over_tokens

_POOLED = frozenset({Field.TEXT_POOLED, Field.IMAGE_POOLED})


class Level(StrEnum):
    """What a head attends over."""

    POOLED = "pooled"
    TOKEN = "token"  # noqa: S105 (a text token)


@dataclass(frozen=True)
class LevelOptions(AttentionOptions):
    """Options of heads that attend over tokens or over the two pooled vectors.

    Attributes:
        level: ``token`` attends over text tokens and image places, ``pooled`` over one vector a
            modality.
    """

    level: Level = Level.TOKEN


class Basic(FusionHead):
    """Brings both modalities to one width and classifies them side by side.

    ``classifier([f_T; f_I])`` with ``f = ReLU(Linear(F))`` of width ``d``.

    Source:
        arXiv 2503.07943 (S2), basic fusion.

    Differs from source:
        Features are normalised before their projections.
    """

    needs = _POOLED
    Options = ProjectionOptions

    def __init__(self, sizes: FeatureSizes, options: ProjectionOptions) -> None:
        super().__init__(sizes, options)
        width = options.width
        self.text = Projection(sizes.text_width, width, options.input_dropout)
        self.image = Projection(sizes.image_width, width, options.input_dropout)
        self.classifier = Classifier(2 * width, options.hidden, sizes.classes, options.dropout)

    def forward(self, batch: FeatureBatch) -> Float[Tensor, "B C"]:
        """Logits from both latents."""
        text = self.text(self.read(batch, Field.TEXT_POOLED))
        image = self.image(self.read(batch, Field.IMAGE_POOLED))
        logits: Tensor = self.classifier(torch.cat([text, image], dim=-1))
        return logits


class Latent(nn.Module):
    """One modality: its vector and its states at width ``d``, self-attention inside it.

    ``A = LayerNorm(X + Attn(X, X, X))`` and ``u = f + mean(A)``, where ``f`` is the projected
    pooled vector and ``X`` the projected tokens; at the pooled level ``X`` is ``f`` alone.

    Args:
        inputs: Width of the backbone's features.
        options: The options of the head that this is part of.
    """

    def __init__(self, inputs: int, options: LevelOptions) -> None:
        super().__init__()
        width, dropout = options.width, options.input_dropout
        self.vector = Projection(inputs, width, dropout)
        self.tokens = Projection(inputs, width, dropout) if options.level is Level.TOKEN else None
        attention = build_attention(options, single_key=options.level is Level.POOLED)
        self.inside = AttentionBlock(width, attention, Dropout(dropout, across_tokens=True))

    def forward(
        self,
        pooled: Float[Tensor, "B Din"],
        hidden: Float[Tensor, "B T Din"] | None,
        mask: Bool[Tensor, "B T"] | None,
    ) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B X D"]]:
        """The modality's vector ``u`` and its states ``A``."""
        vector = self.vector(pooled)
        states = vector.unsqueeze(1) if self.tokens is None else self.tokens(hidden)
        informed = self.inside(states, mask)
        return vector + mean_over_tokens(informed, mask), informed


class LatentHead(FusionHead):
    """What ``self-attention`` and ``dual-attention`` share: two latents at the chosen level."""

    needs = ENCODED
    Options = LevelOptions

    def __init__(self, sizes: FeatureSizes, options: LevelOptions) -> None:
        super().__init__(sizes, options)
        if options.level is Level.POOLED:
            self.needs = _POOLED
        self.level = options.level
        self.text = Latent(sizes.text_width, options)
        self.image = Latent(sizes.image_width, options)

    def forward(self, batch: FeatureBatch) -> Float[Tensor, "B C"]:
        """Logits from both modalities."""
        hidden: Tensor | None = None
        places: Tensor | None = None
        mask: Tensor | None = None
        if self.level is Level.TOKEN:
            hidden, mask = self.read_text_tokens(batch)
            places = self.read(batch, Field.IMAGE_HIDDEN)
        text, text_states = self.text(self.read(batch, Field.TEXT_POOLED), hidden, mask)
        image, image_states = self.image(self.read(batch, Field.IMAGE_POOLED), places, None)
        return self.fuse(text, image, text_states, image_states, mask)

    def attention_layers(self) -> tuple[AttentionLayer, ...]:
        """Attention inside each modality and between them; none at the pooled level."""
        if self.level is Level.POOLED:
            return ()
        inside = [
            AttentionLayer(f"{kind} → {kind}", latent.inside.attention, (kind,), (kind,))
            for kind, latent in ((Kind.TEXT, self.text), (Kind.IMAGE, self.image))
        ]
        return (*inside, *self.across_layers())

    @abstractmethod
    def across_layers(self) -> tuple[AttentionLayer, ...]:
        """Attention between the modalities."""

    @abstractmethod
    def fuse(
        self,
        text: Float[Tensor, "B D"],
        image: Float[Tensor, "B D"],
        text_states: Float[Tensor, "B X D"],
        image_states: Float[Tensor, "B Y D"],
        text_mask: Bool[Tensor, "B X"] | None,
    ) -> Float[Tensor, "B C"]:
        """Logits from both modalities' vectors and states."""


class SelfAttention(LatentHead):
    """Attends inside each modality, then over both joined, and classifies what was found.

    With ``u`` and ``A`` of ``Latent``, ``A = [A_T; A_I]`` along tokens and
    ``J = Attn(q=A, k=A, v=A)``:
    ``classifier([u_T + mean_T(J); u_I + mean_I(J)])``, both normalised.

    Source:
        arXiv 2503.07943 (S2), self-attention fusion.

    Differs from source:
        An interpretation: S2 leaves open what the scheme attends over. Each modality's share of
        the joint attention has a mean of its own, so that image tokens do not dominate;
        pooled vectors enter as residuals; features are normalised.
    """

    def __init__(self, sizes: FeatureSizes, options: LevelOptions) -> None:
        super().__init__(sizes, options)
        self.across = MultiHeadAttention(options.width, options.n_attn, options.attention_dropout)
        self.classifier = Classifier(
            2 * options.width, options.hidden, sizes.classes, options.dropout
        )

    def fuse(
        self,
        text: Float[Tensor, "B D"],
        image: Float[Tensor, "B D"],
        text_states: Float[Tensor, "B X D"],
        image_states: Float[Tensor, "B Y D"],
        text_mask: Bool[Tensor, "B X"] | None,
    ) -> Float[Tensor, "B C"]:
        """Logits from both vectors and the joint attention's share of each modality."""
        states = torch.cat([text_states, image_states], dim=1)
        mask = None
        if text_mask is not None:
            mask = torch.cat([text_mask, text_mask.new_ones(image_states.shape[:2])], dim=1)
        found = self.across.attend(states, states, mask)
        tokens = text_states.shape[1]
        # projected after the mean, which is the same and costs two vectors a post instead of all
        text = text + self.across.output(mean_over_tokens(found[:, :tokens], text_mask))
        image = image + self.across.output(mean_over_tokens(found[:, tokens:]))
        logits: Tensor = self.classifier(join(text, image))
        return logits

    def across_layers(self) -> tuple[AttentionLayer, ...]:
        """Attention of all states to all."""
        return (over_all("all → all", self.across),)


class DualAttention(LatentHead):
    """Attends inside each modality and from each to the other, and classifies all four views.

    With ``u`` and ``A`` of ``Latent``, ``c_T→I = mean_T(Attn(q=A_T, k=A_I, v=A_I))`` and
    ``c_I→T = mean_P(Attn(q=A_I, k=A_T, v=A_T))``:
    ``classifier([u_T; u_I; c_T→I; c_I→T])``, each normalised.

    Source:
        arXiv 2503.07943 (S2), dual-attention fusion.

    Differs from source:
        An interpretation: S2 leaves open what the scheme attends over and how it pools. Pooled
        vectors enter as residuals; features are normalised.
    """

    def __init__(self, sizes: FeatureSizes, options: LevelOptions) -> None:
        super().__init__(sizes, options)
        single_key = options.level is Level.POOLED
        self.text_asks = build_attention(options, single_key=single_key)
        self.image_asks = build_attention(options, single_key=single_key)
        self.classifier = Classifier(
            4 * options.width, options.hidden, sizes.classes, options.dropout
        )

    def fuse(
        self,
        text: Float[Tensor, "B D"],
        image: Float[Tensor, "B D"],
        text_states: Float[Tensor, "B X D"],
        image_states: Float[Tensor, "B Y D"],
        text_mask: Bool[Tensor, "B X"] | None,
    ) -> Float[Tensor, "B C"]:
        """Logits from both vectors and what each modality found in the other."""
        from_image = self.text_asks.pooled(text_states, image_states, query_mask=text_mask)
        from_text = self.image_asks.pooled(image_states, text_states, key_mask=text_mask)
        logits: Tensor = self.classifier(join(text, image, from_image, from_text))
        return logits

    def across_layers(self) -> tuple[AttentionLayer, ...]:
        """Each modality's attention to the other."""
        return both_ways(self.text_asks, self.image_asks)


def build_attention(options: LevelOptions, *, single_key: bool) -> Attention:
    """Attention at the head's width; over one key it needs no queries."""
    kind = SingleKeyAttention if single_key else MultiHeadAttention
    return kind(options.width, options.n_attn, options.attention_dropout)
