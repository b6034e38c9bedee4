"""Progress on stderr: a bar on a terminal or in a notebook, plain lines elsewhere."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from mvsa_pipe.cli import console
from mvsa_pipe.printable import one_line
from mvsa_pipe.progress import BYTES

# Without a terminal, a step prints a line this often, and less often the longer it takes: at
# least a tenth of its time lies between two lines.
_LINE_SECONDS = 10.0
_LINE_SHARE = 0.1

# No rate is told of less than one unit or this share of a step.
_RATE_SHARE = 0.02

# Drawing takes half a millisecond of the interpreter, which training needs, too.
_DRAWN_PER_SECOND = 4

# A step is done when less than this share of it is missing: fractions do not add up exactly.
_ROUNDING = 1e-9


class ScreenProgress:
    """A bar with rate and time left on a terminal, plain lines elsewhere; all on stderr.

    Any thread may call it.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._live: Live | None = None
        self._closed = False
        self._begin("", 0.0, "", may_end_early=False)

    def _begin(self, what: str, total: float, unit: str, *, may_end_early: bool) -> None:
        self._what, self._total, self._unit, self._note = what, total, unit, ""
        self._bounded, self._done, self._fractions = may_end_early, 0.0, False
        self._began = self._said = time.monotonic()

    def start(
        self, what: str, total: float, unit: str = "", *, may_end_early: bool = False
    ) -> None:
        """Begins a step of ``total`` units."""
        with self._lock:
            if self._closed:
                return
            self.stop()
            self._begin(what, total, unit, may_end_early=may_end_early)
            if not draws():
                return
            self._live = Live(
                get_renderable=self._drawn,
                console=console.err,
                refresh_per_second=_DRAWN_PER_SECOND,
                transient=True,
                redirect_stdout=sys.stdout is not None and sys.stdout.isatty(),
            )
            self._live.start(refresh=True)

    def advance(self, count: float) -> None:
        """Adds ``count`` finished units."""
        with self._lock:
            if self._closed:
                return
            self._done += count
            self._fractions = self._fractions or not float(count).is_integer()
            ended = self._done >= self._total * (1 - _ROUNDING)
            if self._live is None and not draws():
                self._say_now_and_then(ended=ended)
            if ended:
                self.stop()

    def expect(self, total: float) -> None:
        """Changes how many units the step has."""
        with self._lock:
            self._total = total

    def note(self, text: str) -> None:
        """Sets a text that is shown next to the progress."""
        with self._lock:
            self._note = text

    def say(self, line: str) -> None:
        """Prints a line."""
        if not self._closed:
            console.remark((line, "dim"))

    def stop(self) -> None:
        """Removes the bar from the screen."""
        with self._lock:
            if self._live is not None:
                self._live.stop()
                self._live = None

    def close(self) -> None:
        """Removes the bar and ignores what follows, such as threads that have not ended yet."""
        with self._lock:
            self._closed = True
            self.stop()

    def _say_now_and_then(self, *, ended: bool) -> None:
        now = time.monotonic()
        waited = now - self._said
        if not ended and waited < max(_LINE_SECONDS, _LINE_SHARE * (now - self._began)):
            return
        self._said = now
        console.remark(", ".join(filter(None, (f"{self._what}: {self._count()}", *self._facts()))))

    def _facts(self) -> tuple[str, str, str]:
        """Rate, note and time of a plain line."""
        return self._rate(), self._note, self._time()

    def _count(self) -> str:
        if self._unit == BYTES:
            return f"{console.size(self._done)} of {console.size(self._total)}"
        done = self._done + _ROUNDING * self._total  # 2.999... of three are three
        shown = f"{done:,.1f}" if self._fractions else f"{int(done):,}"
        return f"{shown}/{self._total:,.0f} {self._unit}".rstrip()

    def _rate(self) -> str:
        spent = time.monotonic() - self._began
        if not self._tells_rate() or not spent:
            return ""
        rate = self._done / spent
        if self._unit == BYTES:
            return f"{console.size(rate)}/s"
        return f"{rate:,.1f}/s" if rate >= 1 else f"{duration(1 / rate)} each"

    def _tells_rate(self) -> bool:
        """Whether enough is done: the first part of a first unit pays for warming up."""
        return self._done >= min(1.0, _RATE_SHARE * self._total) > 0

    def _time(self) -> str:
        """How long the step took, or will still take."""
        spent = time.monotonic() - self._began
        if self._done >= self._total * (1 - _ROUNDING):
            return f"took {duration(spent)}"
        if not self._tells_rate():
            return ""
        left = spent * (self._total - self._done) / self._done
        return f"{'at most ' if self._bounded else ''}{duration(left)} left"

    def _drawn(self) -> RenderableType:
        """The bar, under what is done and how it goes.

        Takes no lock: the drawing thread has rich's own, which ``stop`` waits for.
        """
        heading = f"{self._what}: {self._note}" if self._note else self._what
        facts = [fact for fact in (self._count(), self._rate(), self._time()) if fact]
        line = Table.grid(padding=(0, 2, 0, 0), expand=True)
        line.add_column(ratio=1)
        for _ in facts:
            line.add_column(no_wrap=True, justify="right")
        bar = ProgressBar(total=self._total, completed=self._done)
        line.add_row(bar, *map(Text, facts))
        return Group(Text(one_line(heading)), line)


def draws() -> bool:
    """Whether stderr can show a bar; a dumb terminal cannot move its cursor."""
    err = console.err
    if err.is_jupyter:
        return find_spec("ipywidgets") is not None
    return err.is_terminal and not err.is_dumb_terminal


def duration(seconds: float) -> str:
    """A duration in a suitable unit, with two or three digits."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:,.1f} h"


@contextmanager
def progress() -> Iterator[ScreenProgress]:
    """Progress on the screen, which is cleared even if the step fails."""
    screen = ScreenProgress()
    try:
        yield screen
    finally:
        screen.close()
        if sys.stderr is not None:
            sys.stderr.flush()
