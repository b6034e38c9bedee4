"""Tables as Markdown, LaTeX and CSV.

Markdown and LaTeX show numbers as the page does. CSV has them in full, with the bounds of intervals
in columns of their own. All text from data is escaped.
"""

import csv
import io
import re
from collections.abc import Callable, Sequence

from mvsa_pipe.analysis.finding import Cell, Estimate, FindingTable
from mvsa_pipe.posts.tables.csv_rows import as_text_cell
from mvsa_pipe.reports.cells import columns_of, shown_text
from mvsa_pipe.reports.plot_text import shown

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


def _columns(table: FindingTable) -> list[list[Cell]]:
    return [[row[place] for row in table.rows] for place in range(len(table.columns))]


def _texts(table: FindingTable, escaped: Callable[[str], str]) -> tuple[list[str], list[list[str]]]:
    """Headings and rows as escaped text."""
    heads = [
        escaped(shown(name) + (" %" if name in table.percent else "")) for name in table.columns
    ]
    columns = columns_of(table)
    rows = [
        [escaped(shown_text(cell, column)) for cell, column in zip(row, columns, strict=True)]
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
    numbers = [column.number for column in columns_of(table)]
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
    numbers = [column.number for column in columns_of(table)]
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
