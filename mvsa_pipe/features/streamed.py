"""Cached features of posts that memory has no room for: token states come from the disk in blocks.

The order of posts is the one that training asks for, so that a run over streamed features is, bit
for bit, the run over resident ones. A block is the posts of several batches, read at once in the
order of the file, while the model works on the block before.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from mvsa_pipe.cache.reading import FeatureFile
from mvsa_pipe.features.batch import HIDDEN, POOLED, FeatureBatch, Field
from mvsa_pipe.features.joined import load_features
from mvsa_pipe.features.resident import ResidentFeatures, grid_tokens, layers_for
from mvsa_pipe.layers import LayerMix
from mvsa_pipe.modality import Modality

# Blocks in memory at a time: one that the model works on, one that is read, one changing hands.
BLOCKS = 3

Read = Callable[[Sequence[int]], ResidentFeatures]


def _nothing(_: Sequence[int]) -> ResidentFeatures:
    raise AssertionError("streamed features need a reader")


@dataclass(frozen=True)
class StreamedFeatures(ResidentFeatures):
    """Features whose pooled vectors are in memory and whose token states are on the disk.

    Attributes:
        vectors: The pooled vectors of all posts.
        read: Reads the token states of some posts, given by ascending index.
        counts: Text tokens of every post ``[N]``, if text tokens are read.
        block_posts: Posts read at once.
    """

    vectors: ResidentFeatures | None = None
    read: Read = _nothing
    counts: Tensor | None = None
    block_posts: int = 1024

    @property
    def token_counts(self) -> Int[Tensor, " N"] | None:
        """Text tokens of every post; ``None`` where no token states are read."""
        return self.counts

    def batches(
        self, chosen: Iterable[Int[Tensor, " _"]], needs: Iterable[Field]
    ) -> Iterator[FeatureBatch]:
        """The declared features of one batch of posts after the other."""
        wanted = frozenset(needs)
        if not wanted & HIDDEN:
            assert self.vectors is not None  # noqa: S101
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
                    yield self._joined(batch, states.batch(places, wanted & HIDDEN), wanted)

    def _block(
        self, batches: Sequence[Tensor]
    ) -> tuple[Sequence[Tensor], Tensor, ResidentFeatures]:
        posts = torch.unique(torch.cat(list(batches)).cpu())  # sorted, as the file has them
        return batches, posts, self.read(posts.tolist())

    def _joined(
        self, posts: Tensor, states: FeatureBatch, wanted: frozenset[Field]
    ) -> FeatureBatch:
        if self.vectors is None or not wanted & POOLED:
            return states
        vectors = self.vectors.batch(posts.cpu(), wanted - HIDDEN)
        found = {f.name: v for f in fields(vectors) if (v := getattr(vectors, f.name)) is not None}
        return replace(states, **found)

    @property
    def bytes_held(self) -> int:
        """Bytes of all tensors that stay in memory."""
        return self.vectors.bytes_held if self.vectors else 0

    def to(self, device: torch.device) -> "StreamedFeatures":  # noqa: ARG002
        """The same features; batches are moved to the device one by one."""
        return self


def load_or_stream(
    files: Mapping[Modality, Sequence[FeatureFile]],
    post_ids: Sequence[str],
    needs: Iterable[Field],
    classes: int,
    image_grid: int,
    limit_bytes: float,
    mix: LayerMix = LayerMix.LAST,
) -> ResidentFeatures:
    """Reads the declared features of some posts, or streams them where they need more memory.

    Args:
        files: The caches of each modality.
        post_ids: The posts, in the order of every later index.
        needs: The features to read.
        classes: How many classes heads tell apart.
        image_grid: As of ``load_resident``.
        limit_bytes: Memory that token states may take.
        mix: As of ``load_resident``.

    Raises:
        CacheError: As ``load_features``.
    """
    wanted = set(needs)
    hidden = wanted & HIDDEN
    states = sum(
        _state_bytes(file, post_ids, image_grid, mix)
        for modality, of_it in files.items()
        if any(need.modality is modality for need in hidden)
        for file in of_it
    )
    if states <= limit_bytes:
        return load_features(files, post_ids, wanted, classes, image_grid, mix)
    of_states = {m: of_it for m, of_it in files.items() if any(n.modality is m for n in hidden)}
    ids = tuple(post_ids)

    def read(posts: Sequence[int]) -> ResidentFeatures:
        return load_features(of_states, [ids[i] for i in posts], hidden, classes, image_grid, mix)

    vectors = load_features(files, post_ids, wanted & POOLED, classes, image_grid, mix)
    counts = [_counts(file, post_ids, mix) for file in of_states.get(Modality.TEXT, ())]
    return StreamedFeatures(
        post_ids=ids,
        sizes=vectors.sizes,
        vectors=vectors,
        read=read,
        counts=torch.stack(counts).sum(dim=0) if counts else None,
        block_posts=max(1, int(limit_bytes / BLOCKS / (states / len(ids)))),
    )


def _counts(file: FeatureFile, post_ids: Sequence[str], mix: LayerMix) -> Int[Tensor, " N"]:
    """Text states of every post: one a token, or one a layer of it where heads mix them."""
    offsets = file.header.offsets
    assert offsets is not None  # noqa: S101 (a text cache)
    rows = [file.rows[post_id] for post_id in post_ids if post_id in file.rows]
    return torch.from_numpy(np.diff(offsets)[rows]) * layers_for(file, mix)


def _state_bytes(file: FeatureFile, post_ids: Sequence[str], grid: int, mix: LayerMix) -> int:
    """Bytes of some posts' token states in memory."""
    header = file.header
    if header.fingerprint.modality is Modality.TEXT:
        states = int(_counts(file, post_ids, mix).sum())
    else:
        places = grid_tokens(header.tokens, grid)
        states = len(post_ids) * places * layers_for(file, mix)
    return states * header.width * np.dtype(header.fingerprint.dtype.value).itemsize


def _cut(chosen: Iterable[Tensor], posts: int) -> Iterator[list[Tensor]]:
    """Batches gathered to blocks of about so many posts."""
    block: list[Tensor] = []
    for batch in chosen:
        block.append(batch)
        if sum(map(len, block)) >= posts:
            yield block
            block = []
    if block:
        yield block
