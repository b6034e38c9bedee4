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

from mvsa_pipe.backbones.base import Encoded, ImageBackbone, TextBackbone
from mvsa_pipe.cache.layout import PART_BYTES, Refusal, Rows
from mvsa_pipe.errors import DataError
from mvsa_pipe.extraction.clock import Clock, Stage
from mvsa_pipe.extraction.contents import Content
from mvsa_pipe.extraction.forward import Forward, padded, pinned

MOST_POSTS_A_PART = 2048

# Texts are sorted by length within so many: enough for batches of one length, while memory does
# not grow with the data set.
TEXTS_SORTED_TOGETHER = 8192

# Processors scale the short side up to some 256 pixels, whatever the long one becomes: a line of
# 60,000 pixels would take 12 GB. Real pictures stay below 1:20.
_NARROWEST = 256

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
        rows: Features, ``None`` where no post could be read.
        refused: Posts that could not be read.
    """

    rows: list[Rows | None]
    refused: list[list[Refusal]]


class Work(ABC):
    """Backbones of one modality that are fed together."""

    clock: Clock

    @property
    @abstractmethod
    def forwards(self) -> Sequence[Forward[Any]]:
        """The backbones."""

    @abstractmethod
    def parts(self, contents: Sequence[Content], lacking: Sequence[Set[str]]) -> Parts:
        """Cuts what each backbone lacks into parts of bounded size, and those into batches.

        Args:
            contents: All posts, in the data set's order.
            lacking: Ids of the posts that each backbone lacks.
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
        """Everything of one part, batch after batch."""
        return assembled([self.collect(self.launch(self.read(batch))) for batch in part])


