"""Joins rows of many files to one cache, by copying or by reference."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mvsa_pipe.cache.content import Refusal, Rows, Segment, bounds_of
from mvsa_pipe.cache.reading import FeatureFile
from mvsa_pipe.progress import OnUnits, ignore_units

# Bytes that are copied at a time; they are in memory twice.
JOIN_BYTES = 8 * 2**20


class RowLocation(NamedTuple):
    """Location of the features of one post.

    Attributes:
        file: The file.
        row: Its row there.
    """

    file: FeatureFile
    row: int

    @property
    def id(self) -> str:
        """The post."""
        return self.file.header.ids[self.row]

    @property
    def digest(self) -> str:
        """Digest of the content that its features were computed from."""
        return self.file.header.digests[self.row]

    @property
    def tokens(self) -> int:
        """Tokens of a text."""
        offsets = self.file.header.offsets
        return 0 if offsets is None else int(offsets[self.row + 1] - offsets[self.row])

    @property
    def payload_bytes(self) -> int:
        """Bytes of its features."""
        header = self.file.header
        states = header.tokens if header.offsets is None else self.tokens
        vectors = 1 + states * header.layers
        return vectors * header.width * np.dtype(header.fingerprint.dtype.value).itemsize


def offsets_of(places: Sequence[RowLocation]) -> NDArray[np.int64] | None:
    """Token offsets ``[N + 1]`` of texts in a new order; ``None`` for images."""
    if not places or places[0].file.header.offsets is None:
        return None
    lengths = np.fromiter((place.tokens for place in places), np.int64, len(places))
    return bounds_of(lengths)


def blocks(
    places: Sequence[RowLocation], most_bytes: int = 0, on_bytes: OnUnits = ignore_units
) -> Iterator[Rows]:
    """The rows at some locations in their order, in blocks of bounded size."""
    start, held = 0, 0
    for stop, place in enumerate(places):
        if held and held + place.payload_bytes > (most_bytes or JOIN_BYTES):
            yield gathered(places[start:stop])
            on_bytes(held)
            start, held = stop, 0
        held += place.payload_bytes
    if held:
        yield gathered(places[start:])
        on_bytes(held)


def gathered(places: Sequence[RowLocation]) -> Rows:
    """The rows at some locations, of any files; adjacent rows are one read."""
    first = places[0].file.header
    pieces: list[NDArray[Any]] = [np.empty(0)] * len(places)
    pooled = np.empty((len(places), first.width), first.fingerprint.dtype.value)
    of_file: dict[int, list[int]] = {}
    for at, place in enumerate(places):
        of_file.setdefault(id(place.file), []).append(at)
    for here in of_file.values():
        file = places[here[0]].file
        rows = np.array([places[at].row for at in here], np.int64)
        pooled[here] = file.pooled(rows)
        hidden, bounds = file.hidden(rows)
        for k, at in enumerate(here):
            pieces[at] = hidden[bounds[k] : bounds[k + 1]]
    text = first.offsets is not None
    return Rows(
        ids=[place.id for place in places],
        digests=[place.digest for place in places],
        pooled=pooled,
        hidden=np.concatenate(pieces),
        lengths=np.array([len(piece) for piece in pieces], np.int64) if text else None,
    )


def segments_of(places: Sequence[RowLocation]) -> list[Segment]:
    """Runs of adjacent rows of one part, for a file that refers to them."""
    return [_segment(run) for _, group in groupby(enumerate(places), _run) for run in [list(group)]]


def _run(numbered: tuple[int, RowLocation]) -> tuple[int, int]:
    number, place = numbered
    return id(place.file), place.row - number


def _segment(run: Sequence[tuple[int, RowLocation]]) -> Segment:
    file, first, last = run[0][1].file, run[0][1].row, run[-1][1].row
    offsets = file.header.offsets
    entry, end = (first, last + 1) if offsets is None else (offsets[first], offsets[last + 1])
    return Segment(
        name=file.path.name,
        size=file.path.stat().st_size,
        part_rows=len(file.header.ids),
        part_entries=file.header.hidden_shape[0],
        row=first,
        rows=last + 1 - first,
        entry=int(entry),
        entries=int(end - entry),
        pooled=file.place_of("pooled"),
        hidden=file.place_of("hidden"),
    )


def checksums_of(places: Sequence[RowLocation]) -> NDArray[np.uint64]:
    """Checksums ``[N, 2]`` of the rows at some locations, from their files."""
    return np.array([place.file.checksums[place.row] for place in places], np.uint64)


def bytes_of(places: Iterable[RowLocation]) -> int:
    """Bytes of all features at some locations."""
    return sum(place.payload_bytes for place in places)


def sort_refusals(refused: Iterable[Refusal], order: Sequence[str]) -> tuple[Refusal, ...]:
    """Refusals sorted by an order of post ids; posts that it lacks come last, by id."""
    rows = list(refused)
    ids = {row.id for row in rows}  # few, while the order may have a million posts
    position = {post_id: n for n, post_id in enumerate(order) if post_id in ids}
    return tuple(sorted(rows, key=lambda row: (position.get(row.id, len(order)), row.id)))
