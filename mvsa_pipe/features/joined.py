"""Features of several backbones a modality, joined so that heads read them like those of one.

The vectors of every backbone are normalised, so that none drowns the others. Pooled vectors stand
side by side. Token sets stand one after the other, each in its own backbone's columns and zero in
all others: ``(x, 0)`` of the first, ``(0, y)`` of the second. The first linear map of a head,
``W = [U V]``, is then ``U x`` on the one set and ``V y`` on the other: a projection of its own for
each set, of whatever width and count, which costs no weights and of which heads know nothing.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from mvsa_pipe.cache.reading import FeatureFile
from mvsa_pipe.features.batch import ENCODED, FeatureBatch, FeatureSizes, Field
from mvsa_pipe.features.resident import ResidentFeatures, load_resident
from mvsa_pipe.layers import LayerMix
from mvsa_pipe.modality import Modality


@dataclass(frozen=True)
class JoinedFeatures(ResidentFeatures):
    """Features of several backbones a modality; batches are joined as they are taken.

    Attributes:
        sources: The features of each backbone, all of the same posts in the same order; tensors
            lie there alone.
    """

    sources: Mapping[Modality, tuple[ResidentFeatures, ...]] = field(default_factory=dict)

    def batches(
        self, chosen: Iterable[Int[Tensor, " _"]], needs: Iterable[Field]
    ) -> Iterator[FeatureBatch]:
        """The declared features of one batch of posts after the other."""
        wanted, every = frozenset(needs), list(chosen)
        flows = [
            (modality, number, source.batches(every, own))
            for modality, sources in self.sources.items()
            if (own := {need for need in wanted & ENCODED if need.modality is modality})
            for number, source in enumerate(sources)
        ]
        for _ in every:
            yield join_batches(
                self._evened(next(batches), modality, number) for modality, number, batches in flows
            )

    def _evened(self, batch: FeatureBatch, modality: Modality, number: int) -> FeatureBatch:
        """A source's batch with as many layers as the source that has most; zeros before its own.

        Heads give those no weight.
        """
        text = modality is Modality.TEXT
        layers = self.sizes.text_layers if text else self.sizes.image_layers
        hidden = batch.text_hidden if text else batch.image_hidden
        if not layers or hidden is None:
            return batch
        own, most = layers[number][0], max(count for count, _ in layers)
        posts, _, width = hidden.shape
        padded = F.pad(hidden.view(posts, -1, own, width), (0, 0, most - own, 0)).flatten(1, 2)
        if batch.text_mask is None:
            return replace(batch, image_hidden=padded)
        mask = batch.text_mask[:, ::own].repeat_interleave(most, dim=1)
        return replace(batch, text_hidden=padded, text_mask=mask)

    @property
    def token_counts(self) -> Int[Tensor, " N"] | None:
        """Text tokens of every post, those of all backbones added up."""
        each = [source.token_counts for source in self.sources.get(Modality.TEXT, ())]
        known = [counts for counts in each if counts is not None]
        return torch.stack(known).sum(dim=0) if known else None

    @property
    def bytes_held(self) -> int:
        """Bytes of all tensors."""
        return sum(s.bytes_held for sources in self.sources.values() for s in sources)

    def to(self, device: torch.device) -> "JoinedFeatures":
        """The same features on another device."""
        moved = {m: tuple(s.to(device) for s in sources) for m, sources in self.sources.items()}
        return replace(self, sources=moved)


def load_features(
    files: Mapping[Modality, Sequence[FeatureFile]],
    post_ids: Sequence[str],
    needs: Iterable[Field],
    classes: int,
    image_grid: int = 0,
    mix: LayerMix = LayerMix.LAST,
) -> ResidentFeatures:
    """Reads the declared features of some posts from one cache or several a modality.

    Args:
        files: The caches of each modality, in the order in which they are joined.
        post_ids: The posts, in the order of every later index.
        needs: The features to read.
        classes: How many classes heads tell apart.
        image_grid: As of ``load_resident``, for each image cache.
        mix: As of ``load_resident``, for each cache.

    Raises:
        CacheError: As ``load_resident``.
    """
    wanted = set(needs)
    if all(len(of_it) == 1 for of_it in files.values()):
        alone = {modality: of_it[0] for modality, of_it in files.items()}
        return load_resident(alone, post_ids, wanted, classes, image_grid, mix)
    sources = {
        modality: tuple(
            load_resident(
                {modality: file},
                post_ids,
                # what no cache was given for is refused there
                {need for need in wanted if need.modality not in files.keys() - {modality}},
                classes,
                image_grid,
                mix,
            )
            for file in of_it
        )
        for modality, of_it in files.items()
    }
    return JoinedFeatures(tuple(post_ids), _joined_sizes(sources, classes), sources=sources)


def _joined_sizes(
    sources: Mapping[Modality, Sequence[ResidentFeatures]], classes: int
) -> FeatureSizes:
    text = [source.sizes for source in sources.get(Modality.TEXT, ())]
    image = [source.sizes for source in sources.get(Modality.IMAGE, ())]
    return FeatureSizes(
        text_width=sum(sizes.text_width for sizes in text) or 1,
        image_width=sum(sizes.image_width for sizes in image) or 1,
        image_tokens=sum(sizes.image_tokens for sizes in image) or 1,
        classes=classes,
        text_layers=_layers([(sizes.text_layers, sizes.text_width) for sizes in text]),
        image_layers=_layers([(sizes.image_layers, sizes.image_width) for sizes in image]),
    )


def _layers(
    sources: Sequence[tuple[tuple[tuple[int, int], ...], int]],
) -> tuple[tuple[int, int], ...]:
    """Layers and width of every backbone, if of any a head shall mix several."""
    if not any(layers for layers, _ in sources):
        return ()
    return tuple(layers[0] if layers else (1, width) for layers, width in sources)


def join_batches(batches: Iterable[FeatureBatch]) -> FeatureBatch:
    """Joins features of the same posts from several backbones; a modality of one is untouched.

    Padding of a text's tokens then stands between the sets too, wherever the mask says so.
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


def _tokens(sets: Sequence[Float[Tensor, "B _ _"]]) -> Float[Tensor, "B T D"] | None:
    """Token sets one after the other, each in columns of its own."""
    if len(sets) < 2:
        return sets[0] if sets else None
    count, width = (sum(tokens.shape[axis] for tokens in sets) for axis in (1, 2))
    joined = sets[0].new_zeros((len(sets[0]), count, width))
    row = column = 0
    for tokens in sets:
        _, rows, columns = tokens.shape
        joined[:, row : row + rows, column : column + columns] = _normalised(tokens)
        row, column = row + rows, column + columns
    return joined


def _normalised(x: Float[Tensor, "B *tokens D"]) -> Float[Tensor, "B *tokens D"]:
    """Every vector at mean 0 and variance 1, computed in float32 and stored as it was.

    The usual epsilon of norms, 1e-5, is the variance of a backbone whose numbers are around 0.003.
    """
    return F.layer_norm(x.float(), x.shape[-1:], eps=1e-12).to(x.dtype)
