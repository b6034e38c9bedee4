"""Several storages as one, for data sets whose parts have pictures in separate files."""

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from mvsa_pipe.errors import DataError
from mvsa_pipe.posts.storage.base import PICTURE_BYTES, Storage


class JoinedStorage(Storage):
    """The files of several storages, with the storage's name and a colon as prefix.

    Args:
        root: The path that the user named.
        storages: The storages by name; a name contains no colon.
    """

    def __init__(self, root: Path, storages: Mapping[str, Storage]) -> None:
        super().__init__(root)
        self._storages = dict(storages)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles only the paths: another process opens each storage again."""
        return type(self), (self.root.resolve(), self._storages)

    def names(self) -> Collection[str]:
        """Names of all files."""
        return [
            f"{lead}:{name}" for lead, storage in self._storages.items() for name in storage.names()
        ]

    def has(self, name: str) -> bool:
        """Whether there is a file of that name."""
        lead, _, rest = name.partition(":")
        return lead in self._storages and self._storages[lead].has(rest)

    def size(self, name: str) -> int:
        """Bytes in one file."""
        storage, rest = self._find(name)
        return storage.size(rest)

    def stamp(self, name: str) -> tuple[int, ...]:
        """The file's stamp in its own storage."""
        storage, rest = self._find(name)
        return storage.stamp(rest)

    def read(self, name: str, most: int = PICTURE_BYTES) -> bytes:
        """The bytes of one file."""
        storage, rest = self._find(name)
        return storage.read(rest, most)

    def where(self, name: str) -> str:
        """The name of a file in messages."""
        lead, _, rest = name.partition(":")
        storage = self._storages.get(lead)
        return super().where(name) if storage is None else storage.where(rest)

    def _find(self, name: str) -> tuple[Storage, str]:
        lead, _, rest = name.partition(":")
        if lead not in self._storages:
            raise DataError("There is no such file", where=self.where(name))
        return self._storages[lead], rest


def join_storages(
    storages: Sequence[tuple[str, Storage]],
) -> tuple[Storage, list[Callable[[str], str]]]:
    """Joins storages; returns the joined one and, for each, the function that renames its files.

    If all are the same storage, it is returned, and names do not change.

    Args:
        storages: At least one, with a unique name each.
    """
    first = storages[0][1]
    if all(storage is first for _, storage in storages):
        return first, [str] * len(storages)
    joined = JoinedStorage(first.root, dict(storages))
    return joined, [f"{lead}:{{}}".format for lead, _ in storages]
