"""Gathers every bad row of a file, so that the user mends them all at once."""

import re

from mvsa_pipe.errors import DataError

_MOST_SHOWN = 10
_LONGEST_ID = 1024
CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


class RowFaults:
    """The faults of one file's rows, and the ids that they have used up.

    Args:
        where: How messages name the file.
        unit: What is counted: lines, or rows of a binary table.
    """

    def __init__(self, where: str, unit: str = "line") -> None:
        self.where = where
        self.unit = unit
        self._faults: list[tuple[int, str]] = []
        self._lines: dict[str, int] = {}

    def add(self, line: int, fault: str) -> None:
        """Notes what is wrong with a line (counted from 1)."""
        self._faults.append((line, fault))

    def new_id(self, line: int, post_id: str) -> bool:
        """Whether an id can be used; notes the fault if not."""
        if not post_id:
            self.add(line, "the id is empty")
        elif len(post_id) > _LONGEST_ID:
            self.add(line, f"an id of {len(post_id):,} characters, of {_LONGEST_ID:,} at most")
        elif CONTROL.search(post_id):
            self.add(line, f"the id {post_id!r} holds a control character")
        elif post_id in self._lines:
            self.add(
                line, f"the id {post_id!r} stands in {self.unit} {self._lines[post_id]} already"
            )
        else:
            self._lines[post_id] = line
            return True
        return False

    def raise_any(self, hint: str | None = None) -> None:
        """Ends the reading if any row was bad.

        Raises:
            DataError: Names up to ten of the rows and how many there are in all.
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
            hint=hint or "mend the file; mvsa data check PATH shows whether all is well",
        )
