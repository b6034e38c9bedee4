"""One writer a cache: a lock that the kernel releases when its process ends, however it ends.

The text of the lock's file (host, process, start) is for people; it decides nothing.
"""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from mvsa_pipe.durable import make_folder, storage_errors
from mvsa_pipe.errors import CacheError
from mvsa_pipe.provenance import now

# How long a lock is tried for: its file may just be removed together with the cache.
_PATIENCE_SECONDS = 0.2


def lock_file(path: Path) -> Path:
    """The file whose lock stands for a cache."""
    return path.with_name(f".{path.stem}.lock")


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Holds a cache for writing.

    Raises:
        CacheError: Another process writes it now.
        StorageError: The disk refuses.
    """
    make_folder(path.parent)
    file = lock_file(path)
    lock = FileLock(file)
    with storage_errors(path.parent):
        try:
            lock.acquire(timeout=_PATIENCE_SECONDS, poll_interval=_PATIENCE_SECONDS / 4)
        except Timeout as error:
            raise CacheError(
                "Another process is writing this cache",
                where=path,
                found=_holder(file),
                hint="wait for it to end, then run the same again",
            ) from error
    try:
        with suppress(OSError):  # such as a full disk
            file.write_text(f"process {os.getpid()} on {platform.node()}, since {now()}", "utf-8")
        yield
    finally:
        lock.release()


def _holder(file: Path) -> str:
    try:
        return file.read_text("utf-8", "replace").strip()[:200] or "unknown"
    except OSError:
        return "unknown"
