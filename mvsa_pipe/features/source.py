"""Where batches of features come from: memory, the disk, several backbones, or live ones."""

from collections.abc import Iterable, Iterator
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Int
from torch import Tensor

from mvsa_pipe.features.batch import FeatureBatch, FeatureSizes, Field


@runtime_checkable
class FeatureSource(Protocol):
    """Features of ``N`` posts, from which heads are trained and scored.

    Attributes:
        post_ids: The posts, in the order of every index.
        sizes: What a head is built for.
        token_counts: Text tokens of every post ``[N]``; ``None`` where no token states are read.
        bytes_held: Bytes of all tensors that stay in memory.
    """

    @property
    def post_ids(self) -> tuple[str, ...]: ...  # noqa: D102  # described above

    @property
    def sizes(self) -> FeatureSizes: ...  # noqa: D102  # described above

    @property
    def token_counts(self) -> Int[Tensor, " N"] | None: ...  # noqa: D102  # described above

    @property
    def bytes_held(self) -> int: ...  # noqa: D102  # described above

    def batches(
        self, chosen: Iterable[Int[Tensor, " _"]], needs: Iterable[Field]
    ) -> Iterator[FeatureBatch]:
        """The declared features of each batch of posts, given by index, in order."""

    def to(self, device: torch.device) -> "FeatureSource":
        """The same features on another device; streamed features stay on the disk."""


def batch_of(
    source: FeatureSource, posts: Int[Tensor, " B"], needs: Iterable[Field]
) -> FeatureBatch:
    """The declared features of some posts, by index."""
    return next(iter(source.batches([posts], needs)))
