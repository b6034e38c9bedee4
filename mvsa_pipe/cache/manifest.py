"""The list of a cache's committed parts, which alone determines the progress of an extraction.

Each part has one line with its own checksum, which is appended and synced after the part's file is
in place. An incomplete last line is ignored; a part without a line is not committed.
"""

import errno
import json
import os
import re
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import xxhash

from mvsa_pipe.disk import storage_errors
from mvsa_pipe.durable import write_bytes
from mvsa_pipe.errors import CacheError

MANIFEST_NAME = "manifest.jsonl"

_PART_NAME = re.compile(r"part-\d{6,9}\.h5", re.ASCII)


@dataclass(frozen=True)
class CachePart:
    """One committed part.

    Attributes:
        name: Its file, beside the manifest.
        posts: Number of its posts.
        size: Bytes of its file.
        seal: The seal of its header, which identifies the file.
    """

    name: str
    posts: int
    size: int
    seal: str


class Manifest:
    """The committed parts in one folder.

    Args:
        folder: The folder of the parts.

    Raises:
        CacheError: A line before the last was changed on disk.
        StorageError: Permission to read is missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / MANIFEST_NAME
        self.parts: list[CachePart] = []
        self._whole_bytes = 0
        if self.path.is_file():
            with storage_errors(self.path):
                self._read(self.path.read_bytes())

    def _read(self, data: bytes) -> None:
        lines = data.splitlines(keepends=True)
        for number, line in enumerate(lines):
            part = _parsed(line)
            if part is not None:
                self.parts.append(part)
                self._whole_bytes += len(line)
            elif number < len(lines) - 1:
                raise CacheError(
                    "The list of this cache's parts was changed on disk",
                    where=self.path,
                    found=f"line {number + 1} does not match its checksum",
                    hint=f"mvsa cache repair {self.folder.with_suffix('.h5')} rebuilds the list",
                )

    @classmethod
    def replaced(cls, folder: Path, parts: Sequence[CachePart]) -> "Manifest":
        """Replaces the list in a folder.

        Raises:
            StorageError: Writing fails; the old list stays.
        """
        write_bytes(folder / MANIFEST_NAME, b"".join(map(_line, parts)))
        return cls(folder)

    def append(self, part: CachePart) -> None:
        """Commits a part whose file is in place.

        Raises:
            StorageError: Writing fails; the part is not committed.
        """
        if not self.path.exists():
            write_bytes(self.path, b"")  # syncs the folder: a power cut cannot lose the new file
        line = _line(part)
        with storage_errors(self.path), self.path.open("ab", buffering=0) as file:
            # Removes an incomplete line, left by a killed process or a full disk.
            file.truncate(self._whole_bytes)
            written = file.write(line)
            if written != len(line):
                file.truncate(self._whole_bytes)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(file.fileno())
        self._whole_bytes += len(line)
        self.parts.append(part)

    def keep(self, names: set[str]) -> None:
        """Removes all parts from the list except those named.

        Raises:
            StorageError: Writing fails; the list stays.
        """
        kept = [part for part in self.parts if part.name in names]
        data = b"".join(map(_line, kept))
        write_bytes(self.path, data)
        self.parts, self._whole_bytes = kept, len(data)

    def discard(self) -> None:
        """Deletes all parts, as far as possible."""
        with suppress(OSError):
            delete_parts(self.folder)
        self.parts, self._whole_bytes = [], 0

    def uncommitted(self) -> list[Path]:
        """Files of killed processes: parts that were not committed, and temporary files."""
        known = {part.name for part in self.parts}
        parts = [path for path in sorted(self.folder.glob("part-*")) if path.name not in known]
        return [*parts, *sorted(self.folder.glob(".*.tmp"))]

    def next_name(self) -> str:
        """A name that no part has, including uncommitted ones."""
        names = {part.name for part in self.parts}
        names |= {path.name for path in self.folder.glob("part-*.h5") if is_part_name(path.name)}
        numbers = [int(name[5:-3]) for name in names]
        return part_name(max(numbers, default=-1) + 1)


def delete_parts(folder: Path) -> None:
    """Deletes a folder of parts: the list, then the parts from the oldest on.

    If it is interrupted, the newest parts are left, which agree with the finished cache.

    Raises:
        OSError: Deleting fails.
    """
    (folder / MANIFEST_NAME).unlink(missing_ok=True)
    for part in sorted(folder.glob("part-*")):
        part.unlink(missing_ok=True)
    if folder.is_dir():
        shutil.rmtree(folder)


def part_name(number: int) -> str:
    """``part-000000.h5``."""
    return f"part-{number:06d}.h5"


def is_part_name(name: object) -> bool:
    """Whether this is the name of a part, without a path."""
    return isinstance(name, str) and _PART_NAME.fullmatch(name) is not None


def _line(part: CachePart) -> bytes:
    record = json.dumps(asdict(part), sort_keys=True).encode()
    return record + f"\t{xxhash.xxh3_64_hexdigest(record)}\n".encode()


def _parsed(line: bytes) -> CachePart | None:
    if not line.endswith(b"\n"):
        return None
    record, _, checksum = line[:-1].rpartition(b"\t")
    if xxhash.xxh3_64_hexdigest(record).encode() != checksum:
        return None
    try:
        part = CachePart(**json.loads(record))
    except (TypeError, ValueError, RecursionError):
        return None
    plain = all(type(number) is int and number >= 0 for number in (part.posts, part.size))
    return part if plain and is_part_name(part.name) and isinstance(part.seal, str) else None
