"""How long steps report on themselves, without knowing who listens."""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

# Callback before each step; raise to cancel.
OnStep = Callable[[], None]

# The unit of steps that read or write files; listeners show such counts as sizes.
BYTES = "bytes"


def no_callback() -> None:
    """Does nothing before a step."""


@runtime_checkable
class Progress(Protocol):
    """Listens to one long step after another."""

    def start(
        self, what: str, total: float, unit: str = "", *, may_end_early: bool = False
    ) -> None:
        """A step begins that has ``total`` units, such as posts or ``BYTES``.

        ``may_end_early`` says that it may need fewer: the time left is then an upper bound.
        """

    def advance(self, count: float) -> None:
        """``count`` more units are done; fractions are allowed."""

    def expect(self, total: float) -> None:
        """The step has ``total`` units after all."""

    def note(self, text: str) -> None:
        """How the step goes, beside how far it is."""

    def say(self, line: str) -> None:
        """Something worth a line happened."""


class NoProgress:
    """Listens to nothing."""

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
