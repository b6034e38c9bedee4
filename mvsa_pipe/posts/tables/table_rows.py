"""Reads tables of any kind as rows of named cells: csv, tsv, jsonl, parquet."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mvsa_pipe.errors import ConfigError, DataError, MvsaError
from mvsa_pipe.posts.dataset_path import DatasetPath
from mvsa_pipe.posts.formats import Quoting, ReadOptions
from mvsa_pipe.posts.tables.cells import (
    Cell,
    CellError,
    Kind,
    match_columns,
    plain_cell,
    require_columns,
    spelled_otherwise,
)
from mvsa_pipe.posts.tables.csv_rows import MOST_COLUMNS
from mvsa_pipe.posts.tables.delimited import header_of, read_delimited
from mvsa_pipe.posts.tables.encodings import decode_table
from mvsa_pipe.posts.tables.row_faults import RowFaults

TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")
_DEFAULTS = ReadOptions()
# A text has at most a mebibyte; unused columns may contain a picture in base64.
_MOST_LINE = 2**23


@dataclass(frozen=True)
class Table:
    """The rows of a file.

    Attributes:
        where: The file's name in messages.
        columns: Names of the columns, in the file's order.
        rows: Line number (parquet: row number) and cells by requested column; absent or empty cells
            are ``None``.
        encoding: How the file's bytes were decoded.
        notes: Numbers of decisions and ignored rows or columns, by kind.
        findings: Guesses, one sentence each.
        pictures: The column whose rows contain pictures, if there is one.
        unit: The unit of row numbers.
    """

    where: str
    columns: tuple[str, ...]
    rows: list[tuple[int, Mapping[str, Cell]]]
    encoding: str = "utf-8"
    notes: Mapping[str, int] = field(default_factory=dict)
    findings: tuple[str, ...] = ()
    pictures: str | None = None
    unit: str = "line"

    def has(self, column: str) -> bool:
        """Whether the table has a column exactly once, by its name or ignoring case."""
        return column in match_columns([column], self.columns)

    def require(self, *columns: str) -> None:
        """Checks that each column occurs exactly once.

        Raises:
            DataError: One is missing or repeated; the message names those present.
        """
        require_columns(columns, self.columns, self.where)


def is_table(name: str) -> bool:
    """Whether a file has the suffix of a table."""
    return name.lower().endswith(TABLE_SUFFIXES)


def read_rows(
    place: DatasetPath, name: str, kinds: Mapping[str, Kind], options: ReadOptions = _DEFAULTS
) -> Table:
    """The requested columns of all rows of a table.

    Args:
        place: The table's folder.
        name: Its name in it.
        kinds: The requested columns and their uses; missing columns are left out.
        options: The table's separator, quoting and encoding, if known.

    Raises:
        DataError: The file's content does not match its suffix, rows have a wrong width, or cells
            are not texts.
        ConfigError: An option does not apply to this kind of table.
    """
    where = place.where(name)
    suffix = _suffix(name)
    _refuse_foreign_options(where, suffix, options)
    if suffix == ".parquet":
        # Here, as importing pyarrow takes longer than reading most data sets.
        from mvsa_pipe.posts.tables.parquet_rows import read_parquet

        columns, rows, pictures = read_parquet(place, name, kinds)
        return Table(where, columns, rows, pictures=pictures, unit="row")
    decoded = decode_table(place.read(name), where, options.encoding)
    _refuse_long_lines(decoded.text, where)
    read = _jsonl if suffix == ".jsonl" else _delimited
    columns, rows, notes = read(decoded.text, where, suffix, kinds, options)
    if decoded.nuls:
        notes["NUL characters removed"] = decoded.nuls
    findings = (f"{where}: {decoded.finding}",) if decoded.finding else ()
    return Table(where, columns, rows, decoded.encoding, notes, findings)


def _refuse_long_lines(text: str, where: str) -> None:
    """Refuses an implausibly long line before it is split into a million cells or keys."""
    start, line = 0, 1
    while start < len(text):
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        if end - start > _MOST_LINE:
            raise DataError(
                "A line of a table is too long for a post",
                where=f"{where}:{line}",
                expected=f"at most {_MOST_LINE:,} characters",
                found=f"{end - start:,}",
                hint="write one post a line",
            )
        start, line = end + 1, line + 1


def _suffix(name: str) -> str:
    return name[name.rindex(".") :].lower()


def _refuse_foreign_options(where: str, suffix: str, options: ReadOptions) -> None:
    given = {
        "separator": options.separator is not None,
        "quoting": options.quoting is not Quoting.AUTO,
        "encoding": options.encoding is not None,
    }
    known = {".parquet": (), ".jsonl": ("encoding",)}.get(suffix, tuple(given))
    for option, is_given in given.items():
        if is_given and option not in known:
            raise ConfigError(
                f"A {suffix} table has no {option} to choose", where=where, hint=f"omit --{option}"
            )


def header(place: DatasetPath, name: str, options: ReadOptions = _DEFAULTS) -> tuple[str, ...]:
    """The columns of a csv, tsv or jsonl table; empty if they are not recognised. Never raises."""
    try:
        text = decode_table(place.read(name), place.where(name), options.encoding).text
        if name.lower().endswith(".jsonl"):
            return tuple(json.loads(text.partition("\n")[0]))
    except (MvsaError, ValueError, TypeError, RecursionError):
        return ()
    return header_of(text, _suffix(name), (), options.separator)


_Rows = tuple[tuple[str, ...], list[tuple[int, Mapping[str, Cell]]], dict[str, int]]


def _delimited(
    text: str, where: str, suffix: str, kinds: Mapping[str, Kind], options: ReadOptions
) -> _Rows:
    table = read_delimited(
        text,
        where,
        suffix=suffix,
        wanted=kinds,
        separator=options.separator,
        quoting=options.quoting,
    )
    found = match_columns(kinds, table.columns).items()
    rows: list[tuple[int, Mapping[str, Cell]]] = [
        (line, {asked: cells[at] for asked, at in found}) for line, cells in table.rows
    ]
    return table.columns, rows, dict(table.notes)


class _Repeated(dict[str, Any]):
    """A JSON object with a repeated key.

    Attributes:
        keys_twice: The repeated keys.
    """

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        seen: set[str] = set()
        self.keys_twice = {key for key, _ in pairs if key in seen or seen.add(key)}  # type: ignore[func-returns-value]


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    return found if len(found) == len(pairs) else _Repeated(pairs)


def _jsonl(
    text: str, where: str, _suffix: str, kinds: Mapping[str, Kind], _options: ReadOptions
) -> _Rows:
    faults = RowFaults(where)
    records: list[tuple[int, dict[str, Any]]] = []
    columns: dict[str, None] = {}
    asked = {name.casefold() for name in kinds}
    blank = 0
    # Not splitlines: a JSON string may contain U+2028.
    lines = text.split("\n")
    for line, record in enumerate(lines, start=1):
        if not record.strip():
            blank += line < len(lines)
            continue
        try:
            cells = json.loads(record, object_pairs_hook=_object)
        except ValueError as error:
            faults.add(line, f"not JSON ({error})")
            continue
        except RecursionError:
            faults.add(line, "JSON nested too deeply")
            continue
        if not isinstance(cells, dict):
            faults.add(line, f"{type(cells).__name__}, where an object in braces is expected")
            continue
        columns |= dict.fromkeys(cells)
        if len(columns) > MOST_COLUMNS:
            faults.add(line, f"more than {MOST_COLUMNS:,} keys so far; the lines after are unread")
            break
        kept = {key: value for key, value in cells.items() if key.casefold() in asked}
        records.append((line, kept))
        if isinstance(cells, _Repeated) and (twice := cells.keys_twice & kept.keys()):
            faults.add(line, f"the key {min(twice)!r} occurs twice")
    if blank + 1 >= len(lines) and not records and not lines[-1].strip():
        faults.add(1, "the file is empty, where one JSON object a line is expected")
    names = tuple(columns)
    own = {asked: names[at] for asked, at in match_columns(kinds, names).items()}
    rows = _json_cells(records, own, kinds, faults)
    faults.raise_any()
    return names, rows, {"rows without content, skipped": blank} if blank else {}


def _json_cells(
    records: list[tuple[int, dict[str, Any]]],
    own: Mapping[str, str],
    kinds: Mapping[str, Kind],
    faults: RowFaults,
) -> list[tuple[int, Mapping[str, Cell]]]:
    by_folded = {name.casefold(): name for name in own.values()}
    rows: list[tuple[int, Mapping[str, Cell]]] = []
    for line, record in records:
        other = spelled_otherwise(record, by_folded)
        if other:
            faults.add(line, f"the key {other!r}, which other lines spell otherwise")
        cells: dict[str, Cell] = {}
        for asked, name in own.items():
            try:
                cells[asked] = plain_cell(record.get(name), kinds[asked])
            except CellError as error:
                faults.add(line, f"column {name!r} holds {error}")
        rows.append((line, cells))
    return rows
