"""Tables as Markdown, LaTeX and CSV.

Markdown and LaTeX show numbers as the page does. CSV has them in full, with the bounds of intervals
in columns of their own. All text from data is escaped.
"""

import csv
import io
import re
from collections.abc import Callable, Sequence
from enum import StrEnum

from mvsa_pipe.analysis.finding import Cell, Estimate, FindingTable
from mvsa_pipe.posts.tables.csv_rows import as_text_cell
from mvsa_pipe.reports.plot_text import shown

NOT_RECORDED = "–"
_MARKDOWN = re.compile(r"([\\`*_{}\[\]|~$#])")
_MARKDOWN_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "'": r"\textquotesingle{}",
    "`": r"\textasciigrave{}",
    "-": "{-}",
    "–": "--",
    "×": r"$\times$",
    "±": r"$\pm$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "…": r"\ldots{}",
}
_LATEX_LETTER = re.compile("[" + re.escape("".join(_LATEX)) + "]")


class ReportFormat(StrEnum):
    """How a report is written."""

    HTML = "html"
    MARKDOWN = "markdown"
    LATEX = "latex"
    CSV = "csv"


def is_number(cell: Cell) -> bool:
    """Whether a cell is aligned as a number."""
    return isinstance(cell, Estimate | int | float) and not isinstance(cell, bool)


def number_columns(table: FindingTable) -> list[bool]:
    """Whether each column has numbers."""
    return [any(map(is_number, column)) for column in _columns(table)]


def _columns(table: FindingTable) -> list[list[Cell]]:
    return [[row[place] for row in table.rows] for place in range(len(table.columns))]


def cell_text(cell: Cell, *, percent: bool) -> str:
    """A cell as text: estimates with their intervals, numbers with the same decimals each."""
    if cell is None:
        return NOT_RECORDED
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, Estimate):
        value, low, high = (_number(n, percent) for n in (cell.value, cell.low, cell.high))
        return f"{value} [{low}, {high}]"
    if isinstance(cell, int):
        return f"{cell:,}"
    if isinstance(cell, float):
        return _number(cell, percent)
    return shown(cell)


def _number(value: float, percent: bool) -> str:
    if percent:
        return f"{100 * value:.1f}"
    if 0 < abs(value) < 0.0005:
        return f"{value:.1e}"
    return f"{value:,.1f}" if abs(value) >= 100 else f"{value:.3f}"


def _texts(table: FindingTable, escaped: Callable[[str], str]) -> tuple[list[str], list[list[str]]]:
    """Headings and rows as escaped text."""
    heads = [
        escaped(shown(name) + (" %" if name in table.percent else "")) for name in table.columns
    ]
    rows = [
        [
            escaped(cell_text(cell, percent=name in table.percent))
            for name, cell in zip(table.columns, row, strict=True)
        ]
        for row in table.rows
    ]
    return heads, rows


def markdown_text(text: str) -> str:
    """Text that Markdown shows as it is."""
    plain = shown(text)
    escaped = re.sub("[&<>]", lambda found: _MARKDOWN_ENTITIES[found[0]], plain)
    escaped = _MARKDOWN.sub(r"\\\1", escaped)
    # At the start of a line they would begin a list.
    return re.sub(r"^(\s*\d*)([-+.)])(?=\s|$)", r"\1\\\2", escaped)


