"""How everything looks on the screen: tables to stdout, progress and errors to stderr."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from mvsa_pipe.errors import MvsaError

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

# Without a terminal a step reports itself this often, in lines.
_LINE_SECONDS = 10.0


def show_json(record: Any) -> None:  # noqa: ANN401  # JSON is any plain value
    """Prints a record for machines."""
    print(json.dumps(record, indent=2, ensure_ascii=False, default=str))  # noqa: T201


def report_error(error: MvsaError) -> None:
    """One clear paragraph."""
    err.print(Text("error: ", style="bold red") + Text(error.paragraph()))


def report_interrupt() -> None:
    """What a Ctrl-C leaves behind."""
    err.print("[bold]interrupted[/]: what was committed stays; the same command goes on from there")


def report_surprise(error: Exception) -> None:
    """An error that nobody foresaw."""
    err.print(
        Text("internal error: ", style="bold red")
        + Text(
            f"{type(error).__name__}: {error}. This is a defect of mvsa-pipe, not of your input. "
            "Next: run the same with mvsa --debug and report the traceback."
        )
    )


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.1f}/s", style="cyan")


class ScreenProgress:
    """A bar with rate and time left on a terminal, plain lines elsewhere, nothing when quiet."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._what, self._total, self._done = "", 0, 0
        self._began = self._said = time.monotonic()

    def start(self, what: str, total: int) -> None:
        """A step begins that has ``total`` units."""
        self._what, self._total, self._done = what, total, 0
        self._began = self._said = time.monotonic()
        if self._quiet or not err.is_terminal:
            return
        self.stop()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(),
            TimeRemainingColumn(),
            console=err,
            transient=True,
        )
        self._task = self._bar.add_task(what, total=total)
        self._bar.start()

    def advance(self, count: int) -> None:
        """``count`` more units are done."""
        self._done += count
        if self._bar is not None and self._task is not None:
            self._bar.advance(self._task, count)
        elif not self._quiet:
            self._say_now_and_then()
        if self._done >= self._total:
            self.stop()

    def _say_now_and_then(self) -> None:
        now = time.monotonic()
        if now - self._said < _LINE_SECONDS and self._done < self._total:
            return
        self._said = now
        rate = self._done / max(now - self._began, 1e-9)
        left = (self._total - self._done) / max(rate, 1e-9)
        err.print(
            f"{self._what}: {self._done:,}/{self._total:,}, {rate:,.1f}/s, {left:,.0f} s left"
        )

    def say(self, line: str) -> None:
        """Something worth a line happened."""
        if not self._quiet:
            err.print(f"[dim]{line}[/]")

    def stop(self) -> None:
        """Takes the bar off the screen."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = self._task = None


@contextmanager
def progress(*, quiet: bool) -> Iterator[ScreenProgress]:
    """Progress on the screen that is cleared however the step ends."""
    screen = ScreenProgress(quiet=quiet)
    try:
        yield screen
    finally:
        screen.stop()
        sys.stderr.flush()


def size(count: float) -> str:
    """Bytes in the unit that reads best."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:,.0f} {unit}" if unit == "B" else f"{count:,.1f} {unit}"
        count /= 1000
    return f"{count:,.1f} TB"


def percent(value: float) -> str:
    """A share as a percentage with one decimal."""
    return f"{100 * value:.1f}"


def with_interval(value: float, interval: tuple[float, float] | None) -> str:
    """``74.1 [70.2, 77.9]``."""
    if interval is None:
        return percent(value)
    return f"{percent(value)} [dim]\\[{percent(interval[0])}, {percent(interval[1])}][/]"
