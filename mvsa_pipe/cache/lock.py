"""One writer a cache: a lock that the kernel lets go of when its process ends, however it ends.

What the lock's file says (host, process, start) is for people: nobody has to judge by it whether
the owner still lives, so a stale file keeps nobody out and needs no hand.
"""

import fcntl
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from mvsa_pipe.durable import make_folder, storage_errors
from mvsa_pipe.errors import CacheError
from mvsa_pipe.provenance import now


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
    with storage_errors(path.parent):
        lock = _locked(path)
    with lock:
        yield


def _locked(path: Path) -> IO[str]:
    while True:
        lock = lock_file(path).open("a+", encoding="utf-8")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Who removes a cache removes its lock's file, perhaps between our two calls; a lock on
            # a file that nobody can find any more keeps nobody out.
            if _same_file(lock, lock_file(path)):
                lock.truncate(0)
                lock.write(f"process {os.getpid()} on {platform.node()}, since {now()}")
                lock.flush()
                return lock
        except BlockingIOError as error:
            lock.seek(0)
            holder = lock.read().strip() or "unknown"
            lock.close()
            raise CacheError(
                "Another process is writing this cache",
                where=path,
                found=holder,
                hint="wait for it to end, then run the same again",
            ) from error
        except BaseException:
            lock.close()
            raise
        lock.close()


def _same_file(opened: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(opened.fileno()), path.stat())
    except FileNotFoundError:
        return False
