"""Progress of the library: a bar in a notebook or on a terminal, nothing elsewhere."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from mvsa_pipe.progress import NoProgress, Progress

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bar
    from rich.progress import TaskID


@contextmanager
def shown_progress() -> Iterator[Progress]:
    """Progress where somebody can see it move; it is removed even if the step fails."""
    from rich.console import Console

    console = Console(stderr=True, highlight=False, markup=False, emoji=False)
    draws = console.is_terminal or (console.is_jupyter and find_spec("ipywidgets") is not None)
    if not draws:
        yield NoProgress()
        return
    screen = BarProgress(console)
    try:
        yield screen
    finally:
        screen.stop()
        sys.stderr.flush()


class BarProgress(NoProgress):
    """One bar after another; remarks are printed above it.

    Args:
        console: Where it is drawn.
    """

    def __init__(self, console: "Console") -> None:
        self._console = console
        self._bar: Bar | None = None
        self._task: TaskID | None = None

    def start(self, what: str, total: float, *_: object, **__: object) -> None:
        """Begins a step of ``total`` units."""
        from rich import progress

        self.stop()
        plain: Any = {"markup": False}
        self._bar = progress.Progress(
            progress.TextColumn("{task.description}", **plain),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TextColumn("{task.fields[note]}", **plain),
            progress.TimeRemainingColumn(),
            console=self._console,
            transient=True,
        )
        self._task = self._bar.add_task(what, total=total, note="")
        self._bar.start()

    def advance(self, count: float) -> None:
        """Adds ``count`` finished units."""
        if self._bar is not None and self._task is not None:
            self._bar.advance(self._task, count)
            if self._bar.finished:
                self.stop()

    def expect(self, total: float) -> None:
        """Changes how many units the step has."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, total=total)

    def note(self, text: str) -> None:
        """Shows a text beside the bar."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, note=text)

    def say(self, line: str) -> None:
        """Prints a line."""
        self._console.print(line, style="dim")

    def stop(self) -> None:
        """Removes the bar."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = self._task = None
