"""Results that show themselves: as a pandas frame, as a table in a notebook, as a short text."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import islice
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

# Longer tables are cut where they are shown; a frame has every row.
_MOST_SHOWN = 20
_MOST_LETTERS = 60

Row = Mapping[str, Any]


class Tabular(ABC):
    """Base of results with rows: ``to_frame``, and how consoles and notebooks show them.

    A dataclass that derives from it is declared with ``repr=False``.
    """

    @abstractmethod
    def table_rows(self) -> Iterable[Row]:
        """The rows, each a mapping of the same column names to plain values."""

    @abstractmethod
    def table_title(self) -> str:
        """One line above the table."""

    def table_notes(self) -> Sequence[str]:
        """Sentences below the table."""
        return ()

    def to_frame(self) -> "pd.DataFrame":
        """The rows as a pandas frame, with numbers as numbers."""
        import pandas as pd  # takes longer to import than most tables to show

        return pd.DataFrame([dict(row) for row in self.table_rows()])

    def __repr__(self) -> str:
        cells, more = self._cells()
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in cells
        ]
        return "\n".join([self.table_title(), *lines, *more, *self.table_notes()])

    def _repr_html_(self) -> str:
        cells, more = self._cells()
        header, *rows = cells or [[]]
        head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
        body = "".join(
            f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows
        )
        notes = "".join(f"<p>{escape(note)}</p>" for note in [*more, *self.table_notes()])
        caption = f"<caption>{escape(self.table_title())}</caption>"
        return f"<table>{caption}<tr>{head}</tr>{body}</table>{notes}"

    def _cells(self) -> tuple[list[list[str]], list[str]]:
        """The first rows as text, below their header, and a note if there are more."""
        rows = list(islice(self.table_rows(), _MOST_SHOWN + 1))
        cells = [[*map(shown, row.values())] for row in rows[:_MOST_SHOWN]]
        more = ["… to_frame() has more rows"] if len(rows) > _MOST_SHOWN else []
        return [list(rows[0]), *cells] if rows else [], more


@dataclass(frozen=True, repr=False)
class Table(Tabular):
    """Rows under a title.

    Attributes:
        title: One line above the table.
        rows: The rows.
        notes: Sentences below the table.
    """

    title: str
    rows: Sequence[Row]
    notes: tuple[str, ...] = ()

    def table_rows(self) -> Sequence[Row]:
        """The rows."""
        return self.rows

    def table_title(self) -> str:
        """The title."""
        return self.title

    def table_notes(self) -> Sequence[str]:
        """The notes."""
        return self.notes

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.rows)


def shown(value: object) -> str:
    """A value as a cell shows it: fractions with four digits, control characters escaped."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    text = "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii")
        for letter in str(value)
    )
    return text if len(text) <= _MOST_LETTERS else f"{text[: _MOST_LETTERS - 1]}…"
