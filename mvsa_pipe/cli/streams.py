"""Standard output and error that never end a command: safe characters, any encoding, any reader.

``secure_streams`` runs once, before a verb does. After it, text that any library prints through
``sys.stdout`` and ``sys.stderr`` is sanitised. rich's consoles bypass this, as their colours are
control sequences, too (``cli.console`` sanitises their input).
"""

import codecs
import io
import os
import sys
from typing import Any, TextIO

from mvsa_pipe.printable import printable

_DEGRADE = "mvsa-degrade"

# Replacements of our own non-ASCII characters, for terminals that cannot show them.
_PLAINER = str.maketrans(
    {
        "…": "...", "×": "x", "±": "+/-", "→": "->", "–": "-", "—": "-", "’": "'", "‘": "'",
        "“": '"', "”": '"', "≥": ">=", "≤": "<=", "≈": "~", "·": "-", "•": "*", "†": "+",
        "━": "-", "─": "-", "╸": "-", "╺": "-", "│": "|", "┃": "|", "╭": "+", "╮": "+",
        "╰": "+", "╯": "+", "µ": "u", "−": "-", "\u00a0": " ",
    }
)  # fmt: skip


def _degrade(error: UnicodeError) -> tuple[str | bytes, int]:
    """Replacements of characters that are not in an encoding: similar ones, or their number."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    replaced = error.object[error.start : error.end].translate(_PLAINER)
    return replaced.encode("ascii", "backslashreplace").decode("ascii"), error.end


codecs.register_error(_DEGRADE, _degrade)


def fitting(text: str, encoding: str) -> str:
    """A text with only characters of an encoding; unchanged for UTF-8."""
    return text.encode(encoding, _DEGRADE).decode(encoding)


class TolerantStream:
    """A text stream that never raises: after a failure it discards all further text.

    Attributes:
        fault: The failure; ``None`` if there was none.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.fault: OSError | None = None

    def write(self, text: str) -> int:
        """Writes text, unless the stream has failed."""
        self._attempt(lambda: self._stream.write(text))
        return len(text)

    def writelines(self, lines: Any) -> None:  # noqa: ANN401  # any iterable of lines
        """Writes several texts."""
        for text in lines:
            self.write(text)

    def flush(self) -> None:
        """Flushes the buffer, unless the stream has failed."""
        self._attempt(self._stream.flush)

    def _attempt(self, action: Any) -> None:  # noqa: ANN401  # any callable
        if self.fault is not None:
            return
        try:
            action()
        except UnicodeError:
            raise  # a defect: the stream's error handler accepts every character
        except OSError as error:
            self.fault = error
            self._discard()
        except ValueError as error:  # the stream was closed
            self.fault = OSError(str(error))

    def _discard(self) -> None:
        """Redirects the buffer to the null device, so that Python can shut down without errors."""
        try:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
        except (OSError, ValueError):
            pass

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  # any attribute of a text stream
        return getattr(self._stream, name)


class Sanitised(TolerantStream):
    """Replaces ``sys.stdout`` and ``sys.stderr``: control characters are escaped.

    Attributes:
        rich_proxied_file: Where rich's consoles write instead; the name is rich's.
    """

    def __init__(self, outlet: TolerantStream) -> None:
        super().__init__(outlet)  # type: ignore[arg-type]  # it is used as a stream
        self.rich_proxied_file = outlet

    def write(self, text: str) -> int:
        """Writes text as ``printable`` returns it."""
        # Libraries' progress bars use carriage returns, which are harmless on a terminal.
        parts = text.split("\r") if self._stream.isatty() else [text]
        return super().write("\r".join(map(printable, parts)))


def require_utf8_names() -> None:
    """Restarts Python in its UTF-8 mode if file names would have to be ASCII.

    This happens in the POSIX locale if Python's own remedies (PEP 538, PEP 540) are switched off:
    pictures with non-ASCII names could not be opened. Output keeps the terminal's encoding.
    """
    if codecs.lookup(sys.getfilesystemencoding()).name != "ascii" or not sys.executable:
        return
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    os.environ.setdefault("PYTHONIOENCODING", encoding)
    os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])  # noqa: S606


def secure_streams() -> None:
    """Makes both output streams safe, whether they are terminals, files or closed."""
    _fill_closed_descriptors()
    sys.stdout = _secured(sys.stdout)
    sys.stderr = _secured(sys.stderr)


def output_fault() -> OSError | None:
    """Why standard output lost text; ``None`` if it did not, or if its reader closed the pipe."""
    fault: OSError | None = getattr(getattr(sys.stdout, "rich_proxied_file", None), "fault", None)
    return None if isinstance(fault, BrokenPipeError) else fault


def _fill_closed_descriptors() -> None:
    """Opens closed standard descriptors, so that none of our files gets their numbers.

    Libraries that print to descriptor 1 would otherwise write into such a file.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number


def _secured(stream: TextIO | None) -> Any:  # noqa: ANN401  # has the interface of a stream
    if stream is None:
        stream = io.TextIOWrapper(io.FileIO(os.open(os.devnull, os.O_WRONLY), "w"), "utf-8")
    if isinstance(stream, Sanitised):
        return stream
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors=_DEGRADE)
    return Sanitised(TolerantStream(stream))
