"""Runs the code blocks of a page of documentation, in order, as its reader would.

A ``python`` block whose first line is ``# NAME.py`` is written to that file; the others run in one
namespace. Of a ``console`` block every line ``$ mvsa ...`` runs, and must end with exit code 0, or
with N where ``# exit code N`` follows it.
"""

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from click.testing import Result

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# ([\w/]+\.py)\n")
_COMMAND = re.compile(r"\$ mvsa (.*?)(?:\s+# exit code (\d+)|\s+#.*)?")


def run_blocks(page: Path, mvsa: Callable[..., Result]) -> int:
    """Runs all blocks in the working directory; returns how many there were."""
    text, space = page.read_text(encoding="utf-8"), {"__name__": "page"}
    count = 0
    for found in _BLOCK.finditer(text):
        kind, code = found.groups()
        line = text[: found.start(2)].count("\n")
        if kind == "python":
            _run_python(code, page, line, space)
        elif kind == "console":
            _run_console(code, page, line, mvsa)
        else:
            continue
        count += 1
    return count


def _run_python(code: str, page: Path, line: int, space: dict[str, Any]) -> None:
    file = _FILE.match(code)
    if file is not None:
        Path(file[1]).write_text(code, encoding="utf-8")
        return
    # line numbers of tracebacks are those of the page
    exec(compile("\n" * line + code, str(page), "exec"), space)


def _run_console(code: str, page: Path, line: int, mvsa: Callable[..., Result]) -> None:
    for number, typed in enumerate(code.splitlines(), start=line + 1):
        found = _COMMAND.fullmatch(typed)
        if found is None:
            continue
        result = mvsa(*shlex.split(found[1]))
        place = f"{page.name}, line {number}: {typed}"
        assert result.exit_code == int(found[2] or 0), f"{place}\n{result.output}"
