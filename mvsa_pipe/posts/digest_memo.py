"""Remembers digests of picture files, so that unchanged files are not read again.

A digest is valid while the file's size, time stamps and inode are the same. It is stored only if
the file was last written some time before it was read: a file that is written twice within the
resolution of its time stamp is read again.
"""

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path

from mvsa_pipe.durable import write_memo
from mvsa_pipe.errors import DataError
from mvsa_pipe.file_stamps import is_settled
from mvsa_pipe.posts.storage.base import Storage


class DigestMemory:
    """Remembered digests of the files of one storage.

    Args:
        storage: The storage of the files.
        folder: The folder of the memo; ``None`` remembers nothing.
        kind: What is digested; each kind has a file of its own.
    """

    def __init__(self, storage: Storage, folder: Path | None, kind: str = "") -> None:
        self._storage = storage
        self._path = _place(storage, folder, kind) if folder is not None else None
        # A file's stamp and digest in one string, which takes a third of the space of numbers.
        self._known = _read(self._path)
        self._learned: dict[str, str] = {}

    def recall(self, name: str) -> str | None:
        """The remembered digest of a file, if the file is unchanged."""
        known = self._known.get(name)
        if known is None:
            return None
        try:
            line = str(self._storage.stamp(name))
        except DataError:
            return None
        stamp, _, digest = known.rpartition(" ")
        return digest if stamp == line else None

    def learn(self, name: str, digest: Callable[[bytes], str]) -> str:
        """Computes and remembers the digest of a file; thread-safe.

        Raises:
            DataError: The file is missing or cannot be read.
        """
        began = time.time()
        stamp = self._storage.stamp(name)
        found = digest(self._storage.read(name))
        if is_settled(stamp, began):
            self._learned[name] = f"{stamp} {found}"
        return found

    def keep(self) -> None:
        """Saves the digests; failures are ignored, as digests only save time."""
        if self._path is not None and self._learned:
            write_memo(self._path, {**self._known, **self._learned})


def _place(storage: Storage, folder: Path, kind: str) -> Path:
    root = hashlib.sha256(str(storage.root.resolve()).encode()).hexdigest()[:16]
    return folder / ".digests" / f"{root}{kind and '-'}{kind}.json"


def _read(path: Path | None) -> dict[str, str]:
    if path is None:
        return {}
    try:
        known = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    fits = isinstance(known, dict) and all(isinstance(row, str) for row in known.values())
    return known if fits else {}
