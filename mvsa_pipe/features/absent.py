"""Posts without text or without picture: what heads read in their place.

The features of an absent half are zeros: pooled vectors, image tokens, and one text token. Heads
that were trained with ``--modality-dropout`` have learned what zeros mean; in their training the
same function removes a half at random.
"""

from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from mvsa_pipe.features.batch import FeatureBatch, FeatureSizes, Field
from mvsa_pipe.features.source import FeatureSource
from mvsa_pipe.modality import Modality

# As runs record it.
ABSENT_AS = "zeros"


def without(batch: FeatureBatch, absent: Bool[Tensor, " B"], modality: Modality) -> FeatureBatch:
    """A batch of which some posts lack one half.

    Args:
        batch: The features.
        absent: The posts that lack it.
        modality: The half.
    """

    def zeroed(values: Tensor | None) -> Tensor | None:
        if values is None:
            return None
        return values.masked_fill(absent.view(-1, *[1] * (values.dim() - 1)), 0)

    if modality is Modality.IMAGE:
        hidden, pooled = zeroed(batch.image_hidden), zeroed(batch.image_pooled)
        return replace(batch, image_hidden=hidden, image_pooled=pooled)
    mask = batch.text_mask
    if mask is not None:
        first = torch.arange(mask.shape[1], device=mask.device) == 0
        mask = torch.where(absent[:, None], first, mask)
    return replace(
        batch,
        text_hidden=zeroed(batch.text_hidden),
        text_mask=mask,
        text_pooled=zeroed(batch.text_pooled),
    )


@dataclass(frozen=True)
class WithoutHalf:
    """Features of posts that all lack one half.

    Attributes:
        present: Features of the other half.
        absent: The half that they lack.
        sizes: What the head was built for.
    """

    present: FeatureSource
    absent: Modality
    sizes: FeatureSizes

    @property
    def post_ids(self) -> tuple[str, ...]:
        """The posts, in the order of every index."""
        return self.present.post_ids

    @property
    def token_counts(self) -> Int[Tensor, " N"] | None:
        """Text tokens of every post; ``None`` where there is no text."""
        return None if self.absent is Modality.TEXT else self.present.token_counts

    @property
    def bytes_held(self) -> int:
        """Bytes of the other half."""
        return self.present.bytes_held

    def batches(
        self, chosen: Iterable[Int[Tensor, " _"]], needs: Iterable[Field]
    ) -> Iterator[FeatureBatch]:
        """The declared features of each batch of posts, in order."""
        wanted = set(needs)
        there = {need for need in wanted if need.modality is not self.absent}
        return (
            self._completed(batch, wanted - there) for batch in self.present.batches(chosen, there)
        )

    def to(self, device: torch.device) -> "WithoutHalf":
        """The same features on another device."""
        return replace(self, present=self.present.to(device))

    def _completed(self, batch: FeatureBatch, lacking: set[Field]) -> FeatureBatch:
        sizes, size = self.sizes, len(batch)
        (_, some), *_ = batch.tensors()

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(size, *shape, device=some.device)

        def layers(of_backbones: tuple[tuple[int, int], ...]) -> tuple[int, ...]:
            return (max(count for count, _ in of_backbones),) if of_backbones else ()

        text, image = layers(sizes.text_layers), layers(sizes.image_layers)
        made: dict[Field, Tensor] = {}
        for field in lacking:
            if field is Field.TEXT_HIDDEN:
                made[field] = zeros(1, *text, sizes.text_width)
            elif field is Field.IMAGE_HIDDEN:
                made[field] = zeros(sizes.image_tokens, *image, sizes.image_width)
            elif field is Field.TEXT_POOLED:
                made[field] = zeros(sizes.text_width)
            elif field is Field.IMAGE_POOLED:
                made[field] = zeros(sizes.image_width)
        named = {field.value: value for field, value in made.items()}
        if Field.TEXT_HIDDEN in made:
            named["text_mask"] = zeros(1) == 0
        return replace(batch, **named)


def with_absent(
    features: FeatureSource,
    needs: Iterable[Field],
    sizes: FeatureSizes,
    present: Container[Modality],
) -> FeatureSource:
    """Features with what stands for the half that posts lack; unchanged if they lack none.

    Args:
        features: What posts have.
        needs: What the head reads.
        sizes: What it was built for.
        present: The halves that they have, at least one.
    """
    lacking = {need.modality for need in needs if need.modality not in present}
    return WithoutHalf(features, lacking.pop(), sizes) if lacking else features
