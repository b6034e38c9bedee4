"""Findings of analyses in a terminal: tables, the verdict, and how it was computed."""

from typing import TYPE_CHECKING

from rich.text import Text

from mvsa_pipe.cli.console import line, out, sentence
from mvsa_pipe.cli.tables import titled

if TYPE_CHECKING:
    from mvsa_pipe.analysis.finding import Finding, FindingTable


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
    from mvsa_pipe.reports.cells import columns_of, shown_text

    shown, columns = titled(table.title), columns_of(table)
    for heading, column in zip(table.columns, columns, strict=True):
        title = Text(f"{heading} %" if column.percent else heading)
        shown.add_column(title, justify="right" if column.number else "left", overflow="fold")
    for row in table.rows:
        shown.add_row(*(shown_text(*cell) for cell in zip(row, columns, strict=True)))
    out.print(shown)
    if table.note:
        line((table.note, "dim"))
