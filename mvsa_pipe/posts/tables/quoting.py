"""Decides whether quotes in delimited text enclose cells or are part of them.

Both ways are tried. If both fit but give different cells, evidence decides, and without evidence
the text is refused: a tweet itself may begin and end with quotes.
"""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass

from mvsa_pipe.errors import DataError
from mvsa_pipe.posts.formats import Quoting
from mvsa_pipe.posts.tables.csv_rows import Records, read_csv_rows, width_faults

_AMBIGUOUS = (
    "correct the file, or name its quoting: --quoting minimal if quotes enclose cells, "
    "--quoting none if they are part of the text"
)
# Number of whole rows needed to decide by comparison whether a single line is a row.
_FEWEST_ROWS = 10

Faults = list[tuple[int, str]]


def read_quoted(
    text: str, where: str, separator: str, quoting: Quoting, first_line: int
) -> tuple[Quoting, Records]:
    """Reads with the named quoting, or with that which the text shows.

    Raises:
        DataError: Neither way fits, or both do and nothing decides between them.
    """
    if quoting is not Quoting.AUTO:
        return quoting, read_csv_rows(text, separator, quoting, first_line)
    quoted = read_csv_rows(text, separator, Quoting.MINIMAL, first_line)
    if '"' not in text:
        return Quoting.MINIMAL, quoted
    literal = read_csv_rows(text, separator, Quoting.NONE, first_line)
    faults = width_faults(quoted), width_faults(literal)
    both = where, quoted, literal
    if all(faults):
        raise _unreadable(where, faults)
    if not any(faults):
        # A reading with extra empty cells is worse than one without.
        uneven = width_faults(quoted, exact=True), width_faults(literal, exact=True)
        faults = faults if all(uneven) else uneven
    if not faults[0] and not faults[1]:
        choice = _choose(*both)
    elif faults[0]:
        _refuse_quoting_writer(where, literal, faults[0][0])
        choice = Quoting.NONE
    else:
        _refuse_glued(where, quoted, text, separator, first_line, faults[1][0])
        choice = Quoting.MINIMAL
    if choice is Quoting.NONE:
        _refuse_backslashes(where, literal)
    return choice, quoted if choice is Quoting.MINIMAL else literal


def _unreadable(where: str, faults: tuple[Faults, Faults]) -> DataError:
    (line, quoted), (other, literal) = faults[0][0], faults[1][0]
    return DataError(
        "A table cannot be read, whether its cells are quoted or not",
        where=f"{where}:{min(line, other)}",
        found=f"line {line}: {quoted}, if quotes enclose cells; line {other}: {literal}, if quotes "
        "are part of the text",
        hint="correct the lines; or name --quoting or --separator, to see all that do not fit",
    )


def _choose(where: str, quoted: Records, literal: Records) -> Quoting:
    """Decides between two readings whose rows all have the header's width."""
    glued = [record for record in quoted.records if record[1] > record[0]]
    if glued:
        # Every single line is a row: lines of one text would rarely be.
        start, end, _ = glued[0]
        lines = {at for first, last, _ in glued for at in range(first, last + 1)}
        if not _are_rows(
            [cells for first, _, cells in literal.records if first in lines],
            [cells for first, _, cells in literal.records if first not in lines],
        ):
            raise DataError(
                "A table can be read in two ways",
                where=f"{where}:{start}",
                found=f"lines {start} to {end}, which are one row with a text of several lines, or "
                f"{end - start + 1} rows whose texts hold quotes",
                hint=_AMBIGUOUS,
            )
        return Quoting.NONE
    return _by_evidence(where, quoted, literal)


def _by_evidence(where: str, quoted: Records, literal: Records) -> Quoting:
    """Decides between readings that differ only in quotes around some cells.

    Programs that quote enclose cells that contain quotes, and double the quotes; they leave no
    quote in a cell that is not enclosed, and enclose other cells only together with the whole
    column. A header in quotes is evidence of quoting, too.
    """
    marks = _quote_marks(quoted, literal)
    bare = marks.bare
    header_is_quoted = quoted.records[0][2] != literal.records[0][2]
    if not bare and (header_is_quoted or (marks.escaped and not marks.needless)):
        return Quoting.MINIMAL
    if bare and not header_is_quoted and not marks.escaped:
        return Quoting.NONE
    line = marks.escaped or marks.needless or marks.quotes
    if not line and not header_is_quoted:
        return Quoting.MINIMAL  # gives the same cells
    line = line or quoted.records[0][0]
    raise DataError(
        "A table can be read in two ways",
        where=f"{where}:{line}",
        found=f"line {line}, where quotes enclose a cell or are part of it"
        + (f", and line {bare}, where they enclose none" if bare else ""),
        hint=_AMBIGUOUS,
    )


@dataclass
class _QuoteMarks:
    """First lines that show how a text was written; zero if there is no such line.

    Attributes:
        bare: A cell that is not enclosed contains a quote.
        escaped: An enclosed cell contains doubled quotes and more.
        quotes: An enclosed cell contains only quotes.
        needless: An enclosed cell contains no quote, in a column where not all cells are enclosed.
    """

    bare: int = 0
    escaped: int = 0
    quotes: int = 0
    needless: int = 0


