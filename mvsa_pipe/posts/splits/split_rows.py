"""Records of a published split's file: an id each, and a part if the file has it."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mvsa_pipe.errors import DataError, SplitError, name_some
from mvsa_pipe.posts.tables.delimited import read_delimited
from mvsa_pipe.posts.tables.encodings import decode_table

SPLIT_LIST_SUFFIXES = (".txt", ".csv", ".tsv", ".json", ".jsonl")
_ID_KEYS = ("id", "guid")
_SPLIT_KEYS = ("split", "part")


@dataclass(frozen=True)
class SplitRow:
    """One record.

    Attributes:
        id: A post's id.
        part: Its part as the file spells it; empty if it has none.
    """

    id: str
    part: str = ""


def read_split_rows(file: Path) -> list[SplitRow]:
    """All records of one file: one id a line, ``guid,tag`` or ``id,split`` rows, or JSON.

    JSON may be a list of ids, a list of objects with an ``id`` (or ``guid``) and optionally a
    ``split``, or an object with one such list per part.

    Raises:
        SplitError: The file cannot be read as any of these.
    """
    text = decode_list(file)
    try:
        suffix = file.suffix.lower()
        if suffix == ".jsonl":
            lines = [json.loads(line) for line in text.split("\n") if line.strip()]
            return list(_from_json(file, lines))
        if suffix == ".json":
            return list(_from_json(file, json.loads(text)))
        return _from_rows(file, text, suffix)
    except (ValueError, RecursionError) as error:
        raise SplitError(
            "A split's file cannot be read", where=file, expected="json or a table", found=error
        ) from error


def decode_list(file: Path) -> str:
    """The text of a split's file.

    Raises:
        SplitError: It cannot be read.
    """
    try:
        return decode_table(file.read_bytes(), str(file)).text
    except OSError as error:
        raise SplitError("A split's file cannot be read", where=file, found=error) from error
    except DataError as error:
        raise _as_split_error(error) from error


def _as_split_error(error: DataError) -> SplitError:
    """The same fault, without hints about options of readers of posts."""
    return SplitError(
        error.what,
        where=error.where,
        expected=error.expected,
        found=error.found,
        hint="write the split's file in UTF-8, with commas or tabs between cells; or as .json",
    )


def _from_json(file: Path, value: object, part: str = "") -> Iterator[SplitRow]:
    if isinstance(value, dict):
        for name, listed in value.items():
            yield from _from_json(file, listed, str(name))
        return
    if not isinstance(value, list):
        raise _no_id(file, value)
    for record in value:
        if isinstance(record, dict):
            found = _first(record, _ID_KEYS)
            if not _is_id(found):
                raise _no_id(file, record)
            yield SplitRow(str(found).strip(), part or str(_first(record, _SPLIT_KEYS) or ""))
        elif _is_id(record):
            yield SplitRow(str(record).strip(), part)
        else:
            raise _no_id(file, record)


def _is_id(value: object) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool)


def _first(record: dict[str, object], keys: Iterable[str]) -> object:
    """The value of the first of some keys, ignoring case."""
    named = {str(key).strip().lower(): value for key, value in reversed(record.items())}
    return next((named[key] for key in keys if key in named), None)


def _no_id(file: Path, found: object) -> SplitError:
    return SplitError(
        "A record of a split's file has no id",
        where=file,
        expected=f"an id, or an object with {' or '.join(_ID_KEYS)}",
        found=repr(found)[:80],
    )


def _from_rows(file: Path, text: str, suffix: str) -> list[SplitRow]:
    if not text.strip():
        return []
    try:
        table = read_delimited(text, str(file), suffix=suffix, wanted=(*_ID_KEYS, *_SPLIT_KEYS))
    except DataError as error:
        raise _as_split_error(error) from error
    places = {name.lower(): at for at, name in reversed([*enumerate(table.columns)])}
    id_column = next((places[key] for key in _ID_KEYS if key in places), None)
    if id_column is None and len(table.columns) > 1:
        raise SplitError(
            "A split's table has no id column",
            where=file,
            expected=f"a header with {' or '.join(_ID_KEYS)}",
            found=name_some(table.columns),
        )
    if id_column is None:  # a list of ids has no header
        return [
            SplitRow(post_id)
            for post_id in (*table.columns, *(r[0].strip() for _, r in table.rows))
        ]
    part_column = next((places[key] for key in _SPLIT_KEYS if key in places), None)
    return [
        SplitRow(
            cells[id_column].strip(), "" if part_column is None else cells[part_column].strip()
        )
        for _, cells in table.rows
    ]
