"""Finds the pictures that a table names, also if a name differs slightly from the file's."""

import os
import posixpath
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from mvsa_pipe.errors import DataError, name_some
from mvsa_pipe.posts.dataset_path import DatasetPath
from mvsa_pipe.posts.storage.base import FolderStorage, Storage
from mvsa_pipe.posts.storage.zip_archive import ZipStorage
from mvsa_pipe.posts.tables.cells import Cell, RowPicture, plain

# The note that counts pictures that were found under a similar name.
NEAR_NOTE = "pictures-found-by-near-name"

_ENDINGS = ("jpg", "jpeg", "jpe", "jfif", "png", "webp", "gif", "bmp", "avif", "tif", "tiff")
_LINK = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://")
_DRIVE = re.compile(r"[a-zA-Z]:")
_MOST_NEAR = 3


class Found(NamedTuple):
    """Result of the search for one picture.

    Attributes:
        image: Path of the picture in the finder's storage; ``None`` if it is missing.
        sought: The name that was not found, with similar names; empty if it was found.
        fault: Why the name cannot be used; empty if it can.
    """

    image: str | None
    sought: str = ""
    fault: str = ""


class PictureFinder:
    """Finds pictures by their names in a table.

    Names are relative to the table's folder, or to the folder of pictures if one is named. Pictures
    must be inside the path that the user named: an untrusted table cannot make this program read
    any other file. If no file has the name, one that differs in Unicode form, then in case, then in
    suffix is taken, if there is exactly one.

    Args:
        place: The table's folder.
        image_root: The folder or zip archive of pictures, if it is another one.

    Attributes:
        storage: The storage of the pictures.
        notes: Number of pictures found under a similar name.

    Raises:
        DataError: ``image_root`` is neither a folder nor a zip archive.
    """

    def __init__(self, place: DatasetPath, image_root: Path | None = None) -> None:
        self.storage: Storage = place.storage if image_root is None else _root(image_root)
        self.notes: Counter[str] = Counter()
        self._prefix = place.prefix if image_root is None else ""
        self._inside = "the table's folder" if image_root is None else str(image_root)
        self._bases = _spellings_of(self.storage.root)
        # A name that leaves the pictures' folder may still be inside it relative to the table's
        # folder.
        self._table_folder = "" if image_root is None else _folder_of(place)

    def find(self, cells: Iterable[Cell]) -> list[Found]:
        """The pictures that the cells of a table name, in their order.

        A file that one cell names exactly, or that two names are similar to, is not matched to
        another cell.
        """
        found = [
            Found(cell.name) if isinstance(cell, RowPicture) else self._find_exactly(plain(cell))
            for cell in cells
        ]
        missing = dict.fromkeys(one.sought for one in found if one.sought)
        if not missing:
            return found
        near = NearNames(self.storage)
        matches = {path: near.of(path) for path in missing}
        claims = Counter(image for image, _ in matches.values() if image is not None)
        claims.update({one.image for one in found if one.image is not None})
        for at, one in enumerate(found):
            if not one.sought:
                continue
            image, others = matches[one.sought]
            if image is not None and claims[image] == 1:
                self.notes[NEAR_NOTE] += 1
                found[at] = Found(image)
            elif image is not None or others:
                names = name_some([image] if image is not None else others)
                found[at] = Found(None, f"{one.sought} (near: {names})")
        return found

    def _find_exactly(self, cell: str) -> Found:
        named = cell.strip()
        if not named:
            return Found(None)
        if _LINK.match(named):
            return Found(None, fault=f"the picture {named!r} is a link; pictures are never fetched")
        path = self._path(named)
        if path is None:
            return Found(None, fault=f"the picture {named!r} is not in {self._inside}")
        return Found(path) if self.storage.has(path) else Found(None, path)

    def _path(self, named: str) -> str | None:
        """The path in the storage; ``None`` if it would be outside."""
        if "\\" in named and self.storage.has(posixpath.normpath(self._prefix + named)):
            return posixpath.normpath(self._prefix + named)
        named = named.replace("\\", "/")
        absolute = posixpath.normpath(named)
        if not named.startswith("/") and not _DRIVE.match(named):
            path = posixpath.normpath(self._prefix + named)
            if not _leads_out(path):
                return path
            if not self._table_folder:
                return None
            absolute = posixpath.normpath(f"{self._table_folder}/{named}")
        inside = (absolute.removeprefix(base) for base in self._bases if absolute.startswith(base))
        return next(inside, None)


class NearNames:
    """Names of a storage's files, by their names without case and suffix.

    Args:
        storage: The files; they are listed once.
    """

    def __init__(self, storage: Storage) -> None:
        self._real = storage.spellings()
        self._by_key: defaultdict[str, list[str]] = defaultdict(list)
        self._by_file: dict[str, list[str]] | None = None
        for names in (storage.names(), self._real):
            for name in names:
                self._by_key[_without_suffix(name)].append(name)

    def of(self, path: str) -> tuple[str | None, list[str]]:
        """The one file that a name can refer to, or else the similar names."""
        alike = self._by_key.get(_without_suffix(path), [])
        for rule in (_composed, _without_case, _without_suffix):
            wanted = rule(path)
            found = {self._real.get(name, name) for name in alike if rule(name) == wanted}
            if len(found) == 1:
                return found.pop(), []
            if found:
                return None, sorted(found)[:_MOST_NEAR]
        return None, self._elsewhere(path)

    def _elsewhere(self, path: str) -> list[str]:
        """Files of the same name in other folders."""
        if self._by_file is None:
            self._by_file = {}
            for key, names in self._by_key.items():
                files = self._by_file.setdefault(key.rpartition("/")[2], [])
                files += names[: _MOST_NEAR - len(files)]
        names = self._by_file.get(_without_suffix(path).rpartition("/")[2], [])
        return [self._real.get(name, name) for name in names]


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _without_case(name: str) -> str:
    return name.lower() if name.isascii() else _composed(_composed(name).casefold())


def _without_suffix(name: str) -> str:
    folded = _without_case(name)
    stem, dot, ending = folded.rpartition(".")
    return stem if dot and ending in _ENDINGS else folded


def _leads_out(path: str) -> bool:
    return path == ".." or path.startswith(("../", "/"))


def _root(image_root: Path) -> Storage:
    if image_root.is_dir():
        return FolderStorage(image_root)
    if image_root.is_file() and image_root.suffix.lower() == ".zip":
        return ZipStorage(image_root)
    raise DataError(
        "The folder of pictures cannot be used",
        where=image_root,
        expected="a folder or a zip archive with the pictures",
        found="a file" if image_root.exists() else "nothing",
        hint="name it with --image-root FOLDER",
    )


def _spellings_of(folder: Path) -> tuple[str, ...]:
    """Prefixes of absolute paths of files in a folder."""
    if not folder.is_dir():
        return ()
    made = (os.path.abspath(folder), os.path.realpath(folder))  # noqa: PTH100
    return tuple(dict.fromkeys(path.replace("\\", "/").rstrip("/") + "/" for path in made))


def _folder_of(place: DatasetPath) -> str:
    if not place.storage.root.is_dir():
        return ""
    return _spellings_of(place.storage.root)[0] + place.prefix.rstrip("/")
