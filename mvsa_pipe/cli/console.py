"""Output of the command line: tables to stdout, progress and errors to stderr.

Nothing is read as markup: ids, classes and paths may hold square brackets. What has a style is a
``Text``. Nothing reaches the terminal as a control sequence but the console's own colours.
"""

import json
import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO, Any

from rich._null_file import NULL_FILE
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
from rich.segment import Segment
from rich.text import Text

from mvsa_pipe.cli.printable import json_printable, one_line, printable
from mvsa_pipe.errors import MvsaError

# Files and pipes may have wider tables than the 80 columns that rich assumes.
_FILE_COLUMNS = 120


class SafeConsole(Console):
    """A console that escapes control characters in all text."""

    def __init__(self, *, stderr: bool = False, **options: Any) -> None:  # noqa: ANN401  # rich's
        stream = sys.stderr if stderr else sys.stdout
        terminal = stream is not None and stream.isatty()
        width = None if terminal or "COLUMNS" in os.environ else _FILE_COLUMNS
        options = {"width": width, "highlight": False, "markup": False, "emoji": False} | options
        super().__init__(stderr=stderr, **options)

    @property
    def file(self) -> IO[str]:
        """The stream itself, not its sanitising proxy, which would escape the colours."""
        stream = self._file or (sys.stderr if self.stderr else sys.stdout)
        while (behind := getattr(stream, "rich_proxied_file", None)) is not None:
            stream = behind
        return stream if stream is not None else NULL_FILE

    @file.setter
    def file(self, stream: IO[str]) -> None:
        self._file = stream

    def _render_buffer(self, buffer: Iterable[Segment]) -> str:
        """Renders the buffer; the last step at which text and colours are separate."""
        return super()._render_buffer(map(_safe, buffer))


def _safe(segment: Segment) -> Segment:
    if segment.control:
        return segment
    style = segment.style
    if style is not None and style.link is not None:  # from a library's own coloured output
        style = style.update_link(None)
    return Segment(printable(segment.text), style)


out = SafeConsole()
err = SafeConsole(stderr=True)

# Without a terminal, a step prints its progress this often.
_LINE_SECONDS = 10.0


def show_json(record: Any) -> None:  # noqa: ANN401  # JSON is any plain value
    """Prints a record for machines."""
    has_unicode = out.encoding.startswith("utf")
    document = json.dumps(record, indent=2, ensure_ascii=not has_unicode, default=str)
    print(json_printable(document))  # noqa: T201


Part = str | tuple[str, str]


def _assembled(parts: Iterable[Part]) -> Text:
    """One line of text; line breaks in names are escaped, as they could imitate our output."""
    return Text.assemble(
        *(one_line(p) if isinstance(p, str) else (one_line(p[0]), p[1]) for p in parts)
    )


def line(*parts: Part) -> None:
    """Prints a line of results from parts and (part, style); never wrapped, so that paths copy."""
    out.print(_assembled(parts), soft_wrap=True)


def remark(*parts: Part) -> None:
    """Prints a remark on stderr; never wrapped."""
    err.print(_assembled(parts), soft_wrap=True)


def _paragraph(heading: str, text: str, style: str = "bold red") -> None:
    # Terminals get wrapped words; logs get one line, in which paths stay whole.
    whole = Text.assemble((f"{heading}: ", style), printable(" ".join(text.split())))
    err.print(whole, soft_wrap=not err.is_terminal)


def report_error(error: MvsaError) -> None:
    """Prints an error as one paragraph."""
    _paragraph("error", error.paragraph())


def report_lost_output(fault: OSError) -> None:
    """Reports that standard output did not take everything that was printed."""
    _paragraph(
        "error",
        f"The work was done, but its output could not all be written: {fault}. Next: send the "
        "output to another place; what the command wrote to files is complete.",
    )


def report_refusal(error: UnicodeEncodeError | OSError | MemoryError) -> None:
    """Reports an error of the operating system that has no message of its own."""
    if isinstance(error, UnicodeEncodeError):
        text = (
            f"A name or text cannot be written in {error.encoding}: {error.reason}. Found "
            f"{error.object[:200]!r}. Next: give it another name (undecodable bytes stand as "
            "\\udc80 to \\udcff), or set LC_ALL=C.UTF-8 if its letters are right."
        )
    elif isinstance(error, OSError):
        where = "" if error.filename is None else f" ({error.filename})"
        text = (
            f"The operating system refused a file or folder{where}. Found "
            f"{error.strerror or error}. Next: name another path, or mend its permissions."
        )
    else:
        text = (
            f"This needs more memory than there is. Found {str(error) or 'no memory left'}. Next: "
            "free memory, or take fewer posts or a smaller batch."
        )
    _paragraph("error", text)


def report_interrupt() -> None:
    """Reports what remains after Ctrl-C."""
    _paragraph(
        "interrupted",
        "nothing is half-written, and features that were committed stay; run the same command "
        "again",
        "bold",
    )


def report_surprise(error: Exception) -> None:
    """Reports an unexpected error."""
    _paragraph(
        "internal error",
        f"{type(error).__name__}: {error}. This is a defect of mvsa-pipe, not of your input. "
        "Next: run the same with mvsa --debug and report the traceback.",
    )


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.1f}/s", style="cyan")


class ScreenProgress:
    """A bar with rate and time left on a terminal, plain lines elsewhere; all on stderr."""

    def __init__(self) -> None:
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._what, self._total, self._done, self._note = "", 0, 0, ""
        self._began = self._said = time.monotonic()

    def start(self, what: str, total: int) -> None:
        """Begins a step of ``total`` units."""
        self._what, self._total, self._done, self._note = what, total, 0, ""
        self._began = self._said = time.monotonic()
        if not err.is_terminal:
            return
        self.stop()
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(),
            TextColumn("{task.fields[note]}", markup=False),
            TimeRemainingColumn(),
            console=err,
            transient=True,
        )
        self._task = self._bar.add_task(what, total=total, note="")
        self._bar.start()

    def advance(self, count: int) -> None:
        """Adds ``count`` finished units."""
        self._done += count
        if self._bar is not None and self._task is not None:
            self._bar.advance(self._task, count)
        else:
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
        note = f", {self._note}" if self._note else ""
        remark(
            f"{self._what}: {self._done:,}/{self._total:,}, {rate:,.1f}/s{note}, {left:,.0f} s left"
        )

    def note(self, text: str) -> None:
        """Sets a text that is shown next to the progress."""
        self._note = text
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, note=text)

    def say(self, line: str) -> None:
        """Prints a line."""
        remark((line, "dim"))

    def stop(self) -> None:
        """Removes the bar from the screen."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = self._task = None


@contextmanager
def progress() -> Iterator[ScreenProgress]:
    """Progress on the screen, which is cleared even if the step fails."""
    screen = ScreenProgress()
    try:
        yield screen
    finally:
        screen.stop()
        sys.stderr.flush()


def size(count: float) -> str:
    """Bytes in a suitable unit."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:,.0f} {unit}" if unit == "B" else f"{count:,.1f} {unit}"
        count /= 1000
    return f"{count:,.1f} TB"


def percent(value: float) -> str:
    """A share as a percentage with one decimal."""
    return f"{100 * value:.1f}"


def interval(bounds: tuple[float, float]) -> str:
    """``[70.2, 77.9]``."""
    return f"[{percent(bounds[0])}, {percent(bounds[1])}]"
