"""Storages of a data set's files: the base class, and folders."""

import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from mvsa_pipe.errors import DataError
from mvsa_pipe.file_stamps import file_stamp

# Most plausible bytes of a post's text, of a picture, and of a table of posts.
TEXT_BYTES, PICTURE_BYTES, TABLE_BYTES = 2**20, 100 * 2**20, 2**30

# Bytes read at a time if the file system reports no size.
_MORE_BYTES = 2**20

# Without O_NONBLOCK, opening a named pipe would block; Windows has neither.
_OPEN = os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0)

# Files that macOS adds to archives and to disks of other systems.
APPLE_PREFIX, APPLE_FOLDER = "._", "__MACOSX"


class TooLargeError(DataError):
    """A file has more bytes than is plausible for its kind."""


class Storage(ABC):
    """Read-only files under one root, named by ``/``-separated relative paths.

    Attributes:
        root: The folder or archive that the user named.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._head = f"{root}/"  # computed once, as every file's path begins with it

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles only the path: processes that share a file position would mix reads."""
        return type(self), (self.root.resolve(),)

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
        """Identifies a version of a file: size, latest time (nanoseconds since 1970), and more.

        Raises:
            DataError: There is no such file.
        """

    @abstractmethod
    def read(self, name: str, most: int = PICTURE_BYTES) -> bytes:
        """The bytes of one file; thread-safe.

        Args:
            name: The file.
            most: Most plausible bytes; a larger file is refused before it is read.

        Raises:
            DataError: The file is missing, unreadable or too large.
        """

    def spellings(self) -> Mapping[str, str]:
        """Other possible names of files whose names have no recorded encoding."""
        return {}

    def where(self, name: str) -> str:
        """The name of a file in messages."""
        return self._head + name


class FolderStorage(Storage):
    """Files in a folder, without hidden folders; listed once, when first needed."""

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
            return stat.S_ISREG(os.stat(self._head + name).st_mode)  # noqa: PTH116  # twice as fast
        # A name that is too long for the file system, or contains a NUL, is not a file.
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
            return file_stamp(self.where(name))
        except (OSError, ValueError) as error:
            raise DataError("A file cannot be read", where=self.root / name, found=error) from error

    def read(self, name: str, most: int = PICTURE_BYTES) -> bytes:
        """The bytes of one file; named pipes and devices are not files."""
        try:
            return _bytes_of(self.where(name), most)
        except (OSError, ValueError) as error:
            raise DataError("A file cannot be read", where=self.root / name, found=error) from error


def _files_below(folder: str, prefix: str, seen: set[tuple[int, int]]) -> Iterator[str]:
    """Names of all files below a folder, with ``prefix``; hidden folders are left out.

    ``os.walk`` takes twice the time for a hundred thousand files.
    """
    folders = []
    try:
        status = Path(folder).stat()
        # A link to a parent folder would be an endless loop.
        if (status.st_dev, status.st_ino) in seen:
            return
        seen.add((status.st_dev, status.st_ino))
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_file():
                    if not entry.name.startswith(APPLE_PREFIX):
                        yield prefix + entry.name
                elif entry.is_dir() and not _is_hidden(entry.name):
                    folders.append(entry.name)
    except OSError as error:
        raise DataError("A folder cannot be listed", where=folder, found=error) from error
    for name in folders:
        yield from _files_below(f"{folder}/{name}", f"{prefix}{name}/", seen)


def _is_hidden(folder: str) -> bool:
    return folder.startswith(".") or folder == APPLE_FOLDER


def _bytes_of(path: str, most: int) -> bytes:
    """All bytes of a file; called for every text, as a file object takes twice the time."""
    descriptor = os.open(path, _OPEN)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError("it is not a regular file")
        if status.st_size > most:
            raise _too_large(path, most, f"{status.st_size:,} bytes")
        data = os.read(descriptor, status.st_size + 1)
        if len(data) == status.st_size:
            return data
        # The file grows, or is generated by the system, which reports no size.
        while piece := os.read(descriptor, _MORE_BYTES):
            data += piece
            if len(data) > most:
                raise _too_large(path, most, f"more than {most:,} bytes")
        return data
    finally:
        os.close(descriptor)


def _too_large(where: str, most: int, found: str) -> TooLargeError:
    return TooLargeError(
        "A file is too large to be what it is read as",
        where=where,
        expected=f"at most {most:,} bytes for {_KIND_OF_BYTES.get(most, 'this file')}",
        found=found,
        hint="inspect the file, then replace or remove it",
    )


def require_picture_size(data: bytes, most: int, where: str) -> bytes:
    """The bytes of a picture that is part of a table or in memory.

    Raises:
        TooLargeError: There are more than ``most``.
    """
    if len(data) > most:
        raise TooLargeError(
            "A picture is too large",
            where=where,
            expected=f"at most {most:,} bytes",
            found=f"{len(data):,} bytes",
        )
    return data


_KIND_OF_BYTES = {
    TEXT_BYTES: "the text of a post",
    PICTURE_BYTES: "a picture",
    TABLE_BYTES: "a list of posts",
}
