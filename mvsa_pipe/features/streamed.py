"""Features whose token states exceed memory: they are read from the disk in blocks.

Posts come in the order that training asks for, so that a run over streamed features equals the run
over resident ones bit for bit. A block contains the posts of several batches, read at once in the
order of the file, while the model works on the block before.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from mvsa_pipe.features.batch import HIDDEN, FeatureBatch, FeatureSizes, Field
from mvsa_pipe.features.source import FeatureSource, batch_of

# Blocks in memory at a time: one that the model works on, one that is read, one in between.
BLOCKS = 3


@dataclass(frozen=True)
class StreamedFeatures:
    """Features whose pooled vectors are in memory and whose token states are on the disk.

    Attributes:
        vectors: The pooled vectors of all posts; names the posts and sizes.
        read: Reads the token states of some posts, given by ascending index.
        token_counts: Text tokens of every post ``[N]``, if text tokens are read.
        block_posts: Posts read at once.
    """

    vectors: FeatureSource
    read: Callable[[Sequence[int]], FeatureSource]
    token_counts: Int[Tensor, " N"] | None
    block_posts: int

    @property
    def post_ids(self) -> tuple[str, ...]:
        """The posts, in the order of every index."""
        return self.vectors.post_ids

    @property
    def sizes(self) -> FeatureSizes:
        """What a head is built for."""
        return self.vectors.sizes

    @property
    def bytes_held(self) -> int:
        """Bytes of all tensors that stay in memory."""
        return self.vectors.bytes_held

    def batches(
        self, chosen: Iterable[Int[Tensor, " _"]], needs: Iterable[Field]
    ) -> Iterator[FeatureBatch]:
        """The declared features of each batch of posts, in order."""
        wanted = frozenset(needs)
        if not wanted & HIDDEN:
            yield from self.vectors.batches(chosen, wanted)
            return
        blocks = _cut(chosen, self.block_posts)
        with ThreadPoolExecutor(1, "read") as reader:
            coming = reader.submit(self._block, first) if (first := next(blocks, None)) else None
            while coming is not None:
                batches, posts, states = coming.result()
                following = next(blocks, None)
                coming = reader.submit(self._block, following) if following else None
                for batch in batches:
                    places = torch.searchsorted(posts, batch.cpu())
                    hidden = batch_of(states, places, wanted & HIDDEN)
                    yield self._with_vectors(hidden, batch.cpu(), wanted - HIDDEN)

    def _block(self, batches: Sequence[Tensor]) -> tuple[Sequence[Tensor], Tensor, FeatureSource]:
        posts = torch.unique(torch.cat(list(batches)).cpu())  # sorted, as the file has them
        return batches, posts, self.read(posts.tolist())

    def _with_vectors(
        self, hidden: FeatureBatch, posts: Tensor, wanted: frozenset[Field]
    ) -> FeatureBatch:
        if not wanted:
            return hidden
        vectors: dict[str, Any] = dict(batch_of(self.vectors, posts, wanted).tensors())
        return replace(hidden, **vectors)

    def to(self, device: torch.device) -> "StreamedFeatures":  # noqa: ARG002
        """The same features; batches are moved to the device one by one."""
        return self


def _cut(chosen: Iterable[Tensor], posts: int) -> Iterator[list[Tensor]]:
    """Groups batches into blocks of about this many posts."""
    block: list[Tensor] = []
    for batch in chosen:
        block.append(batch)
        if sum(map(len, block)) >= posts:
            yield block
            block = []
    if block:
        yield block
