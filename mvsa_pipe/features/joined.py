"""Features of several backbones a modality, joined so that heads read them like those of one.

The vectors of every backbone are normalised, so that none dominates. Pooled vectors are
concatenated along the width. Token sets are concatenated along the tokens, each in its own
backbone's columns and zero elsewhere: ``(x, 0)`` of the first, ``(0, y)`` of the second. The first
linear map of a head, ``W = [U V]``, is then ``U x`` on the one set and ``V y`` on the other: a
projection of its own for each set, of any width and count, without extra weights.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from mvsa_pipe.features.batch import ENCODED, FeatureBatch, FeatureSizes, Field
from mvsa_pipe.features.source import FeatureSource
from mvsa_pipe.modality import Modality


@dataclass(frozen=True)
class JoinedFeatures:
    """Features of several backbones a modality; batches are joined as they are taken.

    Attributes:
        sources: The features of each backbone, all of the same posts in the same order.
    """

    sources: Mapping[Modality, tuple[FeatureSource, ...]]

    @property
    def post_ids(self) -> tuple[str, ...]:
        """The posts, in the order of every index."""
        return next(source.post_ids for sources in self.sources.values() for source in sources)

    @property
    def sizes(self) -> FeatureSizes:
        """Widths, tokens and layers of all backbones together."""
        text = [source.sizes for source in self.sources.get(Modality.TEXT, ())]
        image = [source.sizes for source in self.sources.get(Modality.IMAGE, ())]
        return FeatureSizes(
            text_width=sum(sizes.text_width for sizes in text) or 1,
            image_width=sum(sizes.image_width for sizes in image) or 1,
            image_tokens=sum(sizes.image_tokens for sizes in image) or 1,
            classes=(text or image)[0].classes,
            text_layers=_layers([(sizes.text_layers, sizes.text_width) for sizes in text]),
            image_layers=_layers([(sizes.image_layers, sizes.image_width) for sizes in image]),
        )

    @property
    def token_counts(self) -> Int[Tensor, " N"] | None:
        """Text tokens of every post, summed over the backbones."""
        each = [source.token_counts for source in self.sources.get(Modality.TEXT, ())]
        known = [counts for counts in each if counts is not None]
        return torch.stack(known).sum(dim=0) if known else None

    @property
    def bytes_held(self) -> int:
        """Bytes of all tensors."""
        return sum(s.bytes_held for sources in self.sources.values() for s in sources)

    def batches(
        self, chosen: Iterable[Int[Tensor, " _"]], needs: Iterable[Field]
    ) -> Iterator[FeatureBatch]:
        """The declared features of each batch of posts, in order."""
        wanted, every = frozenset(needs) & ENCODED, list(chosen)
        flows = [
            source.batches(every, own)
            for modality, sources in self.sources.items()
            if (own := {need for need in wanted if need.modality is modality})
            for source in sources
        ]
        return (join_batches(parts) for parts in zip(*flows, strict=True))

    def to(self, device: torch.device) -> "JoinedFeatures":
        """The same features on another device."""
        moved = {m: tuple(s.to(device) for s in sources) for m, sources in self.sources.items()}
        return JoinedFeatures(moved)


def _layers(
    sources: Sequence[tuple[tuple[tuple[int, int], ...], int]],
) -> tuple[tuple[int, int], ...]:
    """Layers and width of every backbone, if a head mixes several layers of any of them."""
    if not any(layers for layers, _ in sources):
        return ()
    return tuple(layers[0] if layers else (1, width) for layers, width in sources)


def join_batches(batches: Iterable[FeatureBatch]) -> FeatureBatch:
    """Joins features of the same posts from several backbones; a modality of one is untouched.

    Padding of a text's tokens then also lies between the sets, as the mask shows.
    """
    parts = list(batches)

    def each(name: str) -> list[Tensor]:
        return [value for part in parts if (value := getattr(part, name)) is not None]

    masks = each("text_mask")
    return FeatureBatch(
        text_hidden=_tokens(each("text_hidden")),
        text_mask=torch.cat(masks, dim=1) if masks else None,
        text_pooled=_vectors(each("text_pooled")),
        image_hidden=_tokens(each("image_hidden")),
        image_pooled=_vectors(each("image_pooled")),
    )


def _vectors(pooled: Sequence[Float[Tensor, "B _"]]) -> Float[Tensor, "B D"] | None:
    """Pooled vectors side by side."""
    if len(pooled) < 2:
        return pooled[0] if pooled else None
    return torch.cat([_normalised(vector) for vector in pooled], dim=-1)


def _tokens(sets: Sequence[Float[Tensor, "B _ *_ _"]]) -> Float[Tensor, "B T *L D"] | None:
    """Token sets one after the other, each in columns of its own.

    Of backbones that differ in layers, those with fewer have zeros before their first layer, to
    which heads give no weight.
    """
    if len(sets) < 2:
        return sets[0] if sets else None
    layers = max((tokens.shape[2] if tokens.dim() == 4 else 0) for tokens in sets)
    count, width = sum(tokens.shape[1] for tokens in sets), sum(t.shape[-1] for t in sets)
    axis = (layers,) if layers else ()
    joined = sets[0].new_zeros((len(sets[0]), count, *axis, width))
    row = column = 0
    for tokens in sets:
        rows, columns = tokens.shape[1], tokens.shape[-1]
        own = tokens.unsqueeze(2) if layers and tokens.dim() == 3 else tokens
        place = joined[:, row : row + rows, ..., column : column + columns]
        if layers:
            place = place[:, :, layers - own.shape[2] :]
        place.copy_(_normalised(own))
        row, column = row + rows, column + columns
    return joined


def _normalised(x: Float[Tensor, "B *tokens D"]) -> Float[Tensor, "B *tokens D"]:
    """Every vector at mean 0 and variance 1, computed in float32, returned in its own type.

    The usual epsilon of norms, 1e-5, is the variance of a backbone whose numbers are around 0.003.
    """
    return F.layer_norm(x.float(), x.shape[-1:], eps=1e-12).to(x.dtype)
