"""Writes that are whole or absent: temporary file, fsync, rename."""

import errno
import json
import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mvsa_pipe.errors import MvsaError, StorageError

_TEMPORARY = ".tmp"
# Hidden folders that become runs or exports: ``.NAME.1a2b3c4d.tmp``, with a lock file beside them.
_UNFINISHED = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")
# A temporary file without a write for so long belongs to a process that has ended.
_ABANDONED_SECONDS = 24 * 3600

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
        _sync(path.parent)  # or a power cut could take the folder with the synced files in it


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path; without an error inside, its file is synced and replaces ``path``.

    On any error, ``path`` is unchanged and the temporary file is removed.

    Raises:
        StorageError: The disk refuses.
    """
    if not path.name:
        raise StorageError(
            "A folder is in the place of a file that is to be written",
            where=path,
            hint="name another path",
        )
    if path.exists() and not path.is_file() and not path.is_dir():
        with _into_device(path) as elsewhere:
            yield elsewhere
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}{_TEMPORARY}")
    make_folder(path.parent)
    _sweep_files(path)
    try:
        with storage_errors(path):
            yield temporary
            _sync(temporary)
            temporary.replace(path)
            _sync(path.parent)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def _into_device(path: Path) -> Iterator[Path]:
    """Yields a temporary path, whose content is then written to a device or a pipe.

    A rename would replace ``/dev/null`` by a file for the whole machine.
    """
    with tempfile.TemporaryDirectory() as folder, storage_errors(path):
        temporary = Path(folder) / "content"
        yield temporary
        with path.open("wb") as device:
            device.write(temporary.read_bytes())


@contextmanager
def whole_folder(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yields a temporary folder; without an error inside, it is synced and renamed to ``path``.

    Files inside can be written plainly: each is synced once, before the folder is renamed. They get
    the permissions of any new file. After an error, nothing is left; leftovers of killed processes
    are removed.

    Args:
        path: The folder.
        replace: Whether an existing file or folder of that name is replaced.

    Raises:
        StorageError: The disk refuses.
        FileExistsError: The name exists by now, and ``replace`` is false.
    """
    parent = path.resolve().parent
    make_folder(parent)
    from filelock import FileLock  # its import takes half as long as all others of this module

    _sweep_folders(parent)
    folder = parent / f".{path.name}.{secrets.token_hex(4)}{_TEMPORARY}"
    lock = FileLock(_lock_of(folder))
    with storage_errors(path):
        lock.acquire()
        folder.mkdir()  # with the permissions of any new folder
        mode = folder.stat().st_mode
    try:
        with storage_errors(path):
            yield folder
            for item in folder.rglob("*"):
                if item.is_file():
                    item.chmod(mode & 0o666)  # safetensors gives permissions to the owner alone
                _sync(item)
            _sync(folder)
            if replace:
                _set_aside(path)
            free = _moved(folder, path)
            _sync(parent)
        if not free:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.release()
        _lock_of(folder).unlink(missing_ok=True)


def _sweep_folders(parent: Path) -> None:
    """Removes unfinished folders of ended processes, whose locks are free."""
    from filelock import FileLock, Timeout

    for folder in parent.iterdir():
        if not _UNFINISHED.fullmatch(folder.name) or not _is_older(folder, seconds=60):
            continue
        with suppress(OSError, Timeout), FileLock(_lock_of(folder)).acquire(blocking=False):
            shutil.rmtree(folder, ignore_errors=True)
            _lock_of(folder).unlink(missing_ok=True)


def _lock_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")


def _sweep_files(path: Path) -> None:
    """Removes temporary files beside a path that no process can still be writing."""
    for file in leftovers(path):
        if _is_older(file, _ABANDONED_SECONDS):
            with suppress(OSError):
                file.unlink(missing_ok=True)


def _is_older(path: Path, seconds: float) -> bool:
    try:
        return path.stat().st_mtime < time.time() - seconds
    except OSError:
        return False


def _set_aside(path: Path) -> None:
    """Renames, then deletes a file or folder, so that no reader sees it incomplete."""
    if path.is_dir() and not path.is_symlink():
        aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}{_TEMPORARY}")
        with suppress(FileNotFoundError):  # another process replaces it too
            path.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _moved(folder: Path, path: Path) -> bool:
    """Renames a folder unless a folder that is not empty has that name."""
    try:
        folder.rename(path)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY):
            return False
        raise
    return True


def leftovers(path: Path) -> list[Path]:
    """Temporary files that killed processes left beside ``path`` while replacing it.

    Delete them only while no process is replacing the file.
    """
    head = f".{path.name}."
    if not path.parent.is_dir():
        return []
    names = (p for p in path.parent.iterdir() if p.name.startswith(head))
    return [p for p in names if p.name.endswith(_TEMPORARY)]


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: Path, data: bytes | memoryview) -> None:
    """Writes a file completely or not at all.

    Raises:
        StorageError: The disk refuses; an older file at ``path`` is untouched.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_json(path: Path, value: Any) -> None:  # noqa: ANN401  # JSON is any plain value
    """Writes ``value`` as indented JSON, completely or not at all.

    Raises:
        StorageError: The disk refuses.
    """
    write_bytes(path, json_bytes(value))


def json_bytes(value: Any) -> bytes:  # noqa: ANN401
    """``value`` as indented JSON."""
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def write_memo(path: Path, value: Any) -> None:  # noqa: ANN401  # JSON is any plain value
    """Writes JSON that only saves time; errors of the disk are ignored.

    Temporary files of other writers are removed; a process that is still writing loses only its
    memo.
    """
    with suppress(OSError, StorageError):
        for file in leftovers(path):
            file.unlink(missing_ok=True)
        write_bytes(path, json.dumps(value, ensure_ascii=False).encode())