def markdown_table(table: FindingTable) -> str:
    """A table in GitHub's Markdown, numbers at the right."""
    heads, rows = _texts(table, markdown_text)
    numbers = number_columns(table)
    widths = [max(3, *map(len, column)) for column in zip(heads, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        aligned = (
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(cells, widths, numbers, strict=True)
        )
        return f"| {' | '.join(aligned)} |"

    rule = (
        "-" * (width - 1) + ":" if number else "-" * width
        for width, number in zip(widths, numbers, strict=True)
    )
    lines = [f"**{markdown_text(table.title)}**", "", line(heads), f"| {' | '.join(rule)} |"]
    lines += [line(row) for row in rows]
    lines += ["", markdown_text(table.note)] if table.note else []
    return "\n".join(lines) + "\n"


def markdown(title: str, sentences: Sequence[str], tables: Sequence[FindingTable]) -> str:
    """A document: title, sentences and tables."""
    parts = [f"# {markdown_text(title)}\n"]
    if sentences:
        parts.append("\n".join(f"- {markdown_text(text)}" for text in sentences) + "\n")
    return "\n".join([*parts, *map(markdown_table, tables)])


def latex_text(text: str) -> str:
    """Text that LaTeX typesets as it is."""
    return _LATEX_LETTER.sub(lambda found: _LATEX[found[0]], shown(text))


def _latex_cell(text: str) -> str:
    """A cell; numbers have a minus sign, and intervals are small."""
    if re.fullmatch(r"-?[\d.,]+(e[+-]\d+)?( \[-?[\d.,e+-]+, -?[\d.,e+-]+\])?", text):
        value, bracket, interval = text.partition(" [")
        signed = value.replace("-", "$-$")
        return signed + (f" {{\\small [{interval.replace('-', '$-$')}}}" if bracket else "")
    return latex_text(text)


def latex_table(table: FindingTable, label: str) -> str:
    r"""A ``table`` with the rules of booktabs; ``\usepackage{booktabs}`` must be in the preamble.

    Args:
        table: The table.
        label: What ``\ref{tab:LABEL}`` refers to.
    """
    numbers = number_columns(table)
    heads, rows = _texts(table, _latex_cell)
    note = f" {latex_text(table.note)}" if table.note else ""
    title = latex_text(table.title[:1].upper() + table.title[1:])
    caption = f"{title}{'' if title.endswith('.') else '.'}{note}"
    lines = [
        r"\begin{table}[ht]",
        r"\centering",
        rf"\caption{{{caption}}}",
        rf"\label{{tab:{label}}}",
        rf"\begin{{tabular}}{{{''.join('r' if number else 'l' for number in numbers)}}}",
        r"\toprule",
        " & ".join(heads) + r" \\",
        r"\midrule",
        # A row that begins with a bracket would be read as an option of the line break before.
        *("{}" + " & ".join(row) + r" \\" for row in rows),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def latex(title: str, sentences: Sequence[str], tables: Sequence[FindingTable]) -> str:
    r"""Tables for ``\input``, with the title and the sentences as comments."""
    comments = [f"% {shown(text)}" for text in (title, *sentences)]
    comments.append(r"% Needs \usepackage{booktabs}, and \usepackage[T1]{fontenc} for quotes.")
    found = [latex_table(table, slug) for table, slug in zip(tables, slugs(tables), strict=True)]
    return "\n".join(["\n".join(comments) + "\n", *found])


def slugs(tables: Sequence[FindingTable]) -> list[str]:
    """A name of ASCII letters and digits for each table; equal ones are numbered."""
    names: list[str] = []
    for table in tables:
        words = re.findall("[a-z0-9]+", table.title.casefold())
        base = "-".join(words)[:60] or "table"
        name, number = base, 2
        while name in names:
            name, number = f"{base}-{number}", number + 1
        names.append(name)
    return names


def csv_table(table: FindingTable) -> str:
    """A table as CSV with a header; formulas of spreadsheets are guarded by an apostrophe."""
    columns = _columns(table)
    ranged = [any(isinstance(cell, Estimate) for cell in column) for column in columns]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    heads = zip(table.columns, ranged, strict=True)
    writer.writerow(
        [
            as_text_cell(shown(part))
            for name, wide in heads
            for part in ([name, f"{name} low", f"{name} high"] if wide else [name])
        ]
    )
    for row in table.rows:
        cells = zip(row, ranged, strict=True)
        writer.writerow([part for cell, wide in cells for part in _csv_cells(cell, wide)])
    return file.getvalue()


def _csv_cells(cell: Cell, ranged: bool) -> list[object]:
    if isinstance(cell, Estimate):
        return [repr(cell.value), repr(cell.low), repr(cell.high)]
    value: object = (
        "" if cell is None else as_text_cell(shown(cell)) if isinstance(cell, str) else cell
    )
    return [value, "", ""] if ranged else [value]
