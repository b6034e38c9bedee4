"""Two transformers that exchange information through a few shared tokens only."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mvsa_pipe.features.batch import FeatureBatch, FeatureSizes
from mvsa_pipe.heads.attention import PreNormLayer, build_layers
from mvsa_pipe.heads.attention_maps import AttentionLayer, Kind
from mvsa_pipe.heads.blocks import Classifier, normalise
from mvsa_pipe.heads.options import EncoderOptions, count, rate, size
from mvsa_pipe.heads.tokens import TokenHead

# of the tokens at the start, as in the source
_START_DEVIATION = 0.02


@dataclass(frozen=True)
class BottleneckOptions(EncoderOptions):
    """Options of ``bottleneck``.

    Attributes:
        bottlenecks: Number of shared tokens; 4 as in the source.
        layers: Number of layers of each modality.
        fusion_layers: How many of them, the last ones, see the shared tokens. What one modality
            writes in a layer, the other reads in the next: with fewer than 2 they never meet.
        dropout: As of other heads, but weaker: with 0.4 some seeds never learn which word meets
            which patch (``docs/relations.md``).
    """

    dropout: float = rate(0.2)

    bottlenecks: int = size(4, (1, 2, 4, 8))
    layers: int = count(2)
    fusion_layers: int = count(2, least=0)

    def __post_init__(self) -> None:
        """Checks that no more layers fuse than there are."""
        super().__post_init__()
        if self.fusion_layers > self.layers:
            raise self.refused("fusion_layers", f"at most layers = {self.layers}")


class Bottleneck(TokenHead):
    """Keeps the modalities separate except for a few shared tokens, then averages their logits.

    With ``X`` the projected tokens and ``f`` the projected vector of a modality ``m``,
    ``Z_m = [f_m; X_m]`` at the start; a fusion layer computes
    ``[Z_m; E_m] = Layer_m([Z_m; E])`` with ``Layer`` as in ``PreNormLayer`` and sets
    ``E = (E_T + E_I) / 2``; a layer before them computes ``Z_m = Layer_m(Z_m)``. With ``z_m`` the
    first token of the last ``Z_m``, normalised: ``softmax((cls_T(z_T) + cls_I(z_I)) / 2)``.

    Source:
        Nagrani et al. 2021, "Attention Bottlenecks for Multimodal Fusion", arXiv 2107.00135,
        sections 3.2 and 3.3 (MBT).

    Differs from source:
        The backbones stand in for the layers before fusion. The pooled vector is the token that
        is classified. ReLU instead of GELU. Each modality has a classifier of its own, of two
        layers. Padding is masked; features are normalised.
    """

    Options = BottleneckOptions
    steady = False

    def __init__(self, sizes: FeatureSizes, options: BottleneckOptions) -> None:
        super().__init__(sizes, options)
        self.before_fusion = options.layers - options.fusion_layers
        self.shared = nn.Parameter(
            torch.randn(options.bottlenecks, options.width) * _START_DEVIATION
        )
        self.text_layers = build_layers(options.layers, options)
        self.image_layers = build_layers(options.layers, options)
        hidden, classes = options.hidden, sizes.classes
        self.vote_text = Classifier(options.width, hidden, classes, options.dropout)
        self.vote_image = Classifier(options.width, hidden, classes, options.dropout)

    def forward(self, batch: FeatureBatch) -> Float[Tensor, "B C"]:
        """The mean of both classifiers' logits."""
        text, image = self.encode(batch)
        logits: Tensor = self.vote_text(normalise(text)) + self.vote_image(normalise(image))
        return logits / 2.0

    def encode(self, batch: FeatureBatch) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B D"]]:
        """The first token of each modality after all layers."""
        p = self.project(batch)
        text = torch.cat([p.text.unsqueeze(1), p.text_tokens], dim=1)
        image = torch.cat([p.image.unsqueeze(1), p.image_tokens], dim=1)
        text_mask = _extend(p.text_mask, before=1)
        shared = text[:, :0]
        last = len(self.text_layers) - 1
        for depth, (of_text, of_image) in enumerate(
            zip(self.text_layers, self.image_layers, strict=True)
        ):
            if depth == self.before_fusion:
                shared = self.shared.expand(text.shape[0], -1, -1)
            # of the last layer only the first token is read
            wanted = 1 if depth == last else None
            text, from_text = _step(of_text, text, shared, text_mask, wanted)
            image, from_image = _step(of_image, image, shared, None, wanted)
            shared = (from_text + from_image) / 2.0
        return text[:, 0], image[:, 0]

    def attention_layers(self) -> tuple[AttentionLayer, ...]:
        """Attention inside each modality, its vector and the shared tokens, layer by layer."""
        found = []
        for kind, layers in ((Kind.TEXT, self.text_layers), (Kind.IMAGE, self.image_layers)):
            for depth, layer in enumerate(layers):
                fused = (Kind.SHARED,) if depth >= self.before_fusion else ()
                seen = (Kind.VECTOR, kind, *fused)
                # of the last layer only the first token is read
                asking = (Kind.VECTOR,) if depth == len(layers) - 1 else seen
                if isinstance(layer, PreNormLayer):
                    name = f"{kind} {depth + 1}"
                    found.append(AttentionLayer(name, layer.attention, asking, seen))
        return tuple(found)


def _step(
    layer: nn.Module,
    states: Float[Tensor, "B X D"],
    shared: Float[Tensor, "B E D"],
    mask: Bool[Tensor, "B X"] | None,
    wanted: int | None,
) -> tuple[Float[Tensor, "B Y D"], Float[Tensor, "B F D"]]:
    """One layer over a modality's states and the shared tokens; computes the first ``wanted``."""
    seen = torch.cat([states, shared], dim=1)
    if mask is not None:
        mask = _extend(mask, behind=shared.shape[1])
    informed = layer(seen[:, :wanted], seen, mask)
    own = states.shape[1]
    return informed[:, :own], informed[:, own:]


def _extend(mask: Bool[Tensor, "B X"], *, before: int = 0, behind: int = 0) -> Bool[Tensor, "B Y"]:
    """The mask with real tokens added before and behind."""
    posts = mask.shape[0]  # not len(): a traced graph would keep the number
    return torch.cat([mask.new_ones(posts, before), mask, mask.new_ones(posts, behind)], dim=1)
