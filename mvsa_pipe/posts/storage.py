"""Where a data set's bytes lie: a folder, or a zip that is read in place."""

import os
import threading
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

from mvsa_pipe.errors import DataError, name_some

# No text, table or picture of a data set comes near this; an entry that claims more is a zip bomb.
MAX_ENTRY_BYTES = 2**30

# What most texts fit into, and then what few pictures do: memory for more would be handed out and
# taken back for every file.
_FIRST_BYTES, _MORE_BYTES = 2**12, 2**20


class Storage(ABC):
    """Read-only files under one root, named by ``/``-separated relative paths.

    Attributes:
        root: The folder or archive that the user named.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._head = f"{root}/"  # made once, as every file's path begins with it

    @abstractmethod
    def names(self) -> Collection[str]:
        """Relative paths of all files."""

    @abstractmethod
    def has(self, name: str) -> bool:
        """Whether there is a file of that name; cheaper than listing them all."""

    @abstractmethod
    def size(self, name: str) -> int:
        """Bytes in one file.

        Raises:
            DataError: There is no such file.
        """

    @abstractmethod
    def stamp(self, name: str) -> tuple[int, ...]:
        """What changes when a file does: size, latest time (nanoseconds since 1970), and more.

        Raises:
            DataError: There is no such file.
        """

    @abstractmethod
    def read(self, name: str) -> bytes:
        """The bytes of one file; safe to call from several threads at once.

        Raises:
            DataError: There is no such file, or it cannot be read.
        """

    def where(self, name: str) -> str:
        """How a message names one file."""
        return self._head + name


class FolderStorage(Storage):
    """Files in a folder; listed once, when first asked for, without hidden folders."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._names: tuple[str, ...] | None = None

    def names(self) -> Collection[str]:
        """Relative paths of all files below the folder, links to folders followed.

        Raises:
            DataError: A folder cannot be listed.
        """
        if self._names is None:
            # a set of them would take twice the space
            self._names = tuple(_files_below(str(self.root), "", set()))
        return self._names

    def has(self, name: str) -> bool:
        """Whether there is a file of that name."""
        try:
            return (self.root / name).is_file()
        # A name too long for the file system, or one with a NUL in it, is no file either.
        except (OSError, ValueError):
            return False

    def size(self, name: str) -> int:
        """Bytes in one file."""
        try:
            return (self.root / name).stat().st_size
        except OSError as error:
            raise DataError("A file cannot be read", where=self.root / name, found=error) from error

    def stamp(self, name: str) -> tuple[int, ...]:
        """Size, latest of its times, both times, and inode."""
        try:
            return _stamp(self.where(name))
        except (OSError, ValueError) as error:
            raise DataError("A file cannot be read", where=self.root / name, found=error) from error

    def read(self, name: str) -> bytes:
        """The bytes of one file."""
        try:
            return _bytes_of(self.where(name))
        except OSError as error:
            raise DataError("A file cannot be read", where=self.root / name, found=error) from error


def _files_below(folder: str, prefix: str, seen: set[tuple[int, int]]) -> Iterator[str]:
    """Names of all files below a folder, each with what stands before it; hidden folders are none.

    ``os.walk`` takes twice the time for a hundred thousand files.
    """
    folders = []
    try:
        status = Path(folder).stat()
        # A link back up would be walked for ever.
        if (status.st_dev, status.st_ino) in seen:
            return
        seen.add((status.st_dev, status.st_ino))
        with os.scandir(folder) as entries:
            for entry in entries:
                if not entry.is_dir():
                    yield prefix + entry.name
                elif not entry.name.startswith("."):
                    folders.append(entry.name)
    except OSError as error:
        raise DataError("A folder cannot be listed", where=folder, found=error) from error
    for name in folders:
        yield from _files_below(f"{folder}/{name}", f"{prefix}{name}/", seen)


