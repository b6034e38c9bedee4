"""Users' classes as rows of a table: the row that a class declares, and its place in the table."""

import inspect
from collections.abc import Mapping
from typing import Any

from mvsa_pipe.registry import Registry, Row, kebab_case
from mvsa_pipe.user_code import is_same_place, origin_of


def declared_row(kind: type) -> Row:
    """The row of a class in a table: ``name``, ``summary`` and ``source`` if declared.

    The name is else that of the class in kebab-case, the summary the first line of its docstring.
    """
    own: Mapping[str, Any] = vars(kind)
    origin = origin_of(kind)
    summary = inspect.cleandoc(str(own.get("__doc__") or "")).partition("\n")[0].rstrip(".")
    return Row(
        str(own.get("name", kebab_case(kind.__name__))),
        _path(kind) if origin is None else origin.reference,
        str(own.get("summary", summary)),
        str(own.get("source", "")),
    )


def add_class(table: Registry[Any], kind: type) -> None:
    """Adds a class to a table; one that is defined again takes the place of the former one.

    Raises:
        ConfigError: Its name is taken, or is not kebab-case.
    """
    row = declared_row(kind)
    before = table.added(row.name)
    if before is not kind:
        again = before is not None and is_same_place(before, kind)
        table.register(row, kind, replace=again)


def built_in_name(table: Registry[Any], kind: type) -> str | None:
    """The name of a class of this package in a table; ``None`` for other classes."""
    return next((row.name for row in table.built_in if row.target == _path(kind)), None)


def _path(kind: type) -> str:
    return f"{kind.__module__}:{kind.__qualname__}"
