"""A second copy of everything in a feature file but its features, in the file itself.

One changed byte of structure can keep HDF5 from finding anything in a file whose features are all
there. Such a file gets its structure back from the copy, bit for bit, and one that was cut short
gets a structure that says which rows are gone. The copy stands before the features, which are
nearly all of a file, and is found by its first bytes alone.
"""

import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import xxhash

from mvsa_pipe.durable import storage_errors

# What a copy begins with: its mark, the digest of all that follows, the length of the whole file,
# and up to four runs of bytes of it, as first byte and length; then those bytes, end to end.
_MARK = b"mvsa-pipe spare\n"
_HEAD = struct.Struct("<16s16s9Q")
_RUNS = 4
_BLOCK = 2**20

Run = tuple[int, int]


@dataclass(frozen=True)
class Spare:
    """A copy that is whole.

    Attributes:
        place: Where it begins in its file.
        end: How long that file was.
        runs: First byte and length of each run that it holds.
    """

    place: int
    end: int
    runs: tuple[Run, ...]


def spare_bytes(structure: int) -> int:
    """How long the copy of so many bytes is."""
    return _HEAD.size + structure


def runs_beside(end: int, holes: Sequence[Run]) -> tuple[Run, ...]:
    """What lies in a file of so many bytes beside some runs of it."""
    runs, at = [], 0
    for first, length in [*sorted(holes), (end, 0)]:
        if first > at:
            runs.append((at, first - at))
        at = first + length
    return tuple(runs)


def write_spare(file: BinaryIO, place: int, runs: Sequence[Run]) -> None:
    """Copies what lies in some runs of a file, which is written to its end, to a place in it."""
    end = os.fstat(file.fileno()).st_size
    plain = [number for run in runs for number in run]
    head = struct.pack("<9Q", end, *plain, *[0] * (2 * _RUNS - len(plain)))
    digest, at = xxhash.xxh3_128(head), place + _HEAD.size
    for block in _blocks(file, runs):
        digest.update(block)
        at += _write(file, at, block)
    _write(file, place, _MARK + digest.digest() + head)


def find_spare(path: Path) -> Spare | None:
    """The copy in a file, wherever it is, if it is whole.

    Raises:
        StorageError: The file may not be read.
    """
    with storage_errors(path), path.open("rb", buffering=0) as file:
        for place in _marks(file):
            spare = _checked(file, place)
            if spare is not None:
                return spare
    return None


def is_current(path: Path, spare: Spare) -> bool:
    """Whether a file's structure is what its copy says.

    Raises:
        StorageError: The file may not be read.
    """
    with storage_errors(path), path.open("rb", buffering=0) as file:
        if os.fstat(file.fileno()).st_size != spare.end:
            return False
        pairs = zip(_blocks(file, spare.runs), _copied(file, spare), strict=True)
        return all(there == copied for there, (_, copied) in pairs)


def put_back(path: Path, spare: Spare) -> None:
    """Gives a file the structure that its copy says, in place.

    A kill in between loses nothing, as the copy stays. What is missing of a file that was cut is
    filled with zeros, which rows' checksums tell from features.

    Raises:
        StorageError: The disk refuses.
    """
    with storage_errors(path), path.open("r+b", buffering=0) as file:
        os.ftruncate(file.fileno(), spare.end)
        for at, block in _copied(file, spare):
            _write(file, at, block)
        os.fsync(file.fileno())


def _marks(file: BinaryIO) -> Iterator[int]:
    """Where something begins as a copy does."""
    at, before = 0, b""
    while block := os.pread(file.fileno(), _BLOCK, at):
        text, found = before + block, -1
        while (found := text.find(_MARK, found + 1)) >= 0:
            yield at - len(before) + found
        at, before = at + len(block), text[1 - len(_MARK) :]


def _checked(file: BinaryIO, place: int) -> Spare | None:
    head = os.pread(file.fileno(), _HEAD.size, place)
    if len(head) < _HEAD.size:
        return None
    _, wanted, end, *plain = _HEAD.unpack(head)
    runs = [(plain[n], plain[n + 1]) for n in range(0, 2 * _RUNS, 2) if plain[n + 1]]
    size = os.fstat(file.fileno()).st_size
    if place + _HEAD.size + sum(length for _, length in runs) > size:
        return None
    if any(first + length > end for first, length in runs):
        return None
    spare = Spare(place, end, tuple(runs))
    digest = xxhash.xxh3_128(head[32:])
    for _, block in _copied(file, spare):
        digest.update(block)
    return spare if digest.digest() == wanted else None


def _copied(file: BinaryIO, spare: Spare) -> Iterator[tuple[int, bytes]]:
    """The blocks of a copy, each with where it belongs."""
    shift = spare.place + _HEAD.size
    for first, length in spare.runs:
        for at in range(0, length, _BLOCK):
            count = min(_BLOCK, length - at)
            yield first + at, os.pread(file.fileno(), count, shift + at)
        shift += length


def _blocks(file: BinaryIO, runs: Sequence[Run]) -> Iterator[bytes]:
    for first, length in runs:
        for at in range(0, length, _BLOCK):
            yield os.pread(file.fileno(), min(_BLOCK, length - at), first + at)


def _write(file: BinaryIO, place: int, data: bytes) -> int:
    raw = memoryview(data)
    while raw:
        count = os.pwrite(file.fileno(), raw, place)
        raw, place = raw[count:], place + count
    return len(data)
