"""Locks between processes, which the kernel releases when their process ends or is killed."""

import os
import platform
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from mvsa_pipe.disk import make_folder, storage_errors
from mvsa_pipe.errors import CacheError, MvsaError

# Retries: the lock file may be removed together with what it locks at this moment.
_PATIENCE_SECONDS = 0.2


@contextmanager
def locked(file: Path, patience_seconds: float = 0.0) -> Iterator[bool]:
    """Locks a file if no other process has locked it; yields whether this process has.

    Args:
        file: The lock file, which is made.
        patience_seconds: How long to try again.
    """
    from filelock import FileLock, Timeout  # takes half as long as the other imports of durable

    lock = FileLock(file)
    try:
        lock.acquire(timeout=patience_seconds, poll_interval=max(patience_seconds / 4, 0.01))
    except Timeout:
        own = False
    else:
        own = True
    try:
        yield own
    finally:
        if own:
            lock.release()


def lock_file(path: Path) -> Path:
    """The lock file of a file that several processes may replace."""
    return path.with_name(f".{path.stem}.lock")


@contextmanager
def exclusive(
    path: Path,
    doing: str = "writing this cache",
    refusal: type[MvsaError] = CacheError,
    hint: str = "wait for it to end, then run the same again",
) -> Iterator[None]:
    """Lets one process at a time replace a file.

    The text of the lock file (host, process, start) is only shown to users.

    Args:
        path: The file.
        doing: What the other process is doing, for the message.
        refusal: The error to raise if another process holds the lock.
        hint: What users can do then.

    Raises:
        MvsaError: Another process holds the lock; of type ``refusal``.
        StorageError: The lock file cannot be written.
    """
    make_folder(path.parent)
    file = lock_file(path)
    with ExitStack() as stack:
        with storage_errors(path.parent):
            own = stack.enter_context(locked(file, _PATIENCE_SECONDS))
        if not own:
            raise refusal(f"Another process is {doing}", where=path, found=_holder(file), hint=hint)
        with suppress(OSError):  # such as a full disk
            since = datetime.now(UTC).isoformat(timespec="seconds")
            file.write_text(f"process {os.getpid()} on {platform.node()}, since {since}", "utf-8")
        yield


def _holder(file: Path) -> str:
    try:
        return file.read_text("utf-8", "replace").strip()[:200] or "unknown"
    except OSError:
        return "unknown"
