"""Cells of a table: a text, a whole number, a label, a picture or nothing.

Tables in jsonl and parquet have typed cells. Values with one plain spelling are read as text; all
others are refused, as the spelling of a list or of a float would become a class.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from mvsa_pipe.errors import DataError, name_some

# Above this, a 64-bit float cannot represent every whole number.
EXACT_FLOATS = 2**53
_HINT = (
    "rename the columns, or name them with --id-column, --text-column, --image-column, "
    "--label-column"
)


# One of several columns with one name, counted from 1.
_NUMBERED = re.compile(r"(?P<name>.*)\[(?P<number>[1-9]\d{0,3})\]", re.DOTALL)


class Kind(StrEnum):
    """The use of a column."""

    ID = "id"
    TEXT = "text"
    PICTURE = "picture"
    LABEL = "label"


@dataclass(frozen=True, slots=True)
class RowPicture:
    """A picture whose bytes are in a row of the table itself.

    Attributes:
        name: Its name in the table's storage.
    """

    name: str


Cell = str | RowPicture | None


def plain(cell: Cell) -> str:
    """The text of a cell; empty if there is none."""
    return cell if isinstance(cell, str) else ""


class CellError(Exception):
    """A cell has a value of a wrong kind; the message names it."""


def plain_cell(value: object, kind: Kind, exact: int = EXACT_FLOATS) -> str | None:
    """The text of a typed cell; ``None`` if it is empty (null, NaN, NaT).

    Whole numbers are texts of digits. A float is one if it is whole, in columns of ids and labels:
    pandas converts whole numbers to floats if others are missing. Booleans are labels only, as
    ``true`` and ``false``. A picture may be a mapping with a path and without bytes.

    Args:
        value: The value in the table.
        kind: The use of the column.
        exact: Largest whole number up to which the float's type is exact.

    Raises:
        CellError: The value has no plain text.
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        if kind is Kind.LABEL:
            return str(value).lower()
    elif isinstance(value, int):
        # Python refuses to spell numbers of thousands of digits.
        if kind is not Kind.PICTURE and abs(value) < 2**64:
            return str(value)
    elif isinstance(value, float | Decimal):
        return _number(value, kind, exact)
    elif kind is Kind.PICTURE and _is_path(value):
        return plain_cell(value["path"], kind)  # type: ignore[index]
    raise CellError(f"{_spelled(value)}, where {_EXPECTED[kind]} is expected")


def _number(value: float | Decimal, kind: Kind, exact: int) -> str | None:
    if math.isnan(value):
        return None
    whole = math.isfinite(value) and value == int(value)
    if not whole or kind not in (Kind.ID, Kind.LABEL):
        raise CellError(f"the number {value}, where {_EXPECTED[kind]} is expected")
    if isinstance(value, float) and abs(value) >= exact:
        raise CellError(f"the number {value}, whose last digits were lost when it became a float")
    return str(int(value))


_EXPECTED = {
    Kind.ID: "a text or a whole number",
    Kind.TEXT: "a text",
    Kind.PICTURE: "the path of a picture",
    Kind.LABEL: "a text, a whole number, true or false",
}


def _is_path(value: object) -> bool:
    """Whether a value is a picture in Hugging Face's form that contains only a path."""
    return isinstance(value, dict) and value.keys() in _PATH_KEYS and value.get("bytes") is None


_PATH_KEYS = ({"path"}, {"bytes", "path"})


def _spelled(value: object) -> str:
    names = {dict: "an object", list: "a list", bytes: "bytes", bool: "true or false"}
    return names.get(type(value), f"a value of type {type(value).__name__}")


def match_columns(asked: Iterable[str], columns: Iterable[str]) -> dict[str, int]:
    """Positions of the wanted columns, by exact name or else ignoring case.

    Of columns that share a name, ``NAME[2]`` is the second. Missing and repeated columns are left
    out; ``require_columns`` reports them.
    """
    exact: dict[str, list[int]] = {}
    alike: dict[str, list[int]] = {}
    for at, name in enumerate(columns):
        exact.setdefault(name, []).append(at)
        alike.setdefault(name.casefold(), []).append(at)
    found = {name: exact.get(name) or alike.get(name.casefold()) or [] for name in asked}
    for name, places in found.items():
        numbered = None if places else _NUMBERED.fullmatch(name)
        same = exact.get(numbered["name"], []) if numbered else []
        if numbered and int(numbered["number"]) <= len(same):
            found[name] = [same[int(numbered["number"]) - 1]]
    return {name: places[0] for name, places in found.items() if len(places) == 1}


def require_columns(asked: Iterable[str], columns: tuple[str, ...], where: str) -> None:
    """Checks that each column occurs exactly once.

    Raises:
        DataError: One is missing or repeated, or two differ only in case.
    """
    asked = list(dict.fromkeys(asked))
    found = match_columns(asked, columns)
    lacking = [name for name in asked if name not in found]
    folded = [name.casefold() for name in columns]
    repeated = [name for name in lacking if folded.count(name.casefold()) > 1]
    missing = [name for name in lacking if name not in repeated]
    if missing:
        word = "column is" if len(missing) == 1 else "columns are"
        raise DataError(
            f"{len(missing)} {word} missing",
            where=where,
            expected=name_some(missing),
            found=f"columns {name_some([name for name in columns if name], most=30)}",
            hint=_HINT,
        )
    if repeated:
        raise DataError(
            "A column that is read occurs in the header more than once",
            where=where,
            expected=f"one column {repeated[0]!r}, or one that differs only in case",
            found=f"columns {name_some(columns, most=30)}",
            hint=f"name the first of them as {repeated[0] + '[1]'!r}, the second with [2], by "
            "--id-column, --text-column, --image-column or --label-column",
        )
    if len(set(found.values())) < len(found):
        raise DataError(
            "Two of the named columns are the same",
            where=where,
            found=name_some(f"{name} is {columns[at]!r}" for name, at in found.items()),
            hint=_HINT,
        )


def spelled_otherwise(record: Mapping[str, object], asked: Mapping[str, str]) -> str:
    """A key of a record that differs from a missing column only in case.

    Args:
        record: A record, which may have other keys than the others.
        asked: The columns' names, by their names in lower case.
    """
    for key in record:
        own = asked.get(key.casefold())
        if own is not None and own != key and own not in record:
            return key
    return ""