def _bytes_of(path: str) -> bytes:
    """All of a file; called for every text, where a file object takes twice the time."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = os.read(descriptor, _FIRST_BYTES)
        if len(data) < _FIRST_BYTES:  # and so the file's end
            return data
        while piece := os.read(descriptor, _MORE_BYTES):
            data += piece
        return data
    finally:
        os.close(descriptor)


def _stamp(path: Path | str) -> tuple[int, ...]:
    status = os.stat(path)  # noqa: PTH116  # twice as fast as Path.stat, and called for every post
    times = status.st_mtime_ns, status.st_ctime_ns
    return (status.st_size, max(times), *times, status.st_ino)


class ZipStorage(Storage):
    """Files in a zip archive, never unpacked.

    Raises:
        DataError: The archive is cut short, is no zip, or holds paths that leave it or clash.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._lock = threading.Lock()
        try:
            self._archive = zipfile.ZipFile(root)
            self._stamp = _stamp(root)
        except (zipfile.BadZipFile, OSError, EOFError, ValueError, NotImplementedError) as error:
            raise DataError(
                "This zip archive cannot be read; it may be cut short",
                where=root,
                found=error,
                hint=f"fetch it again, and try: unzip -t {root}",
            ) from error
        files = [entry.filename for entry in self._archive.infolist() if not entry.is_dir()]
        self._names = frozenset(files)
        try:
            _refuse_unsafe(root, files)
        except DataError:
            self._archive.close()
            raise

    def __reduce__(self) -> tuple[type["ZipStorage"], tuple[Path]]:
        """A worker process opens the archive for itself: a shared position would mix reads."""
        return (ZipStorage, (self.root,))

    def names(self) -> Collection[str]:
        """Relative paths of all files in the archive."""
        return self._names

    def has(self, name: str) -> bool:
        """Whether the archive holds a file of that name."""
        return name in self._names

    def size(self, name: str) -> int:
        """Bytes in one file, unpacked, as the archive's directory says."""
        return self._entry(name).file_size

    def _entry(self, name: str) -> zipfile.ZipInfo:
        try:
            return self._archive.getinfo(name)
        except KeyError as error:
            raise DataError("The archive holds no such file", where=self.where(name)) from error

    def stamp(self, name: str) -> tuple[int, ...]:
        """The archive's own stamp, and where the file lies in it."""
        entry = self._entry(name)
        return (*self._stamp, entry.header_offset, entry.CRC, entry.file_size)

    def read(self, name: str) -> bytes:
        """The bytes of one file, checked against the archive's CRC."""
        entry = self._entry(name)
        if entry.file_size > MAX_ENTRY_BYTES:
            raise DataError(
                "A file in the archive is too large to be part of a data set",
                where=self.where(name),
                expected=f"at most {MAX_ENTRY_BYTES:,} bytes",
                found=f"{entry.file_size:,} bytes, packed into {entry.compress_size:,}",
                hint="do not trust this archive; pack the data set again",
            )
        try:
            return self._read(entry)
        except (
            zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError,
            RuntimeError,  # an encrypted entry
            NotImplementedError,  # a compression method that Python lacks
        ) as error:  # fmt: skip
            raise DataError(
                "A file in the archive cannot be read",
                where=self.where(name),
                found=error,
                hint=f"try: unzip -t {self.root}",
            ) from error

    def _read(self, entry: zipfile.ZipInfo) -> bytes:
        # Opening and closing count the archive's users without a lock of their own; unpacking,
        # the slow part, runs side by side.
        with self._lock:
            stream = self._archive.open(entry)
        try:
            return stream.read()
        finally:
            with self._lock:
                stream.close()


def _refuse_unsafe(root: Path, files: list[str]) -> None:
    for name in files:
        if "\\" in name or name.startswith("/") or ".." in name.split("/"):
            raise DataError(
                "This zip archive holds a path that leads out of it",
                where=root,
                expected="relative paths without '..' or backslashes",
                found=repr(name),
                hint="do not trust this archive; pack the data set again",
            )
    twice = [name for name, count in Counter(files).items() if count > 1]
    if twice:
        raise DataError(
            f"This zip archive holds {len(twice):,} paths twice",
            where=root,
            found=name_some(twice),
            hint="pack the data set again",
        )
