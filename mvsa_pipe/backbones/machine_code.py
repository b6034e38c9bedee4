"""Keeps machine code that numba compiled, so that later processes load it instead of compiling.

numba caches into a folder of pickles and object files without checking them: it loads leftovers of
a crash or a full disk, and a damaged object file can end the process. Here a process compiles in a
temporary folder, and the files become one archive in the user's cache folder: written completely or
not at all, and verified by its checksum before numba reads it. Processes that start together
compile the same code and replace the archive by an equal one.
"""

import hashlib
import os
import platform
import sys
import time
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import llvmlite.binding
import numba
import numpy as np

from mvsa_pipe.durable import write_bytes
from mvsa_pipe.errors import StorageError

_APP = "mvsa-pipe"
# Compiling an archive anew takes seconds, so that one that is still used may be removed, too.
_KEPT_SECONDS = 180 * 24 * 3600
_CONFIG: Any = numba.config
_CHECKSUM = hashlib.sha256

MadeT = TypeVar("MadeT")


def kept(compile_: Callable[[bool], MadeT], source: Path) -> MadeT:
    """Compiles the functions of a source file, or loads their stored machine code.

    If nothing can be written, every process compiles again.

    Args:
        compile_: Compiles, given numba's ``cache``; called again if stored code cannot be used.
        source: The file that contains all of the compiled code.

    Raises:
        RuntimeError: numba is configured not to compile.
    """
    if _CONFIG.DISABLE_JIT:
        raise RuntimeError("numba does not compile: NUMBA_DISABLE_JIT is set")
    archive = archive_of(source)
    files = _unpacked(archive)
    if files:
        with suppress(Exception):  # numba raises any kind of error for files it cannot use
            return _compiled(compile_, files, archive)
    try:
        return _compiled(compile_, {}, archive)
    except (OSError, RuntimeError):  # no folder can be written; numba raises the second
        return compile_(False)


def _compiled(
    compile_: Callable[[bool], MadeT], files: Mapping[str, bytes], archive: Path | None
) -> MadeT:
    """Compiles with some files as numba's cache, and archives the cache if numba changed it."""
    before = _CONFIG.CACHE_DIR
    with TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        for file_name, data in files.items():
            path = folder / file_name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        _CONFIG.CACHE_DIR = name
        try:
            made = compile_(True)
        finally:
            _CONFIG.CACHE_DIR = before
        paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        now = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
    if archive is not None and now != files:
        with suppress(OSError, StorageError):
            write_bytes(archive, _packed(now))
            _remove_old(archive)
    return made


def _remove_old(archive: Path) -> None:
    """Removes archives of the same source that earlier versions or packages left long ago."""
    stem = archive.stem.rpartition("-")[0]
    for other in archive.parent.glob(f"{stem}-*.zip"):
        if other.stat().st_mtime < time.time() - _KEPT_SECONDS:
            other.unlink(missing_ok=True)


def archive_of(source: Path) -> Path | None:
    """The archive for a source file and this machine; ``None`` if there is no cache folder.

    Its name contains a digest of everything that determines the machine code.
    """
    folder = _cache_folder()
    if folder is None:
        return None
    facts = (
        source,
        source.stat().st_mtime_ns,  # numba before 0.67 identifies files by it and the path
        _CHECKSUM(source.read_bytes()).hexdigest(),
        (numba.__version__, llvmlite.__version__, np.__version__, sys.version),
        (platform.system(), platform.machine(), llvmlite.binding.get_host_cpu_name()),
        llvmlite.binding.get_host_cpu_features().flatten(),
        sorted(pair for pair in os.environ.items() if pair[0].startswith("NUMBA_")),
    )
    digest = _CHECKSUM(repr(facts).encode()).hexdigest()[:16]
    return folder / f"{source.stem}-{digest}.zip"


def _cache_folder() -> Path | None:
    """The user's cache folder; ``NUMBA_CACHE_DIR`` takes precedence."""
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    if chosen:
        return Path(chosen) / _APP
    try:
        home = Path.home()
    except RuntimeError:  # a user without a home, as in containers
        return None
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / _APP
    variable = "LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME"
    folder = Path(os.environ.get(variable, ""))
    return (folder if folder.is_absolute() else home / ".cache") / _APP


def _packed(files: Mapping[str, bytes]) -> bytes:
    """Files as a zip archive, after its checksum."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return _CHECKSUM(buffer.getvalue()).digest() + buffer.getvalue()


def _unpacked(archive: Path | None) -> dict[str, bytes]:
    """The files of an archive; none of them if it is missing, unreadable or damaged."""
    try:
        data = b"" if archive is None else archive.read_bytes()
    except OSError:
        data = b""
    size = _CHECKSUM().digest_size
    if _CHECKSUM(data[size:]).digest() != data[:size]:
        return {}
    with zipfile.ZipFile(BytesIO(data[size:])) as content:
        return {name: content.read(name) for name in content.namelist()}
