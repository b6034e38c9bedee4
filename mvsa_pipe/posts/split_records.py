"""Records of a published split's file: an id each, and a part where the file says it."""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mvsa_pipe.errors import SplitError
from mvsa_pipe.posts.text import decode_text

SUFFIXES = (".txt", ".csv", ".tsv", ".json", ".jsonl")
_ID_KEYS = ("id", "ID", "guid")
_SPLIT_KEYS = ("split", "part")


@dataclass(frozen=True)
class Placed:
    """One record.

    Attributes:
        id: A post's id.
        part: What the file calls the part that it is in; empty where it does not say.
    """

    id: str
    part: str = ""


def read_records(file: Path) -> list[Placed]:
    """All records of one file: ids a line, ``guid,tag`` or ``id,split`` rows, or json.

    Json may be a list of ids, a list of objects with an ``id`` (or ``guid``) and perhaps a
    ``split``, or an object that holds one such list a part.

    Raises:
        SplitError: The file cannot be read as any of these.
    """
    text = decoded(file)
    try:
        suffix = file.suffix.lower()
        if suffix == ".jsonl":
            lines = [json.loads(line) for line in text.split("\n") if line.strip()]
            return list(_from_json(file, lines))
        if suffix == ".json":
            return list(_from_json(file, json.loads(text)))
        return _from_rows(file, text, "\t" if suffix == ".tsv" else ",")
    except (ValueError, RecursionError, csv.Error) as error:
        raise SplitError(
            "A split's file cannot be read", where=file, expected="json or a table", found=error
        ) from error


def decoded(file: Path) -> str:
    """The text of a split's file.

    Raises:
        SplitError: It cannot be read.
    """
    try:
        text, _ = decode_text(file.read_bytes())
    except OSError as error:
        raise SplitError("A split's file cannot be read", where=file, found=error) from error
    return text


def _from_json(file: Path, value: object, part: str = "") -> Iterator[Placed]:
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
            yield Placed(str(found).strip(), part or str(_first(record, _SPLIT_KEYS) or ""))
        elif _is_id(record):
            yield Placed(str(record).strip(), part)
        else:
            raise _no_id(file, record)


def _is_id(value: object) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool)


def _first(record: dict[str, object], keys: Iterable[str]) -> object:
    return next((record[key] for key in keys if key in record), None)


def _no_id(file: Path, found: object) -> SplitError:
    return SplitError(
        "A record of a split's file has no id",
        where=file,
        expected=f"an id, or an object with {' or '.join(_ID_KEYS)}",
        found=repr(found)[:80],
    )


def _from_rows(file: Path, text: str, delimiter: str) -> list[Placed]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows = [cells for row in reader if any(cells := [cell.strip() for cell in row])]
    if not rows:
        return []
    head = rows[0]
    wide = next((row for row in rows if len(row) != len(head)), None)
    if wide is not None:
        raise SplitError(
            "A split's file has rows of different widths",
            where=file,
            expected=f"{len(head)} cells, as in its first row",
            found=delimiter.join(wide),
        )
    id_column = next((head.index(key) for key in _ID_KEYS if key in head), None)
    if id_column is None and len(head) > 1:
        raise SplitError(
            "A split's table has no id column",
            where=file,
            expected=f"a header with {' or '.join(_ID_KEYS)}",
            found=delimiter.join(head),
        )
    if id_column is None:
        return [Placed(row[0]) for row in rows]
    part_column = next((head.index(key) for key in _SPLIT_KEYS if key in head), None)
    return [
        Placed(row[id_column], "" if part_column is None else row[part_column]) for row in rows[1:]
    ]
