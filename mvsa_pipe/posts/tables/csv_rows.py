"""Rows of delimited text: reads them with or without quoted cells, and escapes formulas."""

import csv
import io
import re
from dataclasses import dataclass
from itertools import islice

from mvsa_pipe.posts.formats import Quoting

MOST_COLUMNS = 10_000
# The csv module's default is 128 kB a cell, less than a picture in base64 in an unused column.
_LONGEST_CELL = 2**22

# Signs that start a formula, and their full-width forms; spreadsheets skip leading blanks.
_FORMULA = re.compile(r"'*[\t\r\n]*[=+\-@＝＋－＠]|'*[\t\r\n]")
_GUARDED = re.compile(r"'+(?:[\t\r\n]*[=+\-@＝＋－＠]|[\t\r\n])")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


@dataclass(frozen=True)
class Records:
    """All records of a text, read in one way.

    Attributes:
        records: First line, last line, and cells of each record that is not blank.
        blank: Number of blank records.
        broken: Line at which reading ended early, and the reason.
    """

    records: list[tuple[int, int, list[str]]]
    blank: int
    broken: tuple[int, str] | None


def read_csv_rows(text: str, separator: str, quoting: Quoting, first_line: int = 1) -> Records:
    """All records up to the first that is broken; lines are counted from ``first_line``."""
    csv.field_size_limit(_LONGEST_CELL)
    # Strict, so that an unclosed quote is an error and does not enclose the following rows.
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=separator,
        quoting=csv.QUOTE_NONE if quoting is Quoting.NONE else csv.QUOTE_MINIMAL,
        strict=True,
    )
    records: list[tuple[int, int, list[str]]] = []
    blank, end, broken = 0, first_line - 1, None
    try:
        for cells in reader:
            start, end = end + 1, reader.line_num + first_line - 1
            if len(cells) > MOST_COLUMNS:
                broken = start, f"more than {MOST_COLUMNS:,} cells"
                break
            # Most rows begin with an id, so the other cells are rarely tested.
            if cells and (cells[0].strip() or "".join(cells).strip()):
                records.append((start, end, cells))
            else:
                blank += 1
    except csv.Error as error:
        broken = end + 1, f"{error}; the rows from here on are unread"
    return Records(records, blank, broken)


def column_name(cell: str) -> str:
    """A header's cell without blanks and byte order marks."""
    return cell.strip().strip("\ufeff").strip()


def width_faults(reading: Records, exact: bool = False) -> list[tuple[int, str]]:
    """Lines of rows whose width differs from the header's, and where reading ended early.

    Unless ``exact``, rows may have more or fewer empty cells at their end, in columns without a
    name.
    """
    if not reading.records:
        return [reading.broken] if reading.broken else []
    width, named, extra = _widths(reading)
    faults = [
        (line, f"{len(cells)} cells, where the header has {width}")
        for line, _, cells in reading.records
        if len(cells) != width and (exact or not _fits(cells, width, named, extra))
    ]
    return faults + ([reading.broken] if reading.broken else [])


def _widths(reading: Records) -> tuple[int, int, int]:
    """Cells of the header, cells up to its last name, and a width that all rows may share."""
    header = [column_name(cell) for cell in reading.records[0][2]]
    named = max((at for at, name in enumerate(header, start=1) if name), default=0)
    widths = {len(cells) for _, _, cells in islice(reading.records, 1, None)}
    # One row that is too long may contain a separator in its text; not all rows do.
    all_longer = len(widths) == 1 and len(reading.records) > 2
    return len(header), named, max(widths) if all_longer else len(header)


def _fits(cells: list[str], width: int, named: int, extra: int) -> bool:
    """Whether a row of another width than the header lacks or adds only empty cells."""
    if len(cells) < width:
        return len(cells) >= named and not any(cell.strip() for cell in cells[named:])
    return len(cells) == extra and not any(cell.strip() for cell in cells[width:])


def as_text_cell(text: str) -> str:
    """The cell for a text in a file that a spreadsheet may open.

    ``=HYPERLINK("http://…")`` as a post's id would be evaluated as a formula. Such a cell gets a
    leading apostrophe, which ``from_text_cell`` removes. A cell that starts with apostrophes before
    a formula gets one more, so that reading returns what was written. Plain numbers (``-1`` as a
    class) are not changed.
    """
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def from_text_cell(cell: str) -> str:
    """The text of a cell that ``as_text_cell`` wrote."""
    return cell[1:] if _GUARDED.match(cell) else cell
