"""One writer for each cache: a lock that the kernel releases when its process ends or is killed.

The text of the lock file (host, process, start) is only shown to users.
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

# Retries: the lock file may be removed together with the cache at this moment.
_PATIENCE_SECONDS = 0.2


def lock_file(path: Path) -> Path:
    """The lock file of a cache."""
    return path.with_name(f".{path.stem}.lock")


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Locks a cache for writing.

    Raises:
        CacheError: Another process holds the lock.
        StorageError: The lock file cannot be written.
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
