"""Cells of tables as text: the same digits in a column, on pages, in documents and in notebooks."""

from typing import NamedTuple

from mvsa_pipe.analysis.finding import Cell, Estimate, FindingTable

NOT_RECORDED = "–"


class ShownCell(NamedTuple):
    """A cell as it is shown.

    Attributes:
        text: Its main part.
        detail: Its interval.
        order: What a table is sorted by; empty for text.
        number: Whether it is aligned as a number.
    """

    text: str
    detail: str = ""
    order: str = ""
    number: bool = False


class Column(NamedTuple):
    """How a column of a table is shown.

    Attributes:
        number: Whether it has numbers, which are aligned at the right.
        percent: Whether they are shown in percent.
        decimals: Digits after the point.
    """

    number: bool
    percent: bool
    decimals: int


def columns_of(table: FindingTable) -> list[Column]:
    """How each column of a table is shown: all numbers of one with as many digits."""
    found = []
    for place, heading in enumerate(table.columns):
        cells = [row[place] for row in table.rows]
        values = [cell.value if isinstance(cell, Estimate) else cell for cell in cells]
        numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
        largest = max((abs(v) for v in numbers), default=0.0)
        percent = heading in table.percent
        decimals = 1 if percent or 10 <= largest < 1000 else 3 if largest < 10 else 0
        found.append(Column(bool(numbers), percent, decimals))
    return found


def shown_cell(cell: Cell, column: Column) -> ShownCell:
    """A cell of a table as text, with what it is sorted by."""
    if cell is None:
        return ShownCell(NOT_RECORDED)
    if isinstance(cell, bool):
        return ShownCell("yes" if cell else "no")
    if isinstance(cell, Estimate):
        value, low, high = (_number(n, column) for n in (cell.value, cell.low, cell.high))
        return ShownCell(value, f"{low}, {high}", repr(cell.value), number=True)
    if isinstance(cell, int):
        return ShownCell(f"{cell:,}", "", str(cell), number=True)
    if isinstance(cell, float):
        tiny = 0 < cell < 0.001 and column.decimals == 3
        text = "< 0.001" if tiny else _number(cell, column)
        return ShownCell(text, "", repr(cell), number=True)
    return ShownCell(cell)


def shown_text(cell: Cell, column: Column) -> str:
    """A cell on one line: an estimate with its interval."""
    shown = shown_cell(cell, column)
    return f"{shown.text} [{shown.detail}]" if shown.detail else shown.text


def _number(value: float, column: Column) -> str:
    shown = f"{100 * value if column.percent else value:,.{column.decimals}f}"
    return shown if shown.strip("-0.,") else shown.removeprefix("-")  # no minus before a zero
