"""Collects all faulty rows of a file, so that one error reports them together."""

import re

from mvsa_pipe.errors import DataError

_MOST_SHOWN = 10
_LONGEST_ID = 1024
_LONGEST_TEXT = 2**20
CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")

_HALF_CHARACTER = re.compile(r"[\ud800-\udfff]")


def text_fault(text: str | None) -> str:
    """Why a post cannot have a text; empty if it can."""
    if text is not None and _HALF_CHARACTER.search(text):
        return "the text contains an unpaired surrogate, which no encoding can write"
    if text is not None and len(text) > _LONGEST_TEXT:
        return f"a text of {len(text):,} characters, where a post has at most {_LONGEST_TEXT:,}"
    return ""


class RowFaults:
    """The faults of one file's rows, and the ids that occurred.

    Args:
        where: The file's name in messages.
        unit: The unit of line numbers: lines, or rows of a binary table.
    """

    def __init__(self, where: str, unit: str = "line") -> None:
        self.where = where
        self.unit = unit
        self._faults: list[tuple[int, str]] = []
        self._lines: dict[str, int] = {}

    def add(self, line: int, fault: str) -> None:
        """Records the fault of a line (counted from 1)."""
        self._faults.append((line, fault))

    def new_id(self, line: int, post_id: str) -> bool:
        """Whether an id can be used; records the fault if not."""
        if not post_id:
            self.add(line, "the id is empty")
        elif len(post_id) > _LONGEST_ID:
            self.add(line, f"an id of {len(post_id):,} characters, of {_LONGEST_ID:,} at most")
        elif CONTROL.search(post_id):
            self.add(line, f"the id {post_id!r} contains a control character")
        elif post_id in self._lines:
            self.add(
                line, f"the id {post_id!r} already occurs in {self.unit} {self._lines[post_id]}"
            )
        else:
            self._lines[post_id] = line
            return True
        return False

    def raise_any(self, hint: str | None = None) -> None:
        """Raises an error if any row was faulty.

        Raises:
            DataError: Names up to ten of the rows and the number of all.
        """
        if not self._faults:
            return
        shown = "; ".join(
            f"{self.unit} {line}: {fault}" for line, fault in self._faults[:_MOST_SHOWN]
        )
        more = len(self._faults) - _MOST_SHOWN
        count = len(self._faults)
        raise DataError(
            "A row cannot be used" if count == 1 else f"{count:,} rows cannot be used",
            where=f"{self.where}:{self._faults[0][0]}" if count == 1 else self.where,
            found=shown if more <= 0 else f"{shown}; and {more:,} more",
            hint=hint or "correct the file; mvsa data check PATH shows what is left",
        )
