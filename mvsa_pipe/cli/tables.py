"""Tables of several verbs, whose cells are safe to print."""

from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from mvsa_pipe.cli.console import out
from mvsa_pipe.cli.streams import fitting
from mvsa_pipe.printable import one_line

# Shown for values that a record lacks.
NOT_RECORDED = "–"


class SafeTable(Table):
    """A table whose cells are measured after control characters are escaped."""

    def add_row(self, *cells: RenderableType | None, **options: Any) -> None:  # noqa: ANN401  # rich's
        """Adds a row; line breaks are escaped in plain strings and kept in a ``Text``."""
        super().add_row(*(cell_text(c) if isinstance(c, str) else c for c in cells), **options)


def cell_text(text: str) -> str:
    """One line for a cell: no control characters, in the encoding of the output."""
    return fitting(one_line(text), out.encoding)


def titled(title: str, *headings: str) -> Table:
    """An empty table with a title, which is wrapped to the table's width."""
    title_text = Text(cell_text(title), style="bold", overflow="fold")
    table = SafeTable(title=title_text, title_justify="left")
    for heading in headings:  # names that are cut could not be told apart
        table.add_column(Text(cell_text(heading)), overflow="fold")
    return table


def add_numbers(table: Table, *headings: str) -> None:
    """Adds right-aligned columns of numbers."""
    for heading in headings:
        table.add_column(Text(cell_text(heading)), justify="right", no_wrap=True)
