"""The folder, archive or file at the path that a user named, and its data set's name."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from mvsa_pipe.disk import MOST_NAME_BYTES, name_fault
from mvsa_pipe.errors import ConfigError, DataError
from mvsa_pipe.posts.storage.base import TABLE_BYTES, TEXT_BYTES, FolderStorage, Storage
from mvsa_pipe.posts.storage.zip_archive import ZipStorage

# A marker file with the name of a data set.
MARKER = "mvsa.json"

_NAME = re.compile(r"\w+(?:[-.]\w+)*")


@dataclass(frozen=True)
class DatasetPath:
    """A folder or file in a storage where a data set may be.

    Attributes:
        path: The path that the user named.
        storage: The storage of the files.
        prefix: The folder inside the storage, empty or with a final ``/``.
        file: The file that the user named, relative to the storage; ``None`` for a folder.
    """

    path: Path
    storage: Storage
    prefix: str = ""
    file: str | None = None

    def files(self) -> list[str]:
        """Sorted names of the files in this folder, or of the one file."""
        if self.file is not None:
            return [self.file]
        return sorted(name for name in self.below() if "/" not in name)

    def below(self) -> list[str]:
        """Relative paths of all files in this folder and below."""
        if not self.prefix:
            return list(self.storage.names())
        start = len(self.prefix)
        return [name[start:] for name in self.storage.names() if name.startswith(self.prefix)]

    def folders(self) -> list["DatasetPath"]:
        """The subfolders, without hidden ones."""
        if self.file is not None:
            return []
        names = {name.partition("/")[0] for name in self.below() if "/" in name}
        return [
            DatasetPath(self.path, self.storage, f"{self.prefix}{name}/")
            for name in sorted(names)
            if not name.startswith(".")
        ]

    def has(self, name: str) -> bool:
        """Whether there is a file of this relative name."""
        return self.storage.has(self.prefix + name)

    def read(self, name: str, most: int = TABLE_BYTES) -> bytes:
        """The bytes of a file by its relative name; more than ``most`` are refused."""
        return self.storage.read(self.prefix + name, most)

    def where(self, name: str = "") -> str:
        """The name of a file here, or of the folder, in messages."""
        return self.storage.where(self.prefix + name).rstrip("/")

    def stem(self) -> str:
        """The name of the file, folder or archive, without its suffix."""
        if self.file is not None:
            return Path(self.file).stem
        folder = self.prefix.rstrip("/").rpartition("/")[2]
        return folder or (self.path.stem if self.path.is_file() else self.path.resolve().name)

    def marked_name(self) -> str | None:
        """The data set's name in a marker file here, if there is one.

        Raises:
            DataError: The marker is invalid.
            ConfigError: The name cannot be used for a folder.
        """
        if not self.has(MARKER):
            return None
        try:
            name = json.loads(self.read(MARKER, TEXT_BYTES))["name"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise DataError(
                "This marker file names no data set",
                where=self.where(MARKER),
                expected='JSON such as {"name": "my-posts"}',
                hint="correct it or remove it",
            ) from error
        return checked_name(name if isinstance(name, str) else f"<{name!r}>", self.where(MARKER))


def declared_ceilings(storage: Storage) -> dict[str, float]:
    """Best possible accuracies by what a reader sees, from the marker file of a data set.

    Empty if there is no marker file, or it declares none.

    Raises:
        DataError: The marker is invalid.
    """
    if not storage.has(MARKER):
        return {}
    try:
        declared = json.loads(storage.read(MARKER, TEXT_BYTES)).get("ceilings", {})
        found = {str(name): float(value) for name, value in declared.items()}
        if not all(0 <= value <= 1 for value in found.values()):
            raise ValueError(f"{list(found.values())}")
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise DataError(
            "The ceilings in this marker file cannot be read",
            where=storage.where(MARKER),
            expected='"ceilings": names and accuracies from 0 to 1',
            found=error,
            hint="correct or remove them",
        ) from error
    return found


def open_path(path: Path) -> DatasetPath:
    """Opens a path.

    Raises:
        DataError: It does not exist, is an empty folder, or an unreadable archive.
    """
    if path.is_dir():
        storage = FolderStorage(path)
        if not storage.names():
            raise DataError(
                "This folder is empty",
                where=path,
                expected="a data set",
                hint="put the posts there, or name another folder with --data PATH",
            )
        return DatasetPath(path, storage)
    if not path.exists():
        raise DataError(
            "There is nothing at this path",
            where=path,
            expected="a folder, a zip archive or a table of posts",
            hint="name the posts with --data PATH; mvsa data check PATH shows what is there",
        )
    if path.suffix.lower() == ".zip":
        return DatasetPath(path, ZipStorage(path))
    return DatasetPath(path, FolderStorage(path.parent), file=path.name)


def checked_name(name: str, where: object) -> str:
    """A data set's name, safe as a folder's name and as a part of a protocol tag.

    Raises:
        ConfigError: It has other characters than letters, digits, and single ``-``, ``_`` or ``.``,
            or is too long.
    """
    if name_fault(name) or not _NAME.fullmatch(name):
        raise ConfigError(
            "A data set's name cannot be used",
            where=where,
            expected=f"letters and digits joined by '-', '_' or '.', {MOST_NAME_BYTES} bytes at "
            "most",
            found=repr(name[:80]),
        )
    return name
