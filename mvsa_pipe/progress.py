"""Progress callbacks of long steps."""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

# Callback before each step; raise to cancel.
OnStep = Callable[[], None]

# The unit of steps that read or write files; listeners show such counts as sizes.
BYTES = "bytes"


# Callback after some units, with their number; ``Progress.advance`` is one.
OnUnits = Callable[[float], None]


def no_callback() -> None:
    """Does nothing before a step."""


def ignore_units(count: float) -> None:
    """Does nothing after some units."""


@runtime_checkable
class Progress(Protocol):
    """Receives the progress of one long step after another."""

    def start(
        self, what: str, total: float, unit: str = "", *, may_end_early: bool = False
    ) -> None:
        """A step with ``total`` units, such as posts or ``BYTES``, begins.

        With ``may_end_early`` it may need fewer: the time left is then an upper bound.
        """

    def advance(self, count: float) -> None:
        """``count`` more units are done; fractions are allowed."""

    def expect(self, total: float) -> None:
        """Changes the number of units of the step."""

    def note(self, text: str) -> None:
        """Shows a note beside the progress."""

    def say(self, line: str) -> None:
        """Shows a message on its own line."""


class NoProgress:
    """Ignores all progress."""

    def start(
        self, what: str, total: float, unit: str = "", *, may_end_early: bool = False
    ) -> None:
        """Ignored."""

    def advance(self, count: float) -> None:
        """Ignored."""

    def expect(self, total: float) -> None:
        """Ignored."""

    def note(self, text: str) -> None:
        """Ignored."""

    def say(self, line: str) -> None:
        """Ignored."""


# The default where a caller need not listen.
NO_PROGRESS = NoProgress()
