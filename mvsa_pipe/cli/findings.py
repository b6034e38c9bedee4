"""Findings of analyses in a terminal: tables, the verdict, and how it was computed."""

from typing import TYPE_CHECKING

from rich.text import Text

from mvsa_pipe.cli.console import line, out, sentence
from mvsa_pipe.cli.tables import NOT_RECORDED, titled

if TYPE_CHECKING:
    from mvsa_pipe.analysis.finding import Cell, Finding, FindingTable


def show_finding(finding: "Finding") -> None:
    """Prints a finding; fits 80 columns where its tables do."""
    line((finding.question, "bold"))
    for table in finding.tables:
        _show_table(table)
    for text in finding.verdict:
        sentence(text)
    for text in finding.method:
        line((text, "dim"))


def _show_table(table: "FindingTable") -> None:
    shown = titled(table.title)
    for place, heading in enumerate(table.columns):
        unit = " %" if heading in table.percent else ""
        number = place > 0 and any(not isinstance(row[place], str) for row in table.rows)
        shown.add_column(
            Text(heading + unit), justify="right" if number else "left", overflow="fold"
        )
    for row in table.rows:
        cells = zip(table.columns, row, strict=True)
        shown.add_row(*(cell_text(cell, percent=name in table.percent) for name, cell in cells))
    out.print(shown)
    if table.note:
        line((table.note, "dim"))


def cell_text(cell: "Cell", *, percent: bool) -> str:
    """A cell as text: estimates with their intervals."""
    from mvsa_pipe.analysis.finding import Estimate

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
    return cell


def _number(value: float, percent: bool) -> str:
    return f"{100 * value:.1f}" if percent else f"{value:.3f}"
