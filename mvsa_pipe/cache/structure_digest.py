"""A digest of everything in a feature file except its features, which have their own checksums.

HDF5 does not check all bytes of its structure when it opens a file, nor bytes between objects. With
this digest, ``mvsa cache verify`` finds a change of any byte.
"""

import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import xxhash

STRUCTURE_LENGTH = 32

_BLOCK = 2**20

# Files of version 0.1 contain a second copy of their structure, after this head: a mark, the
# digest, and the numbers that begin the digest's input.
_OLD_MARK = b"mvsa-pipe spare\n"
_OLD_HEAD = struct.Struct("<16s16s9Q")
_RUNS = 4

# First byte and length of a range of bytes in a file.
ByteRange = tuple[int, int]


@dataclass(frozen=True)
class Structure:
    """Locations of the features in a file, and of the digest of everything else.

    Attributes:
        features: Ranges of bytes with their own checksums.
        digest: The digest as text, or the copy of the structure in files of version 0.1; ``None``
            in older files.
        old: Whether ``digest`` is such a copy.
    """

    features: tuple[ByteRange, ...]
    digest: ByteRange | None
    old: bool = False

    def is_whole(self, descriptor: int) -> bool:
        """Whether no byte was changed, added or removed; true for a file without a digest."""
        if self.digest is None:
            return True
        wanted = digest_beside(descriptor, [*self.features, self.digest])
        place, length = self.digest
        if not self.old:
            return os.pread(descriptor, length, place) == wanted.encode()
        head = os.pread(descriptor, _OLD_HEAD.size, place)
        if len(head) < _OLD_HEAD.size or head[:32] != _OLD_MARK + bytes.fromhex(wanted):
            return False
        copy = xxhash.xxh3_128(head[32:])
        for block in _blocks(descriptor, (place + len(head), length - len(head))):
            copy.update(block)
        return bool(copy.hexdigest() == wanted)


def digest_beside(descriptor: int, holes: Sequence[ByteRange]) -> str:
    """XXH3-128 of a file without some ranges of bytes, and of the locations of the others."""
    end = os.fstat(descriptor).st_size
    runs = _beside(end, holes)
    numbers = [number for run in runs for number in run]
    digest = xxhash.xxh3_128(struct.pack("<9Q", end, *numbers, *[0] * (2 * _RUNS - len(numbers))))
    for run in runs:
        for block in _blocks(descriptor, run):
            digest.update(block)
    return digest.hexdigest()


def _beside(end: int, holes: Sequence[ByteRange]) -> list[ByteRange]:
    """The ranges between ``holes`` in a file of ``end`` bytes."""
    runs, at = [], 0
    for first, length in [*sorted(holes), (end, 0)]:
        if first > at:
            runs.append((at, first - at))
        at = max(at, first + length)
    return runs


def _blocks(descriptor: int, run: ByteRange) -> Iterator[bytes]:
    first, length = run
    for at in range(0, length, _BLOCK):
        yield os.pread(descriptor, min(_BLOCK, length - at), first + at)
