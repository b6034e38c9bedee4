"""Transformer layers in which each modality reads the other, one direction at a time."""

from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor, nn

from mvsa_pipe.features.batch import FeatureBatch, FeatureSizes
from mvsa_pipe.heads.attention import PreNormLayer, build_layers
from mvsa_pipe.heads.attention_maps import AttentionLayer, Kind
from mvsa_pipe.heads.blocks import Classifier, join
from mvsa_pipe.heads.options import EncoderOptions, count
from mvsa_pipe.heads.tokens import TokenHead
from mvsa_pipe.pooling import mean_over_tokens


@dataclass(frozen=True)
class CrossTransformerOptions(EncoderOptions):
    """Options of ``cross-transformer``.

    Attributes:
        layers: Number of cross-modal layers in each direction; one layer of self-attention
            follows them.
    """

    layers: int = count(1)


class CrossTransformer(TokenHead):
    """Updates the tokens of each modality by attention to the other, layer by layer.

    With ``X`` the projected tokens, ``f`` the projected vectors and ``Layer`` as in
    ``PreNormLayer``, for the text: ``Z_0 = X_T``, ``Z_i = Layer_i(q=Z_i-1, k=X_I)``,
    ``S = Layer(q=Z_D, k=Z_D)``, ``u_T = f_T + mean_T(S)``; for the image likewise with text and
    image exchanged. ``classifier([u_T; u_I])``, both normalised.

    Source:
        Tsai et al. 2019, "Multimodal Transformer for Unaligned Multimodal Language Sequences",
        arXiv 1906.00295, section 3 (MulT), with the residuals of its public code, which bypass
        the norms.

    Differs from source:
        Two modalities, so one direction into each. One layer a step instead of four to six.
        Backbones have mixed neighbouring tokens and encoded their positions: no convolution and no
        position embedding. The mean over real tokens replaces the last token; pooled vectors
        enter as residuals. Padding is masked; features are normalised.
    """

    Options = CrossTransformerOptions
    steady = False

    def __init__(self, sizes: FeatureSizes, options: CrossTransformerOptions) -> None:
        super().__init__(sizes, options)
        self.text_asks = Direction(options)
        self.image_asks = Direction(options)
        self.classifier = Classifier(
            2 * options.width, options.hidden, sizes.classes, options.dropout
        )

    def forward(self, batch: FeatureBatch) -> Float[Tensor, "B C"]:
        """Logits from both modalities, each informed by the other."""
        p = self.project(batch)
        text = self.text_asks(p.text_tokens, p.image_tokens, query_mask=p.text_mask)
        image = self.image_asks(p.image_tokens, p.text_tokens, key_mask=p.text_mask)
        logits: Tensor = self.classifier(join(p.text + text, p.image + image))
        return logits

    def attention_layers(self) -> tuple[AttentionLayer, ...]:
        """Attention to the other modality in every layer, then of each modality to itself."""
        return (
            *self.text_asks.attention_layers(Kind.TEXT, Kind.IMAGE),
            *self.image_asks.attention_layers(Kind.IMAGE, Kind.TEXT),
        )


class Direction(nn.Module):
    """One modality attends to the other in every layer, then to itself once.

    Args:
        options: The options of the head.
    """

    def __init__(self, options: CrossTransformerOptions) -> None:
        super().__init__()
        self.across = build_layers(options.layers, options)
        self.inside = PreNormLayer(options)

    def forward(
        self,
        queries: Float[Tensor, "B X D"],
        keys: Float[Tensor, "B Y D"],
        *,
        query_mask: Bool[Tensor, "B X"] | None = None,
        key_mask: Bool[Tensor, "B Y"] | None = None,
    ) -> Float[Tensor, "B D"]:
        """The mean of the querying modality's real tokens after all layers."""
        for layer in self.across:
            queries = layer(queries, keys, key_mask)
        return mean_over_tokens(self.inside(queries, queries, query_mask), query_mask)

    def attention_layers(self, own: Kind, other: Kind) -> tuple[AttentionLayer, ...]:
        """Its attention, named by what asks and what is asked."""
        several = len(self.across) > 1
        return (
            *(
                AttentionLayer(
                    f"{own} → {other}{f' {depth}' if several else ''}",
                    layer.attention,
                    (own,),
                    (other,),
                )
                for depth, layer in enumerate(self.across, 1)
                if isinstance(layer, PreNormLayer)
            ),
            AttentionLayer(f"{own} → {own}", self.inside.attention, (own,), (own,)),
        )
