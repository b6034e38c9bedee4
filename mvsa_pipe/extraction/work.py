"""What backbones do with batches of posts: read, launch, collect; and how posts form batches.

Batches and parts follow from the posts that are missing alone, in their order: an extraction that
was interrupted after any part, or that shares its parts with other machines, computes the very
batches that it would have computed alone.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mvsa_pipe.cache.finite import require_finite
from mvsa_pipe.cache.layout import Refusal, Rows
from mvsa_pipe.extraction.clock import Clock
from mvsa_pipe.extraction.forward import Forward
from mvsa_pipe.posts.contents import Content

# However small they are: one part waits for the disk while the next is computed.
MOST_POSTS_A_PART = 1024

# So many parts a share at least, where there are batches enough: shares end at about one time.
_PARTS_A_SHARE = 8

# One batch: for each backbone that is fed, the posts that it takes of it.
Batch = tuple[tuple[Content, ...], ...]

Parts = Iterator[list[Batch]]


class Computed(NamedTuple):
    """What one backbone said of its posts of one batch."""

    items: list[Content]
    hidden: NDArray[Any]
    pooled: NDArray[Any]
    lengths: NDArray[np.int64] | None


@dataclass
class BatchResult:
    """What came of one batch.

    Attributes:
        posts: How many posts went in.
        computed: One entry a backbone; ``None`` where it had nothing to say.
        refused: Posts that could not be read, with the backbones that asked for them.
    """

    posts: int
    computed: list[Computed | None]
    refused: list[tuple[Refusal, tuple[int, ...]]] = field(default_factory=list)


@dataclass
class PartResult:
    """What came of one part, for each backbone.

    Attributes:
        rows: Features, a block a batch; none where no post could be read.
        refused: Posts that could not be read.
    """

    rows: list[list[Rows]]
    refused: list[list[Refusal]]

    @property
    def hidden_bytes(self) -> int:
        """Bytes of all hidden states."""
        return sum(rows.hidden.nbytes for blocks in self.rows for rows in blocks)


class Work(ABC):
    """Backbones of one modality that are fed together."""

    clock: Clock

    @property
    @abstractmethod
    def forwards(self) -> Sequence[Forward[Any]]:
        """The backbones."""

    @abstractmethod
    def parts(
        self, contents: Sequence[Content], lacking: Sequence[Set[str]], shares: int = 1
    ) -> Parts:
        """Cuts what each backbone lacks into batches, and puts those into parts of bounded size.

        Args:
            contents: All posts, in the data set's order.
            lacking: Ids of the posts that each backbone lacks.
            shares: Parts are small enough for so many to have several each; batches stay as they
                are.
        """

    @abstractmethod
    def read(self, batch: Batch) -> Any:  # noqa: ANN401  # each kind of work has its own
        """What ``launch`` takes; safe in several threads."""

    @abstractmethod
    def launch(self, ready: Any) -> Any:  # noqa: ANN401
        """Starts the backbones on a batch; on a GPU it returns before they are done."""

    @abstractmethod
    def collect(self, launched: Any) -> BatchResult:  # noqa: ANN401
        """Waits for what was launched."""

    def compute(self, part: Sequence[Batch]) -> PartResult:
        """Everything of one part, batch after batch, for callers that keep no cache.

        Raises:
            CacheError: Features are NaN or infinite; names the posts.
        """
        done = assembled([self.collect(self.launch(self.read(batch))) for batch in part])
        for forward, blocks in zip(self.forwards, done.rows, strict=True):
            for rows in blocks:
                require_finite(rows, forward.backbone.identity.name, forward.dtype, None)
        return done


def most_posts_a_part(posts: int, shares: int) -> int:
    """How many posts a part may hold, so that every share of the posts gets several parts."""
    if shares == 1:
        return MOST_POSTS_A_PART
    return min(MOST_POSTS_A_PART, -(-posts // (_PARTS_A_SHARE * shares)))


def assembled(results: Sequence[BatchResult]) -> PartResult:
    """The batches of one part, for each backbone; nothing is copied."""
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
