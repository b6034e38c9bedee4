"""Streams posts through a frozen backbone, a memory-bounded part at a time.

Batches never cross a part, and parts follow from the order of the posts alone: an extraction that
was interrupted after any part goes on with the very batches that it would have had.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mvsa_pipe.backbones.base import Backbone, Encoded, ImageBackbone, TextBackbone
from mvsa_pipe.cache.fingerprint import StoredDtype
from mvsa_pipe.cache.layout import Rows
from mvsa_pipe.devices import Precision, arithmetic, usable_cores
from mvsa_pipe.errors import DataError
from mvsa_pipe.extraction.contents import Content

# What one part holds in memory before it is committed.
_PART_BYTES = 32 * 2**20
_MOST_POSTS_A_PART = 2048

# Processors scale the short side up to some 256 pixels, whatever the long one becomes: a line of
# 60,000 pixels would take 12 GB. Real pictures stay below 1:20.
_NARROWEST = 256

BackboneT = TypeVar("BackboneT", bound=Backbone)


@dataclass(frozen=True)
class Forward(Generic[BackboneT]):
    """A frozen backbone on a device, in one arithmetic, with the type that its output takes.

    Attributes:
        backbone: The backbone, moved to ``device``.
        device: Where it computes.
        precision: Arithmetic of the matrix products.
        dtype: Type of the numbers handed out.
        batch_size: Pictures a pass; texts go by tokens.
    """

    backbone: BackboneT
    device: torch.device
    precision: Precision
    dtype: StoredDtype
    batch_size: int

    def run(self, encode: Callable[[], Encoded]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Hidden states and pooled vectors of one batch as arrays of ``dtype``."""
        with torch.inference_mode(), arithmetic(self.precision, self.device):
            hidden, pooled = encode()
        return self._array(hidden), self._array(pooled)

    def _array(self, values: Tensor) -> NDArray[Any]:
        stored = torch.float16 if self.dtype is StoredDtype.FLOAT16 else torch.float32
        return values.to(stored).cpu().numpy()


def stream_texts(
    forward: Forward[TextBackbone], items: Sequence[Content], advance: Callable[[int], None]
) -> Iterator[Rows]:
    """Features of texts, longest first, so that batches hold texts of one length."""
    backbone = forward.backbone
    tokens = [backbone.cut(ids) for ids in _tokenized(backbone, items)]
    order = sorted(range(len(items)), key=lambda i: -len(tokens[i]))  # stable: ties keep order
    token_bytes = backbone.width * np.dtype(forward.dtype.value).itemsize
    sizes = [len(tokens[i]) * token_bytes for i in order]
    for part in _parts(order, sizes):
        hidden: list[NDArray[Any]] = []
        pooled: list[NDArray[Any]] = []
        for batch in _token_batches(part, tokens, forward.batch_size * backbone.max_tokens):
            rows = [tokens[i] for i in batch]
            states, vectors = forward.run(lambda rows=rows: _encode(forward, backbone, rows))  # type: ignore[misc]
            hidden += [states[k, : len(row)] for k, row in enumerate(rows)]
            pooled.append(vectors)
            advance(len(batch))
        yield Rows(
            ids=[items[i].id for i in part],
            digests=[items[i].digest for i in part],
            pooled=np.concatenate(pooled),
            hidden=np.concatenate(hidden),
            lengths=np.array([len(tokens[i]) for i in part], np.int64),
        )


def count_cut(backbone: TextBackbone, items: Sequence[Content]) -> dict[str, int]:
    """How many texts, and how many of their tokens, ``max_tokens`` cuts."""
    over = [max(0, len(ids) - backbone.max_tokens) for ids in _tokenized(backbone, items)]
    return {"texts_cut": sum(n > 0 for n in over), "tokens_cut": sum(over)}


def _tokenized(backbone: TextBackbone, items: Sequence[Content]) -> Iterator[NDArray[np.int32]]:
    for start in range(0, len(items), 1024):
        yield from backbone.tokenize([item.text for item in items[start : start + 1024]])


def _encode(
    forward: Forward[TextBackbone], backbone: TextBackbone, rows: Sequence[NDArray[np.int32]]
) -> Encoded:
    longest = max(map(len, rows))
    ids = np.full((len(rows), longest), backbone.pad_id, np.int32)
    mask = np.zeros((len(rows), longest), np.bool_)
    for k, row in enumerate(rows):
        ids[k, : len(row)] = row
        mask[k, : len(row)] = True
    device = forward.device
    return backbone.encode(torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device))


