"""Stamps that identify versions of a file, for memos of what was computed from files."""

import os
from pathlib import Path

# A file could change again this soon without a different time stamp.
SETTLED_SECONDS = 2.0


def file_stamp(path: Path | str) -> tuple[int, ...]:
    """Size, latest of the times, both times (nanoseconds since 1970), and inode of a file."""
    status = os.stat(path)  # noqa: PTH116  # twice as fast as Path.stat, and called for every post
    times = status.st_mtime_ns, status.st_ctime_ns
    return (status.st_size, max(times), *times, status.st_ino)


def is_settled(stamp: tuple[int, ...], since: float) -> bool:
    """Whether a file had not changed for some time when reading it began.

    Otherwise it may change again without a different stamp, and results must not be remembered.

    Args:
        stamp: The file's stamp; of a storage, it may have more numbers.
        since: When reading began, in seconds since 1970.
    """
    return stamp[1] / 1e9 + SETTLED_SECONDS < since
