"""Tables of names: rows of this package, of installed packages, and of classes that users add.

Each row refers to an object, which is imported when it is loaded.
"""

import difflib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Generic, TypeVar, cast

from mvsa_pipe.errors import ConfigError, UnknownNameError, name_some

T = TypeVar("T")

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
# Names are words in the names of run folders and caches.
_MOST_LETTERS = 40
# Names that a message lists: all of a short table, a few of a long one, such as timm's.
_MOST_NAMES, _FEW_NAMES = 40, 8


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        name: The kebab-case name that users type.
        target: Import path of the object, as ``package.module:object``.
        summary: One-line description.
        source: Its publication, if it has one.
    """

    name: str
    target: str
    summary: str
    source: str = ""


class Registry(Generic[T]):
    """Rows by name; listing them imports nothing, ``load`` imports one.

    Args:
        kind: Singular noun for a row in messages ("head").
        rows: The rows of this package in listing order.
        group: The group of entry points by which installed packages add rows. They are read when
            the table is listed, or when a name is in no other row.

    Attributes:
        built_in: The rows of this package.

    Raises:
        ValueError: Two rows share a name.
    """

    def __init__(self, kind: str, rows: Iterable[Row], group: str = "") -> None:
        self.kind, self.group = kind, group
        self._rows: dict[str, Row] = {}
        for row in rows:
            if row.name in self._rows:
                raise ValueError(f"two {kind} rows are named {row.name!r}")
            self._rows[row.name] = row
        self.built_in: tuple[Row, ...] = tuple(self._rows.values())
        self._added: dict[str, T] = {}
        self._installed: dict[str, Row] | None = None
        self._faults: dict[str, str] = {}

    def __iter__(self) -> Iterator[Row]:
        return iter(self._all().values())

    def __len__(self) -> int:
        return len(self._all())

    def __contains__(self, name: object) -> bool:
        return name in self._rows or name in self._all()

    @property
    def names(self) -> tuple[str, ...]:
        """All names in listing order."""
        return tuple(self._all())

    @property
    def faults(self) -> tuple[str, ...]:
        """Why rows of installed packages are left out, one sentence each."""
        self._all()
        return tuple(self._faults.values())

    def row(self, name: str) -> Row:
        """The row of a name.

        Raises:
            UnknownNameError: No row has that name; the message lists similar ones.
            ConfigError: The row of an installed package cannot be used.
        """
        if name in self._rows:
            return self._rows[name]
        rows = self._all()
        if name in rows:
            return rows[name]
        if name in self._faults:
            raise ConfigError(f"The {self.kind} {name!r} cannot be used", found=self._faults[name])
        most = _MOST_NAMES if len(rows) <= _MOST_NAMES else _FEW_NAMES
        near = difflib.get_close_matches(name, rows, n=3, cutoff=0.5)
        raise UnknownNameError(
            f"No {self.kind} is named {name!r}",
            expected=f"one of {name_some(rows, most)}",
            hint=f"did you mean {' or '.join(near)}?" if near else None,
        )

    def load(self, name: str) -> T:
        """Imports and returns the object of a name.

        Raises:
            UnknownNameError: No row has that name.
            ConfigError: It belongs to an installed package that cannot be imported.
        """
        row = self.row(name)
        if name in self._added:
            return self._added[name]
        module_name, _, attribute = row.target.partition(":")
        if name in self._rows:
            return cast("T", getattr(import_module(module_name), attribute))
        try:
            return cast("T", getattr(import_module(module_name), attribute))
        except Exception as error:
            raise ConfigError(
                f"The {self.kind} {name!r} of an installed package cannot be imported",
                where=row.summary,
                found=f"{type(error).__name__}: {error}",
                hint=f"repair or uninstall {row.source}",
            ) from error

    def register(self, row: Row, item: T, *, replace: bool = False) -> None:
        """Adds a row for an object that is already loaded.

        Args:
            row: The row.
            item: The object.
            replace: Whether it replaces an added row of that name.

        Raises:
            ConfigError: The name is taken, or is not kebab-case.
        """
        if fault := name_fault(row.name):
            raise ConfigError(
                f"{row.target} cannot be named {row.name!r}",
                expected=fault,
                hint="set another in the class: name = 'my-name'",
            )
        if row.name in self and not (replace and row.name in self._added):
            raise ConfigError(
                f"The name of {row.target} is taken: there is a {self.kind} {row.name!r}",
                found=self.row(row.name).target,
                hint="set another in the class: name = 'my-name'",
            )
        self._rows[row.name] = row
        self._added[row.name] = item

    def added(self, name: str) -> T | None:
        """The object that was added under a name in this process; ``None`` if there is none."""
        return self._added.get(name)

    def _all(self) -> dict[str, Row]:
        if self._installed is None:
            self._installed = {}
            if self.group:
                self._read_installed(self._installed)
        return self._rows | self._installed

    def _read_installed(self, found: dict[str, Row]) -> None:
        from importlib.metadata import entry_points  # reads a folder per installed package

        for point in entry_points(group=self.group):
            package = point.dist.name if point.dist is not None else "an installed package"
            version = f" {point.dist.version}" if point.dist is not None else ""
            summary = f"{point.value} of {package}{version}"
            fault = name_fault(point.name)
            if fault:
                self._faults[point.name] = f"{summary} is named {point.name!r}; expected {fault}"
            elif point.name in self._rows:
                taken = self._rows[point.name].target
                self._faults[point.name] = (
                    f"{summary} is named {point.name!r}, which is {taken} already"
                )
            elif point.name in found:
                other = found.pop(point.name)
                self._faults[point.name] = (
                    f"{summary} and {other.summary} are both named {point.name!r}"
                )
            elif point.name not in self._faults:
                found[point.name] = Row(point.name, point.value, summary, package)


def name_fault(name: str) -> str:
    """The rule that a row's name violates; empty for a valid name."""
    if _NAME.fullmatch(name) and len(name) <= _MOST_LETTERS:
        return ""
    return f"at most {_MOST_LETTERS} small letters, digits and single hyphens"


def kebab_case(name: str) -> str:
    """Converts the name of a class to a row's name: ``MyHead`` to ``my-head``."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|_+", "-", name)
    return words.lower().strip("-")