def _parts(order: Sequence[int], sizes: Sequence[int]) -> Iterator[list[int]]:
    """Cuts a sequence into runs of bounded size in bytes and in number."""
    part: list[int] = []
    held = 0
    for index, size in zip(order, sizes, strict=True):
        if part and (held + size > _PART_BYTES or len(part) == _MOST_POSTS_A_PART):
            yield part
            part, held = [], 0
        part.append(index)
        held += size
    if part:
        yield part


def _token_batches(
    part: Sequence[int], tokens: Sequence[NDArray[np.int32]], budget: int
) -> Iterator[list[int]]:
    """Batches of at most ``budget`` tokens, padding included; ``part`` runs longest first."""
    start = 0
    while start < len(part):
        count = max(1, budget // len(tokens[part[start]]))
        yield list(part[start : start + count])
        start += count


def stream_images(
    forward: Forward[ImageBackbone],
    items: Sequence[Content],
    workers: int,
    advance: Callable[[int], None],
    refused: Callable[[Content, DataError], None],
) -> Iterator[Rows]:
    """Features of pictures in their order; threads decode ahead while the model computes.

    Unreadable pictures are handed to ``refused`` and left out.
    """
    backbone = forward.backbone
    post_bytes = (backbone.tokens + 1) * backbone.width * np.dtype(forward.dtype.value).itemsize
    most = max(1, min(_MOST_POSTS_A_PART, _PART_BYTES // post_bytes))
    batch = min(forward.batch_size, most)
    posts_a_part = most - most % batch
    with ThreadPoolExecutor(workers or usable_cores()) as pool:
        ready = _decoded(pool, items, _preparer(backbone), 3 * batch)
        for start in range(0, len(items), posts_a_part):
            part = items[start : start + posts_a_part]
            rows = _image_part(forward, backbone, part, ready, (advance, refused))
            if rows is not None:
                yield rows


def _preparer(backbone: ImageBackbone) -> Callable[[Content], NDArray[np.generic]]:
    def prepare(item: Content) -> NDArray[np.generic]:
        image = item.open_image()
        if max(image.size) > _NARROWEST * min(image.size):
            raise DataError("A picture is too narrow for a backbone to see", found=image.size)
        return backbone.prepare(image)

    return prepare


def _image_part(
    forward: Forward[ImageBackbone],
    backbone: ImageBackbone,
    part: Sequence[Content],
    ready: Iterator[NDArray[np.generic] | DataError],
    listeners: tuple[Callable[[int], None], Callable[[Content, DataError], None]],
) -> Rows | None:
    advance, refused = listeners
    good: list[Content] = []
    hidden: list[NDArray[Any]] = []
    pooled: list[NDArray[Any]] = []
    for start in range(0, len(part), forward.batch_size):
        items = part[start : start + forward.batch_size]
        pixels = []
        for item in items:
            picture = next(ready)
            if isinstance(picture, DataError):
                refused(item, picture)
            else:
                pixels.append(picture)
                good.append(item)
        if pixels:
            stacked = torch.from_numpy(np.stack(pixels)).to(forward.device)
            states, vectors = forward.run(lambda stacked=stacked: backbone.encode(stacked))  # type: ignore[misc]
            hidden.append(states)
            pooled.append(vectors)
        advance(len(items))
    if not good:
        return None
    return Rows(
        ids=[item.id for item in good],
        digests=[item.digest for item in good],
        pooled=np.concatenate(pooled),
        hidden=np.concatenate(hidden),
    )


def _decoded(
    pool: ThreadPoolExecutor,
    items: Iterable[Content],
    prepare: Callable[[Content], NDArray[np.generic]],
    ahead: int,
) -> Iterator[NDArray[np.generic] | DataError]:
    """Prepared pictures in order, at most ``ahead`` of them waiting."""

    def attempt(item: Content) -> NDArray[np.generic] | DataError:
        try:
            return prepare(item)
        except DataError as error:
            return error

    waiting: deque[Future[NDArray[np.generic] | DataError]] = deque()
    for item in items:
        waiting.append(pool.submit(attempt, item))
        if len(waiting) >= ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
