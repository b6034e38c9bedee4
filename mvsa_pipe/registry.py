"""A table of names: each row points at the object that it stands for, imported when asked for."""

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Generic, TypeVar, cast

from mvsa_pipe.errors import UnknownNameError, name_some

T = TypeVar("T")


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        name: The kebab-case name that users type.
        target: Where the object lives, as ``package.module:object``.
        summary: One line on what it is.
        source: Where it comes from, for what has a source.
    """

    name: str
    target: str
    summary: str
    source: str = ""


class Registry(Generic[T]):
    """Rows by name; listing them imports nothing, ``load`` imports one.

    Args:
        kind: What a row is, in the singular, for messages ("head").
        rows: The rows, in the order in which they are listed.

    Raises:
        ValueError: Two rows share a name.
    """

    def __init__(self, kind: str, rows: Iterable[Row]) -> None:
        self.kind = kind
        self._rows: dict[str, Row] = {}
        for row in rows:
            if row.name in self._rows:
                raise ValueError(f"two {kind} rows are named {row.name!r}")
            self._rows[row.name] = row

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows.values())

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, name: object) -> bool:
        return name in self._rows

    @property
    def names(self) -> tuple[str, ...]:
        """All names, in the order of the table."""
        return tuple(self._rows)

    def row(self, name: str) -> Row:
        """The row of a name.

        Raises:
            UnknownNameError: No row has that name; the message lists the near ones.
        """
        if name in self._rows:
            return self._rows[name]
        near = difflib.get_close_matches(name, self._rows, n=3, cutoff=0.5)
        raise UnknownNameError(
            f"No {self.kind} is named {name!r}",
            expected=f"one of {name_some(self._rows, most=40)}",
            hint=f"did you mean {' or '.join(near)}?" if near else None,
        )

    def load(self, name: str) -> T:
        """Imports and returns the object that a name stands for.

        Raises:
            UnknownNameError: No row has that name.
        """
        module_name, _, attribute = self.row(name).target.partition(":")
        return cast("T", getattr(import_module(module_name), attribute))
