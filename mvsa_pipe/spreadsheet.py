"""Cells of CSV files that a spreadsheet shows as text, where it would compute them as formulas.

``=HYPERLINK("http://…")`` as a post's id would be a formula to a spreadsheet. Such a cell is
written with an apostrophe before it, and read back without. What starts with apostrophes and
then a formula gets one more, so that reading always returns what was written. Plain numbers
(``-1`` as a class) stay as they are.
"""

import re

# The signs that start a formula, and their full-width forms; a spreadsheet skips the blanks.
_FORMULA = re.compile(r"'*[\t\r\n]*[=+\-@＝＋－＠]|'*[\t\r\n]")
_GUARDED = re.compile(r"'+(?:[\t\r\n]*[=+\-@＝＋－＠]|[\t\r\n])")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


def as_text_cell(text: str) -> str:
    """The cell that stands for a text in a file that a spreadsheet may open."""
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def from_text_cell(cell: str) -> str:
    """The text that ``as_text_cell`` was given."""
    return cell[1:] if _GUARDED.match(cell) else cell
