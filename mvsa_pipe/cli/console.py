"""Output of the command line: tables to stdout, remarks and errors to stderr.

Nothing is parsed as markup: ids, classes and paths may contain square brackets. Styled text is a
``Text``. The only control sequences that reach the terminal are the console's colours.
"""

import json
import os
import sys
from collections.abc import Iterable
from typing import IO, Any

from rich._null_file import NULL_FILE
from rich.console import Console
from rich.segment import Segment
from rich.text import Text

from mvsa_pipe.errors import MvsaError
from mvsa_pipe.printable import json_printable, one_line, printable

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
        """The wrapped stream; its sanitising proxy would escape the colours."""
        stream = self._file or (sys.stderr if self.stderr else sys.stdout)
        while (wrapped := getattr(stream, "rich_proxied_file", None)) is not None:
            stream = wrapped
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
    """Prints a line from parts and (part, style); never wrapped, so that paths can be copied."""
    out.print(_assembled(parts), soft_wrap=True)


def sentence(text: str) -> None:
    """Prints a sentence of results; its words are wrapped on a terminal only."""
    out.print(_assembled([text]), soft_wrap=not out.is_terminal)


def remark(*parts: Part) -> None:
    """Prints a remark on stderr; never wrapped."""
    err.print(_assembled(parts), soft_wrap=True)


def _paragraph(heading: str, text: str, style: str = "bold red") -> None:
    # Terminals get wrapped words; logs get one line, so that paths are not broken.
    whole = Text.assemble((f"{heading}: ", style), printable(" ".join(text.split())))
    err.print(whole, soft_wrap=not err.is_terminal)


def report_error(error: MvsaError) -> None:
    """Prints an error as one paragraph."""
    _paragraph("error", error.paragraph())


def report_lost_output(fault: OSError) -> None:
    """Reports that standard output failed."""
    _paragraph(
        "error",
        f"The command finished, but its output could not be written completely: {fault}. Next: "
        "redirect the output elsewhere; files that the command wrote are complete.",
    )


def report_refusal(error: UnicodeEncodeError | OSError | MemoryError) -> None:
    """Reports an error of the operating system that is not an ``MvsaError``."""
    if isinstance(error, UnicodeEncodeError):
        text = (
            f"A name or text cannot be written in {error.encoding}: {error.reason}. Found "
            f"{error.object[:200]!r}. Next: rename it (undecodable bytes are shown as \\udc80 to "
            "\\udcff), or set LC_ALL=C.UTF-8 if its letters are right."
        )
    elif isinstance(error, OSError):
        where = "" if error.filename is None else f" ({error.filename})"
        text = (
            f"The operating system refused a file or folder{where}. Found "
            f"{error.strerror or error}. Next: use another path, or change its permissions."
        )
    else:
        text = (
            f"There is not enough memory. Found {str(error) or 'no memory left'}. Next: free "
            "memory, or use fewer posts or a smaller batch."
        )
    _paragraph("error", text)


def report_interrupt() -> None:
    """Reports an interruption by Ctrl-C."""
    _paragraph(
        "interrupted",
        "no file is incomplete, and committed features are kept; run the same command again to "
        "resume",
        "bold",
    )


def report_surprise(error: Exception) -> None:
    """Reports an unexpected error."""
    _paragraph(
        "internal error",
        f"{type(error).__name__}: {error}. This is a defect of mvsa-pipe, not of your input. "
        "Next: run the same with mvsa --debug and report the traceback.",
    )


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
