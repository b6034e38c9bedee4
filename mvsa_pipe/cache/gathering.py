"""Reads ranges of bytes out of one or several files into one buffer, checking every row.

Neighbours come in one read. Reads go in blocks that a processor's cache holds, and each row is
checked while it lies there. Threads share large reads block by block: while one checks, another
reads, and one that is held up by other work on the machine holds up nobody else.
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

from mvsa_pipe.cache.layout import PARTS_SUFFIX
from mvsa_pipe.durable import storage_errors
from mvsa_pipe.errors import CacheError

_BLOCK_BYTES = 2**20

# Below this many bytes another thread costs more than it saves.
_THREADED_BYTES = 4 * 2**20
_MOST_THREADS = 4

Stamp = tuple[int, int, int]


@dataclass(frozen=True)
class Source:
    """Where some neighbouring rows lie: in the cache file itself, or in one of its parts.

    Attributes:
        path: The file.
        stamp: Which file it must be, if it is the cache file itself.
        size: Its bytes, if it is a part.
        place: Where the first of its entries begins, in bytes.
        first: The number of that entry among all entries of the cache.
    """

    path: Path
    stamp: Stamp | None
    size: int | None
    place: int
    first: int

    def open(self) -> FileIO:
        """Opens it.

        Raises:
            CacheError: It is gone, or is not the file that the cache means.
            StorageError: It may not be read.
        """
        if not self.path.is_file():
            raise damaged(self.path, "the file, or a part of the cache, is gone")
        file = open_file(self.path)
        if self.stamp not in (None, stamp_of(file)):
            file.close()
            raise CacheError(
                "This cache was replaced by a newer one while it was being read",
                where=self.path,
                hint="run the same again",
            )
        if self.size not in (None, os.fstat(file.fileno()).st_size):
            file.close()
            raise damaged(self.path, "a part of the cache is of another size")
        return file


@dataclass(frozen=True)
class Ranges:
    """What to read: for every row a run of entries, end to end into one buffer.

    Attributes:
        starts: First entry of each row ``[n]``.
        lengths: How many entries each row has ``[n]``.
        entry_bytes: Bytes of one entry.
        checksums: What the bytes of each row must hash to ``[n]``.
    """

    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    entry_bytes: int
    checksums: NDArray[np.uint64]


def gather(sources: Sequence[Source], ranges: Ranges, into: memoryview) -> list[int]:
    """Fills a buffer; returns the places in ``ranges`` of rows that do not match their checksum.

    Raises:
        CacheError: A file is gone, was replaced, or is cut short.
        StorageError: A file may not be read.
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
    """What reading all blocks found, this thread and its helpers taking the next in turn."""
    waiting = iter(blocks)

    def read_some() -> list[int]:
        return [row for block in waiting for row in read(block)]

    others = [_helpers(os.getpid()).submit(read_some) for _ in range(threads - 1)]
    try:
        hit = read_some()
    finally:
        begun = [other for other in others if not other.cancel()]
        wait(begun)  # they read into the caller's buffer, from its files
    return sorted([*hit, *(row for other in begun for row in other.result())])


@cache
def _helpers(_: int) -> ThreadPoolExecutor:
    """The threads of one process, by its number: a fork has none of its parent's."""
    return ThreadPoolExecutor(_MOST_THREADS - 1, "gather")


def _blocks(
    ranges: Ranges, of_source: NDArray[np.int64], ends: NDArray[np.int64]
) -> list[tuple[int, int]]:
    """Runs of neighbouring rows of one source, of bounded size."""
    starts, lengths = ranges.starts, ranges.lengths
    apart = (starts[1:] != starts[:-1] + lengths[:-1]) | (of_source[1:] != of_source[:-1])
    full = ends[1:] // _BLOCK_BYTES != ends[:-1] // _BLOCK_BYTES
    cuts = np.flatnonzero(apart | full) + 1
    return list(pairwise([0, *cuts.tolist(), len(starts)]))


def read_at(descriptor: int, path: Path, position: int, into: memoryview) -> None:
    """Fills a buffer from a place in a file.

    Raises:
        CacheError: The file ends before.
        StorageError: It may not be read.
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
        StorageError: It may not be read.
    """
    with storage_errors(path):
        return FileIO(path)


def stamp_of(file: FileIO) -> Stamp:
    """Which file this is: what is renamed into its place has another stamp."""
    status = os.fstat(file.fileno())
    return (status.st_dev, status.st_ino, status.st_size)


def damaged(path: Path, cause: object) -> CacheError:
    """The error for a file that cannot be read as a feature file."""
    cache, whole, way_out = path, path, ""
    if path.parent.suffix == PARTS_SUFFIX:
        whole = path.parent.with_suffix(".h5")
        if whole.is_file() or not path.is_file():  # no other part can stand without this one
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
