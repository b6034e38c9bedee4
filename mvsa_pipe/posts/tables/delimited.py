"""Reads delimited text (CSV, TSV and similar), whose dialect is detected from the text."""

import io
import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from itertools import islice

from mvsa_pipe.posts.formats import Quoting
from mvsa_pipe.posts.tables.csv_rows import (
    Records,
    column_name,
    read_csv_rows,
    width_faults,
)
from mvsa_pipe.posts.tables.quoting import read_quoted
from mvsa_pipe.posts.tables.row_faults import RowFaults

_NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "pipe", " ": "space"}
_SEPARATORS = (",", "\t", ";", "|")
_LONGEST_HEADER = 2**20
_SEPARATOR_LINE = re.compile(r'"?sep=([^"\r\n])"?(\r\n|\r|\n)', re.IGNORECASE)


@dataclass(frozen=True)
class Delimited:
    """The rows of a delimited table.

    Attributes:
        columns: Cells of the header, stripped, including empty and repeated names.
        rows: Line number and cells of each row that has content, as many as there are columns.
        separator: The character between cells.
        quoting: How quotes were read.
        notes: Numbers of decisions and ignored rows or columns, by kind.
    """

    columns: tuple[str, ...]
    rows: list[tuple[int, list[str]]]
    separator: str
    quoting: Quoting
    notes: dict[str, int] = field(default_factory=dict)


def read_delimited(
    text: str,
    where: str,
    *,
    suffix: str = "",
    wanted: Collection[str] = (),
    separator: str | None = None,
    quoting: Quoting = Quoting.AUTO,
) -> Delimited:
    """The rows of a delimited table.

    Args:
        text: The whole text, including the header.
        where: How messages name it.
        suffix: The file's suffix; ``.tsv`` prefers a tab if nothing else decides the separator.
        wanted: Names of expected columns; the separator is chosen so that the header contains them.
        separator: The character between cells; detected by default.
        quoting: How quotes are read; detected by default.

    Raises:
        DataError: Rows have a wrong width, a quote is not closed, there are more than 10,000
            columns, or the text can be read in two ways.
    """
    first_line = 1
    said = _SEPARATOR_LINE.match(text)
    if said:
        text, first_line = text[said.end() :], 2
        separator = separator or said[1]
    if separator is None:
        separator = _find_separator(text, suffix, wanted)
    quoting, reading = read_quoted(text, where, separator, quoting, first_line)
    table = _table(reading, where, separator, quoting)
    notes = {f"rows with separator {_NAMES.get(separator, repr(separator))}": len(table.rows)}
    if '"' in text:
        notes[f"rows with quoting {quoting.value}"] = len(table.rows)
    return Delimited(table.columns, table.rows, separator, quoting, notes | table.notes)


def header_of(
    text: str, suffix: str = "", wanted: Collection[str] = (), separator: str | None = None
) -> tuple[str, ...]:
    """Cells of the header, stripped; empty if it is not recognised. Never raises."""
    said = _SEPARATOR_LINE.match(text)
    text = text[said.end() :] if said else text
    separator = separator or (said[1] if said else _find_separator(text, suffix, wanted))
    return tuple(_header(text, separator))


def _header(text: str, separator: str) -> list[str]:
    """Names in the first row that is not blank, quoted or not."""
    for line in islice(io.StringIO(text[:_LONGEST_HEADER], newline=""), 100):
        if line.strip():
            found = read_csv_rows(line, separator, Quoting.MINIMAL)
            if found.broken or not found.records:
                found = read_csv_rows(line, separator, Quoting.NONE)
            return [column_name(cell) for cell in found.records[0][2]] if found.records else []
    return []


def _find_separator(text: str, suffix: str, wanted: Collection[str]) -> str:
    """The separator whose header contains most wanted columns; else one that fits all rows."""
    sought = {name.casefold() for name in wanted}
    usual = "\t" if suffix == ".tsv" else ","
    order = sorted(_SEPARATORS, key=lambda separator: separator != usual)
    headers = {separator: _header(text, separator) for separator in order}
    found = {
        separator: len(sought & {name.casefold() for name in names})
        for separator, names in headers.items()
        if len(names) > 1
    }
    if not found:
        return usual
    most = max(found.values())
    best = [separator for separator in order if found.get(separator) == most]
    if len(best) > 1:
        best = [separator for separator in best if _fits_somehow(text, separator)] or best
    return best[0]


def _fits_somehow(text: str, separator: str) -> bool:
    return any(
        not width_faults(read_csv_rows(text, separator, quoting))
        for quoting in (Quoting.MINIMAL, Quoting.NONE)
    )


def _table(reading: Records, where: str, separator: str, quoting: Quoting) -> Delimited:
    faults = RowFaults(where)
    if not reading.records:
        faults.add(*(reading.broken or (1, "the file is empty, where a header is expected")))
    for line, fault in width_faults(reading) if reading.records else ():
        faults.add(line, fault)
    faults.raise_any()
    width = len(reading.records[0][2])
    columns = tuple(column_name(cell) for cell in reading.records[0][2])
    rows = [(line, cells) for line, _, cells in islice(reading.records, 1, None)]
    uneven = 0
    for at, (line, cells) in enumerate(rows):
        if len(cells) != width:
            uneven += 1
            rows[at] = line, (cells + [""] * (width - len(cells)))[:width]
    notes = {
        "rows without content, skipped": reading.blank,
        "rows with more or fewer empty cells at their end": uneven,
        "columns without a name, ignored": columns.count(""),
        "columns whose name is repeated": sum(
            count for name, count in Counter(columns).items() if name and count > 1
        ),
    }
    kept = {note: count for note, count in notes.items() if count}
    return Delimited(columns, rows, separator, quoting, kept)