class TextWork(Work):
    """One text backbone; its batches hold texts of nearly one length.

    Args:
        forward: The backbone.
        batch_size: A batch holds as many tokens as this many texts of full length.
        clock: Where the time goes.
    """

    def __init__(self, forward: Forward[TextBackbone], batch_size: int, clock: Clock) -> None:
        self.clock = clock
        self._forward = forward
        self._budget = batch_size * forward.backbone.max_tokens

    @property
    def forwards(self) -> Sequence[Forward[TextBackbone]]:
        """The backbone."""
        return (self._forward,)

    def parts(self, contents: Sequence[Content], lacking: Sequence[Set[str]]) -> Parts:
        """Cuts texts, longest first among thousands, into parts of batches."""
        (wanted,) = lacking
        items = [item for item in contents if item.id in wanted]
        for start in range(0, len(items), TEXTS_SORTED_TOGETHER):
            window = items[start : start + TEXTS_SORTED_TOGETHER]
            lengths = [len(ids) for ids in self._tokens(window)]
            order = sorted(range(len(window)), key=lambda i: -lengths[i])  # stable: ties keep order
            for part in _bounded(order, [lengths[i] * self._forward.vector_bytes for i in order]):
                yield self._batches([window[i] for i in part], [lengths[i] for i in part])

    def _batches(self, items: Sequence[Content], lengths: Sequence[int]) -> list[Batch]:
        """Batches of at most so many tokens, padding included; the longest text comes first."""
        batches: list[Batch] = []
        start = 0
        while start < len(items):
            stop = start + max(1, self._budget // lengths[start])
            batches.append((tuple(items[start:stop]),))
            start = stop
        return batches

    def _tokens(self, items: Sequence[Content]) -> list[NDArray[np.int32]]:
        backbone = self._forward.backbone
        return [backbone.cut(ids) for ids in backbone.tokenize([item.text for item in items])]

    def read(self, batch: Batch) -> tuple[list[Content], list[NDArray[np.int32]]]:
        """Token ids of every text."""
        (items,) = batch
        with self.clock.stage(Stage.DECODE):
            return list(items), self._tokens(items)

    def launch(
        self, ready: tuple[list[Content], list[NDArray[np.int32]]]
    ) -> tuple[list[Content], NDArray[np.int64], Encoded]:
        """Starts the backbone on padded texts."""
        items, rows = ready
        with self.clock.stage(Stage.MODEL):
            device, backbone = self._forward.device, self._forward.backbone
            inputs = [pinned(values, device) for values in padded(rows, backbone.pad_id)]
            lengths = np.array([len(row) for row in rows], np.int64)
            return items, lengths, self._forward.launch(backbone.encode, *inputs)

    def collect(self, launched: tuple[list[Content], NDArray[np.int64], Encoded]) -> BatchResult:
        """Hidden states without padding, end to end."""
        items, lengths, encoded = launched
        with self.clock.stage(Stage.TO_HOST):
            hidden, pooled = self._forward.collect(encoded)
            real = np.arange(hidden.shape[1]) < lengths[:, None]
            return BatchResult(len(items), [Computed(items, hidden[real], pooled, lengths)])


@dataclass
class _Pictures:
    """A batch of pictures as backbones see them."""

    posts: int
    items: list[list[Content]]
    pixels: list[NDArray[np.generic] | None]
    refused: list[tuple[Refusal, tuple[int, ...]]]


class ImageWork(Work):
    """Image backbones, fed with pictures that are decoded once for all of them.

    Args:
        forwards: The backbones.
        batch_size: Pictures a batch.
        clock: Where the time goes.
    """

    def __init__(
        self, forwards: Sequence[Forward[ImageBackbone]], batch_size: int, clock: Clock
    ) -> None:
        self.clock = clock
        self._forwards = forwards
        # Backbones of one preprocessing see the same pixels, which are made once.
        self._rules = [str(sorted(f.backbone.identity.preprocessing.items())) for f in forwards]
        self._batch_size = batch_size

    @property
    def forwards(self) -> Sequence[Forward[ImageBackbone]]:
        """The backbones."""
        return self._forwards

    def parts(self, contents: Sequence[Content], lacking: Sequence[Set[str]]) -> Parts:
        """Cuts pictures in their order into parts of batches of equal size."""
        post_bytes = max((f.backbone.tokens + 1) * f.vector_bytes for f in self._forwards)
        most = max(1, min(MOST_POSTS_A_PART, PART_BYTES // post_bytes))
        size = min(self._batch_size, most)
        order = [item for item in contents if any(item.id in wanted for wanted in lacking)]
        posts_a_part = most - most % size
        for start in range(0, len(order), posts_a_part):
            part = order[start : start + posts_a_part]
            yield [
                tuple(tuple(i for i in part[at : at + size] if i.id in ids) for ids in lacking)
                for at in range(0, len(part), size)
            ]

    def read(self, batch: Batch) -> _Pictures:
        """Decodes every picture once and prepares it for each backbone that takes it."""
        takers: dict[str, tuple[Content, list[int]]] = {}
        for number, items in enumerate(batch):
            for item in items:
                takers.setdefault(item.id, (item, []))[1].append(number)
        items_of: list[list[Content]] = [[] for _ in batch]
        pixels_of: list[list[NDArray[np.generic]]] = [[] for _ in batch]
        refused = []
        for item, numbers in takers.values():
            try:
                made = self._prepared(item, numbers)
            except DataError as error:
                refused.append((Refusal(item.id, item.digest, error.what), tuple(numbers)))
                continue
            for number, pixels in zip(numbers, made, strict=True):
                items_of[number].append(item)
                pixels_of[number].append(pixels)
        with self.clock.stage(Stage.TRANSFORM):
            stacked = [np.stack(pixels) if pixels else None for pixels in pixels_of]
        return _Pictures(len(takers), items_of, stacked, refused)

    def _prepared(self, item: Content, numbers: Sequence[int]) -> list[NDArray[np.generic]]:
        with self.clock.stage(Stage.DECODE):
            image = item.open_image(self._forwards[numbers[0]].backbone.decode)
        if max(image.size) > _NARROWEST * min(image.size):
            raise DataError("A picture is too narrow for a backbone to see", found=image.size)
        with self.clock.stage(Stage.TRANSFORM):
            made: dict[str, NDArray[np.generic]] = {}
            for number in numbers:
                if self._rules[number] not in made:
                    made[self._rules[number]] = self._forwards[number].backbone.prepare(image)
            return [made[self._rules[number]] for number in numbers]

    def launch(self, ready: _Pictures) -> tuple[_Pictures, list[Encoded | None]]:
        """Starts every backbone on its pictures."""
        with self.clock.stage(Stage.MODEL):
            encoded = [
                None
                if pixels is None
                else forward.launch(forward.backbone.encode, pinned(pixels, forward.device))
                for forward, pixels in zip(self._forwards, ready.pixels, strict=True)
            ]
        ready.pixels = []
        return ready, encoded

    def collect(self, launched: tuple[_Pictures, list[Encoded | None]]) -> BatchResult:
        """Hidden states and pooled vectors of every backbone."""
        ready, encoded = launched
        with self.clock.stage(Stage.TO_HOST):
            computed = [
                None if values is None else Computed(items, *forward.collect(values), None)
                for forward, items, values in zip(self._forwards, ready.items, encoded, strict=True)
            ]
        return BatchResult(ready.posts, computed, ready.refused)


def assembled(results: Sequence[BatchResult]) -> PartResult:
    """The batches of one part put together, for each backbone."""
    count = len(results[0].computed)
    refused: list[list[Refusal]] = [[] for _ in range(count)]
    for result in results:
        for refusal, numbers in result.refused:
            for number in numbers:
                refused[number].append(refusal)
    return PartResult(
        rows=[_rows([r.computed[number] for r in results]) for number in range(count)],
        refused=refused,
    )


def _rows(results: Sequence[Computed | None]) -> Rows | None:
    found = [result for result in results if result is not None]
    if not found:
        return None
    items = [item for result in found for item in result.items]
    lengths = [result.lengths for result in found if result.lengths is not None]
    return Rows(
        ids=[item.id for item in items],
        digests=[item.digest for item in items],
        pooled=np.concatenate([result.pooled for result in found]),
        hidden=np.concatenate([result.hidden for result in found]),
        lengths=np.concatenate(lengths) if lengths else None,
    )


def _bounded(order: Sequence[int], sizes: Sequence[int]) -> Iterator[list[int]]:
    """Cuts a sequence into runs of bounded size in bytes and in number."""
    part: list[int] = []
    held = 0
    for index, size in zip(order, sizes, strict=True):
        if part and (held + size > PART_BYTES or len(part) == MOST_POSTS_A_PART):
            yield part
            part, held = [], 0
        part.append(index)
        held += size
    if part:
        yield part
