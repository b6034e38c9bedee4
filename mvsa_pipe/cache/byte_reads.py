"""Reads ranges of bytes from one or several files into one buffer and checks every row.

Adjacent ranges are one read. Reads are cut into blocks that fit into the processor's cache, and
each row is checked while it is there. Threads share large reads block by block: while one checks,
another reads, and a slow thread does not delay the others.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from io import FileIO
from itertools import pairwise
from pathlib import Path

import numpy as np
import xxhash
from numpy.typing import NDArray

from mvsa_pipe.cache.content import PARTS_SUFFIX
from mvsa_pipe.disk import storage_errors
from mvsa_pipe.errors import CacheError

_BLOCK_BYTES = 2**20

# For fewer bytes another thread costs more than it saves.
_THREADED_BYTES = 4 * 2**20
_MOST_THREADS = 4

Stamp = tuple[int, int, int]


@dataclass(frozen=True)
class RowFile:
    """Location of adjacent rows: in the cache file itself, or in one of its parts.

    Attributes:
        path: The file.
        stamp: The stamp that the file must have, if it is the cache file itself.
        size: The size that it must have in bytes, if it is a part.
        place: Offset of its first entry in bytes.
        first: Number of that entry among all entries of the cache.
    """

    path: Path
    stamp: Stamp | None
    size: int | None
    place: int
    first: int

    def open(self) -> FileIO:
        """Opens the file.

        Raises:
            CacheError: It is missing or was replaced.
            StorageError: Permission to read is missing.
        """
        if not self.path.is_file():
            raise damaged(self.path, "the file, or a part of the cache, is missing")
        file = open_file(self.path)
        if self.stamp not in (None, open_stamp(file)):
            file.close()
            raise CacheError(
                "This cache was replaced by a newer one while it was being read",
                where=self.path,
                hint="run the same again",
            )
        if self.size not in (None, os.fstat(file.fileno()).st_size):
            file.close()
            raise damaged(self.path, "a part of the cache has another size")
        return file


@dataclass(frozen=True)
class Ranges:
    """What to read: a run of entries for every row, concatenated in one buffer.

    Attributes:
        starts: First entry of each row ``[n]``.
        lengths: Number of entries of each row ``[n]``.
        entry_bytes: Bytes of one entry.
        checksums: Expected checksum of each row ``[n]``.
    """

    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    entry_bytes: int
    checksums: NDArray[np.uint64]


def gather(sources: Sequence[RowFile], ranges: Ranges, into: memoryview) -> list[int]:
    """Fills a buffer; returns the indices in ``ranges`` of rows that do not match their checksum.

    Raises:
        CacheError: A file is missing, was replaced, or is cut short.
        StorageError: Permission to read is missing.
    """
    if not len(ranges.starts):
        return []
    of_source = np.searchsorted([s.first for s in sources], ranges.starts, side="right") - 1
    ends = np.cumsum(ranges.lengths) * ranges.entry_bytes
    with ExitStack() as stack:
        files = {int(n): stack.enter_context(sources[n].open()) for n in np.unique(of_source)}

        def read(block: tuple[int, int]) -> list[int]:
            first, stop = block
            source = sources[of_source[first]]
            place = source.place + (int(ranges.starts[first]) - source.first) * ranges.entry_bytes
            begin = int(ends[first - 1]) if first else 0
            descriptor = files[int(of_source[first])].fileno()
            read_at(descriptor, source.path, place, into[begin : int(ends[stop - 1])])
            hit = []
            for row in range(first, stop):
                end = int(ends[row])
                if xxhash.xxh3_64_intdigest(into[begin:end]) != ranges.checksums[row]:
                    hit.append(row)
                begin = end
            return hit

        threads = min(_MOST_THREADS, os.cpu_count() or 1) if len(into) > _THREADED_BYTES else 1
        return _shared(read, _blocks(ranges, of_source, ends), threads)


def _shared(
    read: Callable[[tuple[int, int]], list[int]], blocks: Sequence[tuple[int, int]], threads: int
) -> list[int]:
    """Reads all blocks with this thread and helpers; each takes the next unread block."""
    waiting = iter(blocks)

    def read_some() -> list[int]:
        return [row for block in waiting for row in read(block)]

    others = [_helpers(os.getpid()).submit(read_some) for _ in range(threads - 1)]
    try:
        hit = read_some()
    finally:
        begun = [other for other in others if not other.cancel()]
        wait(begun)  # they use the caller's buffer and files
    return sorted([*hit, *(row for other in begun for row in other.result())])


@cache
def _helpers(_: int) -> ThreadPoolExecutor:
    """The threads of one process, by its id: a forked process has none of its parent's."""
    return ThreadPoolExecutor(_MOST_THREADS - 1, "gather")


def _blocks(
    ranges: Ranges, of_source: NDArray[np.int64], ends: NDArray[np.int64]
) -> list[tuple[int, int]]:
    """Runs of adjacent rows of one source, of bounded size."""
    starts, lengths = ranges.starts, ranges.lengths
    apart = (starts[1:] != starts[:-1] + lengths[:-1]) | (of_source[1:] != of_source[:-1])
    full = ends[1:] // _BLOCK_BYTES != ends[:-1] // _BLOCK_BYTES
    cuts = np.flatnonzero(apart | full) + 1
    return list(pairwise([0, *cuts.tolist(), len(starts)]))


def read_at(descriptor: int, path: Path, position: int, into: memoryview) -> None:
    """Fills a buffer from a position in a file.

    Raises:
        CacheError: The file is too short.
        StorageError: Permission to read is missing.
    """
    while into:
        with storage_errors(path):
            count = os.preadv(descriptor, [into], position)
        if not count:
            raise damaged(path, "the file is cut short")
        into, position = into[count:], position + count


def open_file(path: Path) -> FileIO:
    """Opens a file for reading.

    Raises:
        StorageError: Permission to read is missing.
    """
    with storage_errors(path):
        return FileIO(path)


def open_stamp(file: FileIO) -> Stamp:
    """Identity of an open file: a file that replaces it by a rename has another stamp."""
    status = os.fstat(file.fileno())
    return (status.st_dev, status.st_ino, status.st_size)


def damaged(path: Path, cause: object) -> CacheError:
    """The error for a file that cannot be read as a feature file."""
    cache, whole, way_out = path, path, ""
    if path.parent.suffix == PARTS_SUFFIX:
        whole = path.parent.with_suffix(".h5")
        if whole.is_file() or not path.is_file():  # the other parts are useless without this one
            cache = whole
        if not path.is_file():
            way_out = "put that part back, or: "
    return CacheError(
        "This cache file is damaged, cut short, or no feature cache",
        where=path,
        found=str(cause).splitlines()[0] if str(cause) else repr(cause),
        hint=f"{way_out}mvsa cache repair {whole}; or mvsa cache remove {cache}, then extract "
        "again",
    )
