"""Progress of the command line from outside: on a terminal of 80 columns, and into files."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from cli_support import on_terminal

pytestmark = pytest.mark.usefixtures("workplace")

LONG = ["fit", "--head", "basic", "--epochs", "100000", "--patience", "0", "--set", "hidden=8"]


def plain(written: str) -> list[str]:
    """The lines of what a terminal was sent, without control sequences."""
    return re.sub(r"\x1b\[[?0-9;]*[A-Za-z]", "", written).replace("\r", "\n").splitlines()


def test_a_terminal_shows_epochs_and_time_left_in_80_columns() -> None:
    code, written = on_terminal(*LONG, interrupt_at=b"best")
    lines = plain(written)
    assert code == 130
    assert any(re.search(r"\d/100,000 epochs  .* (left|took .*)$", line.strip()) for line in lines)
    assert any(
        re.match(r"basic: loss [\d.]+, validation macro-F1 [\d.]+ %, best [\d.]+ % \(epoch", line)
        for line in lines
    )
    drawn = [line for line in lines if "━" in line or line.startswith("basic")]
    assert max(map(len, drawn)) <= 80
    assert written.rindex("\x1b[?25h") > written.rindex("\x1b[?25l")  # the cursor is back
    assert "interrupted: " in written
    assert not list(Path("runs").glob("*"))


def test_files_get_lines_without_control_sequences() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "mvsa_pipe",
            "fit",
            "--head",
            "basic",
            "--seeds",
            "2",
            "--epochs",
            "3",
            "--json",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(json.loads(done.stdout)["runs"]) == 2
    assert "\x1b" not in done.stderr
    *_, line = (line for line in done.stderr.splitlines() if line.startswith("basic: "))
    assert re.search(r"\d+(\.\d)?/\d+ epochs, .*(means of 2 runs|seed \d), loss .*, took ", line)


def test_a_check_of_caches_and_posts_says_what_it_did() -> None:
    for words in (["cache", "verify"], ["data", "check", "data"]):
        done = subprocess.run(
            [sys.executable, "-m", "mvsa_pipe", *words, "--json"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode in (0, 1)
        json.loads(done.stdout)
        assert "\x1b" not in done.stderr
    assert "decoding pictures: " in done.stderr
    assert re.search(r"(\d+)/\1 posts, ", done.stderr)
