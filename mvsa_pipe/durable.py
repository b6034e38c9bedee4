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

from mvsa_pipe.disk import make_folder, storage_errors, sync
from mvsa_pipe.errors import StorageError
from mvsa_pipe.locks import locked

_TEMPORARY = ".tmp"
# Hidden folders that become runs or exports: ``.NAME.1a2b3c4d.tmp``, with a lock file beside them.
_UNFINISHED = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")
# A temporary file without a write for so long belongs to a process that has ended.
_ABANDONED_SECONDS = 24 * 3600


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
            sync(temporary)
            temporary.replace(path)
            sync(path.parent)
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
    _sweep_folders(parent)
    folder = parent / f".{path.name}.{secrets.token_hex(4)}{_TEMPORARY}"
    try:
        with storage_errors(path), locked(_lock_of(folder)):
            folder.mkdir()  # with the permissions of any new folder
            mode = folder.stat().st_mode
            try:
                yield folder
                for item in folder.rglob("*"):
                    if item.is_file():
                        item.chmod(mode & 0o666)  # safetensors gives permissions to the owner alone
                    sync(item)
                sync(folder)
                if replace:
                    _set_aside(path)
                free = _moved(folder, path)
                sync(parent)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
    finally:
        _lock_of(folder).unlink(missing_ok=True)
    if not free:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))


def _sweep_folders(parent: Path) -> None:
    """Removes unfinished folders of ended processes, whose locks are free."""
    for folder in parent.iterdir():
        if not _UNFINISHED.fullmatch(folder.name) or not _is_older(folder, seconds=60):
            continue
        with suppress(OSError), locked(_lock_of(folder)) as own:
            if own:
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
