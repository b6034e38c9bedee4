"""How long steps report on themselves, without knowing who listens."""

from collections.abc import Callable
from typing import Protocol

# Callback before each step; raise to cancel.
OnStep = Callable[[], None]


def no_callback() -> None:
    """Does nothing before a step."""


class Progress(Protocol):
    """Listens to one long step after another."""

    def start(self, what: str, total: int) -> None:
        """A step begins that has ``total`` units."""

    def advance(self, count: int) -> None:
        """``count`` more units are done."""

    def note(self, text: str) -> None:
        """How the step goes, beside how far it is."""

    def say(self, line: str) -> None:
        """Something worth a line happened."""


class NoProgress:
    """Listens to nothing."""

    def start(self, what: str, total: int) -> None:
        """Ignored."""

    def advance(self, count: int) -> None:
        """Ignored."""

    def note(self, text: str) -> None:
        """Ignored."""

    def say(self, line: str) -> None:
        """Ignored."""
