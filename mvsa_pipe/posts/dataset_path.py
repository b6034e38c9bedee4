"""What lies at the path that a user named: a folder, an archive or one file."""

import json
from dataclasses import dataclass
from pathlib import Path

from mvsa_pipe.errors import DataError
from mvsa_pipe.posts.names import checked_name
from mvsa_pipe.posts.storage import TABLE_BYTES, TEXT_BYTES, FolderStorage, Storage
from mvsa_pipe.posts.zip_storage import ZipStorage

# Names a data set that has no published name of its own.
MARKER = "mvsa.json"


@dataclass(frozen=True)
class DatasetPath:
    """A spot in a storage at which a layout may begin.

    Attributes:
        path: What the user named.
        storage: Where the bytes are.
        prefix: The folder inside the storage, empty or ended by ``/``.
        file: The one file that the user named, relative to the storage, if it is a file.
    """

    path: Path
    storage: Storage
    prefix: str = ""
    file: str | None = None

    def files(self) -> list[str]:
        """Names of the files right here (just the one, if the user named a file), sorted."""
        if self.file is not None:
            return [self.file]
        return sorted(name for name in self.below() if "/" not in name)

    def below(self) -> list[str]:
        """Paths of all files at this place and below, relative to it."""
        if not self.prefix:
            return list(self.storage.names())
        start = len(self.prefix)
        return [name[start:] for name in self.storage.names() if name.startswith(self.prefix)]

    def folders(self) -> list["DatasetPath"]:
        """The places one folder down, without hidden ones."""
        if self.file is not None:
            return []
        names = {name.partition("/")[0] for name in self.below() if "/" in name}
        return [
            DatasetPath(self.path, self.storage, f"{self.prefix}{name}/")
            for name in sorted(names)
            if not name.startswith(".")
        ]

    def has(self, name: str) -> bool:
        """Whether a file lies here, named relative to this place."""
        return self.storage.has(self.prefix + name)

    def read(self, name: str, most: int = TABLE_BYTES) -> bytes:
        """The bytes of a file, named relative to this place; ``most`` of them are plausible."""
        return self.storage.read(self.prefix + name, most)

    def where(self, name: str = "") -> str:
        """How a message names a file here, or the place itself."""
        return self.storage.where(self.prefix + name).rstrip("/")

    def stem(self) -> str:
        """The name of the file, folder or archive, without its suffix."""
        if self.file is not None:
            return Path(self.file).stem
        folder = self.prefix.rstrip("/").rpartition("/")[2]
        return folder or (self.path.stem if self.path.is_file() else self.path.resolve().name)

    def marked_name(self) -> str | None:
        """The name that a marker file here gives the data set, if there is one.

        Raises:
            DataError: The marker is not as this program writes it.
            ConfigError: It names something that cannot be the name of a folder.
        """
        if not self.has(MARKER):
            return None
        try:
            name = json.loads(self.read(MARKER, TEXT_BYTES))["name"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise DataError(
                "This file names no data set",
                where=self.where(MARKER),
                expected='JSON such as {"name": "my-posts"}',
                hint="mend it or remove it",
            ) from error
        return checked_name(name if isinstance(name, str) else f"<{name!r}>", self.where(MARKER))


def open_path(path: Path) -> DatasetPath:
    """What lies at a path.

    Raises:
        DataError: Nothing is there, it is an empty folder, or an archive that cannot be read.
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
