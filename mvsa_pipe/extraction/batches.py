"""Steps of a batch (read, launch, collect), and how posts are cut into batches and parts.

Batches and parts depend only on the missing posts and their order: an extraction that was
interrupted, or that shares its parts with other machines, computes the same batches.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mvsa_pipe.cache.content import Refusal, Rows
from mvsa_pipe.cache.finite import require_finite_rows
from mvsa_pipe.extraction.clock import Clock
from mvsa_pipe.extraction.forward import Forward
from mvsa_pipe.posts.contents import Content

# A bound for small features, too: one part is written while the next is computed.
MOST_POSTS_A_PART = 1024

# Parts a share has at least, if there are enough batches, so that shares end at similar times.
_PARTS_A_SHARE = 8

# One batch: the posts that each backbone takes.
Batch = tuple[tuple[Content, ...], ...]

Parts = Iterator[list[Batch]]


class Computed(NamedTuple):
    """Features of one backbone for its posts of a batch."""

    items: list[Content]
    hidden: NDArray[Any]
    pooled: NDArray[Any]
    lengths: NDArray[np.int64] | None


@dataclass
class BatchResult:
    """The result of one batch.

    Attributes:
        posts: How many posts the batch has.
        computed: One entry a backbone; ``None`` where it took no readable post.
        refused: Posts that could not be read, with the backbones that requested them.
    """

    posts: int
    computed: list[Computed | None]
    refused: list[tuple[Refusal, tuple[int, ...]]] = field(default_factory=list)


@dataclass
class PartResult:
    """The result of one part, for each backbone.

    Attributes:
        rows: Features, one block a batch; empty if no post could be read.
        refused: Posts that could not be read.
    """

    rows: list[list[Rows]]
    refused: list[list[Refusal]]

    @property
    def payload_bytes(self) -> int:
        """Bytes of all features."""
        blocks = (rows for of_one in self.rows for rows in of_one)
        return sum(rows.pooled.nbytes + rows.hidden.nbytes for rows in blocks)


class BatchWork(ABC):
    """Backbones of one modality that share batches."""

    clock: Clock

    @property
    @abstractmethod
    def forwards(self) -> Sequence[Forward[Any]]:
        """The backbones."""

    @abstractmethod
    def parts(
        self, contents: Sequence[Content], lacking: Sequence[Set[str]], shares: int = 1
    ) -> Parts:
        """Cuts missing posts into batches, and batches into parts of bounded size.

        Args:
            contents: All posts, in the data set's order.
            lacking: Ids of the posts that each backbone lacks.
            shares: Number of shares; parts are small enough for each to have several. Batches do
                not depend on it.
        """

    @abstractmethod
    def read(self, batch: Batch) -> Any:  # noqa: ANN401  # each subclass has its own
        """Returns the input of ``launch``; thread-safe."""

    @abstractmethod
    def launch(self, ready: Any) -> Any:  # noqa: ANN401
        """Starts the backbones on a batch; on a GPU it returns before they have finished."""

    @abstractmethod
    def collect(self, launched: Any) -> BatchResult:  # noqa: ANN401
        """Waits for a launched batch and returns its result."""

    def compute(self, part: Sequence[Batch]) -> PartResult:
        """Computes one part, batch after batch, for callers without a cache.

        Raises:
            CacheError: Features are NaN or infinite; names the posts.
        """
        done = assembled([self.collect(self.launch(self.read(batch))) for batch in part])
        for forward, blocks in zip(self.forwards, done.rows, strict=True):
            for rows in blocks:
                require_finite_rows(rows, forward.backbone.identity.name, forward.dtype, None)
        return done


def most_posts_a_part(posts: int, shares: int) -> int:
    """Most posts of a part, so that every share gets several parts."""
    if shares == 1:
        return MOST_POSTS_A_PART
    return min(MOST_POSTS_A_PART, -(-posts // (_PARTS_A_SHARE * shares)))


def assembled(results: Sequence[BatchResult]) -> PartResult:
    """Joins the results of batches to one of their part, without copying."""
    count = len(results[0].computed)
    refused: list[list[Refusal]] = [[] for _ in range(count)]
    for result in results:
        for refusal, numbers in result.refused:
            for number in numbers:
                refused[number].append(refusal)
    return PartResult(
        rows=[
            [_rows(done) for r in results if (done := r.computed[number]) is not None]
            for number in range(count)
        ],
        refused=refused,
    )


def _rows(done: Computed) -> Rows:
    return Rows(
        ids=[item.id for item in done.items],
        digests=[item.digest for item in done.items],
        pooled=done.pooled,
        hidden=done.hidden,
        lengths=done.lengths,
    )