def _quote_marks(quoted: Records, literal: Records) -> _QuoteMarks:
    marks = _QuoteMarks()
    needless: dict[int, int] = {}
    plain: set[int] = set()  # columns with a cell that is not enclosed
    as_they_are = {line: raws for line, _, raws in literal.records[1:]}
    for line, _, cells in quoted.records[1:]:
        raws = as_they_are.pop(line)
        if cells == raws:
            plain.update(at for at, cell in enumerate(cells) if cell)
            marks.bare = marks.bare or (line if any('"' in cell for cell in cells) else 0)
            continue
        if len(cells) != len(raws):
            needless.setdefault(-1, line)
            plain.add(-1)
            continue
        for at, (cell, raw) in enumerate(zip(cells, raws, strict=True)):
            if cell == raw:
                marks.bare = marks.bare or (line if '"' in cell else 0)
                if cell:
                    plain.add(at)
            elif '"' not in cell:
                needless.setdefault(at, line)
            elif cell.strip('"'):
                marks.escaped = marks.escaped or line
            else:
                marks.quotes = marks.quotes or line
    marks.needless = min((line for at, line in needless.items() if at in plain), default=0)
    # Rows without content, apart from quotes that enclose nothing.
    marks.needless = marks.needless or min(as_they_are, default=0)
    # Without an escape, a column in which all cells are enclosed may contain quotations.
    if not marks.escaped and not marks.needless:
        marks.needless = min(needless.values(), default=0)
    return marks


def _are_rows(lines: Sequence[list[str]], others: Sequence[list[str]]) -> bool:
    """Whether lines are rows like the others (header first): their labels are among the others'."""
    rows = others[1:]
    columns = list(zip(*rows, strict=False))
    kinds = [set(column) for column in columns]
    # Columns such as labels, with far fewer values than rows.
    few = [at for at, values in enumerate(kinds) if 1 < len(values) <= len(rows) / 4]
    if few:
        return all(at < len(cells) and cells[at] in kinds[at] for cells in lines for at in few)
    return len(rows) >= _FEWEST_ROWS


def _refuse_glued(
    where: str,
    quoted: Records,
    text: str,
    separator: str,
    first_line: int,
    fault: tuple[int, str],
) -> None:
    """Refuses a row of several lines if most of the lines are rows joined by quotes."""
    glued = [record for record in quoted.records if record[1] > record[0]]
    if not glued:
        return
    whole = [cells for start, end, cells in quoted.records if start == end]
    width = len(quoted.records[0][2])
    lines = list(io.StringIO(text, newline=""))
    for start, end, _ in glued:
        apart = [
            line.rstrip("\r\n").split(separator)
            for line in lines[start - first_line : end - first_line + 1]
        ]
        full = [cells for cells in apart if len(cells) == width]
        enough = len(whole) > _FEWEST_ROWS
        rows = [cells for cells in full if not enough or _are_rows([cells], whole)]
        if len(rows) > 1 and 2 * len(rows) > len(apart):
            raise DataError(
                "A table can be read in two ways",
                where=f"{where}:{start}",
                found=f"lines {start} to {end}, which quotes make one row although "
                f"{len(rows)} of them are rows by themselves; and line {fault[0]}: {fault[1]}, if "
                "quotes are part of the text",
                hint=_AMBIGUOUS,
            )


def _refuse_quoting_writer(where: str, literal: Records, fault: tuple[int, str]) -> None:
    """Refuses quotes that enclose cells almost everywhere, but are broken somewhere."""
    header, *rows = (cells for _, _, cells in literal.records)
    for at, name in enumerate(header):
        column = [cells[at] for cells in rows if len(cells) > at and cells[at]]
        enclosed = sum(len(cell) > 1 and cell[0] == cell[-1] == '"' for cell in column)
        escaped = any(re.fullmatch(r'"[^"]+(?:""[^"]+)+(?:"")?"', cell) for cell in column)
        if escaped or (enclosed > 1 and enclosed >= 0.9 * len(column)) or name[:1] == '"':
            raise DataError(
                "Quotes enclose the cells of a table, but not correctly",
                where=f"{where}:{fault[0]}",
                expected="a quote inside a quoted cell written twice, and the cell closed by one",
                found=f"line {fault[0]}: {fault[1]}",
                hint=_AMBIGUOUS,
            )


def _refuse_backslashes(where: str, literal: Records) -> None:
    """Refuses quotes that are escaped by backslashes, which pandas and databases can write."""
    first = 0
    for line, _, cells in literal.records:
        for cell in cells:
            if '"' not in cell:
                continue
            if re.search(r'(?<!^)(?<!\\)"(?!$)', cell):
                return  # a quote inside a cell without a backslash
            if '\\"' in cell:
                first = first or line
    if first:
        raise DataError(
            "A table may escape quotes by backslashes, which this reader does not undo",
            where=f"{where}:{first}",
            found="a backslash before every quote within a cell",
            hint="write quotes twice instead (RFC 4180); or, if the backslashes are part of the "
            "text, add --quoting none",
        )
