"""Names, folders and errors of the disk, where writing starts.

Names may come from data; errors of the operating system become ``StorageError``s.
"""

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mvsa_pipe.errors import MvsaError, StorageError

_RUST_ERROR = re.compile(r"\(os error (\d+)\)")
_TORCH_WRITER = ("inline_container.cc", "PytorchStreamWriter")
# A disk with fewer free bytes counts as full; any checkpoint is larger.
_NO_ROOM_BYTES = 2**16

# Leaves room for suffixes and marks below the 255 bytes of file systems.
MOST_NAME_BYTES = 120
_MOST_FILE_BYTES = 240


def name_fault(name: str, most_bytes: int = MOST_NAME_BYTES) -> str:
    """Why a name cannot name a file or folder; empty if it can."""
    if any(0xD800 <= ord(c) <= 0xDFFF for c in name):
        return "it contains an unpaired surrogate, which no file name can"
    if len(name.encode()) > most_bytes:
        return f"it has {len(name.encode()):,} bytes, and at most {most_bytes} are taken"
    if not name.strip() or name in (".", "..") or any(c in "/\\" or ord(c) < 32 for c in name):
        return "it is not the name of one file or folder"
    return ""


def inside(root: Path, *names: str) -> Path:
    """The path of a file or folder below a root; the names may come from data.

    Raises:
        StorageError: A name cannot be used, or a link leads out of the root.
    """
    path = root.joinpath(*names)
    fault = next((f"{fault}: {name[:80]!r}" for name in names if (fault := _unsafe(name))), "")
    if not fault and root.resolve() not in path.resolve().parents:
        fault = f"it leads to {path.resolve()}"
    if fault:
        raise StorageError(
            "A file or folder would be outside of its folder",
            where=root,
            expected="a name below this folder",
            found=fault,
            hint="give the data set, run or backbone another name, or remove the link",
        )
    return path


def _unsafe(name: str) -> str:
    return name_fault(name, _MOST_FILE_BYTES)


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Converts errors of the disk at ``path`` to a ``StorageError``.

    Raises:
        StorageError: No space, read-only, no permission, or not a folder.
    """
    try:
        yield
    except (MvsaError, KeyboardInterrupt):
        raise
    except OSError as error:
        raise _as_storage_error(error, path) from error
    except Exception as error:
        number = _disk_error_of(error, path)
        if number is None:
            raise
        raise _as_storage_error(OSError(number, os.strerror(number)), path) from error


def _disk_error_of(error: Exception, path: Path) -> int | None:
    """The operating system's error number in another library's error; ``None`` if there is none.

    Libraries in Rust, such as safetensors and tokenizers, end their message with it. ``torch.save``
    reports only that a position in the file is not the expected one.
    """
    found = _RUST_ERROR.search(str(error))
    if found is not None:
        return int(found[1])
    if not any(mark in str(error) for mark in _TORCH_WRITER):
        return None
    there = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    return errno.ENOSPC if shutil.disk_usage(there).free < _NO_ROOM_BYTES else errno.EIO


def _as_storage_error(error: OSError, path: Path) -> StorageError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageError(
            "The disk is full; nothing already committed was lost",
            where=path,
            hint="free some space, or pass another --cache/--runs folder, and run the same again",
        )
    if error.errno == errno.EFBIG:
        return StorageError(
            "A file would grow beyond what this file system or `ulimit -f` allows; nothing "
            "already committed was lost",
            where=path,
            hint="raise the limit, or pass another --cache/--runs folder, and run the same again",
        )
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return StorageError(
            "This path cannot be written to",
            where=path,
            expected="a folder that you may write",
            found=os.strerror(error.errno),
            hint="pass another --cache/--runs folder",
        )
    if error.errno in (errno.ENOTDIR, errno.EEXIST, errno.EISDIR):
        return StorageError(
            "There is a file where a folder is needed, or a folder for a file", where=path
        )
    return StorageError(f"Reading or writing failed: {error}", where=path)


def make_folder(path: Path) -> None:
    """Makes a folder and its parents.

    Raises:
        StorageError: The disk refuses.
    """
    if path.is_dir():
        return
    with storage_errors(path):
        path.mkdir(parents=True, exist_ok=True)
        sync(path.parent)  # or a power cut could take the folder with the synced files in it


def sync(path: Path) -> None:
    """Waits until a file or the entries of a folder are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
