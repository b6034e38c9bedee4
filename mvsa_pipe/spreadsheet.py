"""Escapes cells of CSV files that a spreadsheet would evaluate as formulas.

``=HYPERLINK("http://…")`` as a post's id would be a formula. Such a cell is written with a leading
apostrophe, which reading removes. A cell that starts with apostrophes before a formula gets one
more, so that reading returns what was written. Plain numbers (``-1`` as a class) are not changed.
"""

import re

# Signs that start a formula, and their full-width forms; spreadsheets skip leading blanks.
_FORMULA = re.compile(r"'*[\t\r\n]*[=+\-@＝＋－＠]|'*[\t\r\n]")
_GUARDED = re.compile(r"'+(?:[\t\r\n]*[=+\-@＝＋－＠]|[\t\r\n])")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


def as_text_cell(text: str) -> str:
    """The cell for a text in a file that a spreadsheet may open."""
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def from_text_cell(cell: str) -> str:
    """The text of a cell that ``as_text_cell`` wrote."""
    return cell[1:] if _GUARDED.match(cell) else cell
