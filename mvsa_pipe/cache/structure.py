"""A digest of everything in a feature file but its features, which have checksums of their own.

HDF5 does not check all bytes of its structure when it opens a file, and reads none that lie between
two objects. ``mvsa cache verify`` finds a change of any of them by this digest.
"""

import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import xxhash

STRUCTURE_LENGTH = 32

_BLOCK = 2**20

# Files of version 0.1 hold a second copy of their structure, behind this head: a mark, the digest,
# the numbers that it begins with.
_OLD_MARK = b"mvsa-pipe spare\n"
_OLD_HEAD = struct.Struct("<16s16s9Q")
_RUNS = 4

# First byte and length of some bytes in a file.
Run = tuple[int, int]


@dataclass(frozen=True)
class Structure:
    """Where in a file its features lie, and where the digest of all else.

    Attributes:
        features: Runs of bytes that have checksums of their own.
        digest: The digest, as text, or in files of version 0.1 the copy that begins with it;
            ``None`` in still older files.
        old: Whether it is such a copy.
    """

    features: tuple[Run, ...]
    digest: Run | None
    old: bool = False

    def is_whole(self, descriptor: int) -> bool:
        """Whether no byte was changed, added or cut off; of a file without a digest unknown."""
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


def digest_beside(descriptor: int, holes: Sequence[Run]) -> str:
    """XXH3-128 of a file without some runs of its bytes, and of where those lie."""
    end = os.fstat(descriptor).st_size
    runs = _beside(end, holes)
    numbers = [number for run in runs for number in run]
    digest = xxhash.xxh3_128(struct.pack("<9Q", end, *numbers, *[0] * (2 * _RUNS - len(numbers))))
    for run in runs:
        for block in _blocks(descriptor, run):
            digest.update(block)
    return digest.hexdigest()


def _beside(end: int, holes: Sequence[Run]) -> list[Run]:
    """What lies in a file of so many bytes beside some runs of it."""
    runs, at = [], 0
    for first, length in [*sorted(holes), (end, 0)]:
        if first > at:
            runs.append((at, first - at))
        at = max(at, first + length)
    return runs


def _blocks(descriptor: int, run: Run) -> Iterator[bytes]:
    first, length = run
    for at in range(0, length, _BLOCK):
        yield os.pread(descriptor, min(_BLOCK, length - at), first + at)
