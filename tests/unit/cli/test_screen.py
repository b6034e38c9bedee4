"""Progress on the screen: a bar on a terminal, plain lines elsewhere."""

import io
import re
import threading

import pytest
from rich.console import Console

from mvsa_pipe.cli import console, screen
from mvsa_pipe.progress import BYTES


@pytest.fixture
def printed(monkeypatch):
    """Replaces stderr's console by one of a given width; returns what it prints."""

    def replace(width=80, *, terminal=False):
        buffer = io.StringIO()
        fake = Console(file=buffer, width=width, force_terminal=terminal, no_color=True)
        monkeypatch.setattr(console, "err", fake)
        return buffer

    return replace


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass when a test says so."""
    passed = [0.0]
    monkeypatch.setattr(screen.time, "monotonic", lambda: passed[0])
    return passed


def test_without_a_terminal_progress_is_lines(printed, clock):
    buffer = printed()
    with screen.progress() as shown:
        shown.start("extract [x]", 3, "posts")
        shown.advance(1)
        clock[0] = 6.0
        shown.advance(2)
    assert buffer.getvalue() == "extract [x]: 3/3 posts, 2.0 s each, took 6.0 s\n"


def test_lines_become_rarer_the_longer_a_step_takes(printed, clock):
    buffer = printed(200)
    with screen.progress() as shown:
        shown.start("fit", 36_000, "epochs", may_end_early=True)
        shown.note("loss 0.5")
        for _ in range(36_000):
            clock[0] += 1.0
            shown.advance(1)
    lines = buffer.getvalue().splitlines()
    assert lines[0] == "fit: 10/36,000 epochs, 1.0/s, loss 0.5, at most 10.0 h left"
    assert lines[-1] == "fit: 36,000/36,000 epochs, 1.0/s, loss 0.5, took 10.0 h"
    assert 40 < len(lines) < 100
    assert "\x1b" not in buffer.getvalue()


def test_a_total_that_shrinks_ends_the_step(printed, clock):
    buffer = printed()
    with screen.progress() as shown:
        shown.start("fit", 10, "epochs")
        clock[0] = 2.0
        shown.expect(4)
        for _ in range(40):  # fractions that do not add up exactly
            shown.advance(0.1)
    assert buffer.getvalue() == "fit: 4.0/4 epochs, 2.0/s, took 2.0 s\n"


def test_bytes_are_sizes(printed, clock):
    buffer = printed()
    with screen.progress() as shown:
        shown.start("verify", 2_000_000, BYTES)
        clock[0] = 20.0
        shown.advance(500_000)
    assert buffer.getvalue() == "verify: 500.0 kB of 2.0 MB, 25.0 kB/s, 60 s left\n"


def test_on_a_terminal_progress_is_a_bar_that_goes_away(printed):
    buffer = printed(terminal=True)

    def interrupted():
        with screen.progress() as shown:
            shown.start("extract [/x]", 3, "posts")
            shown.advance(1)
            shown.say("a remark")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    text = buffer.getvalue()
    assert "extract [/x]" in text
    assert "1/3 posts" in text
    assert "a remark" in text
    assert "\x1b[?25h" in text  # the cursor is shown again


def test_a_bar_fits_in_80_columns(printed, clock):
    buffer = printed(80, terminal=True)
    with screen.progress() as shown:
        shown.start("co-attention", 2000, "epochs", may_end_early=True)
        shown.note("seed 3, loss 0.8123, validation macro-F1 71.2 %, best 72.0 % (epoch 999)")
        clock[0] = 5000.0
        shown.advance(1234.5)
    plain = re.sub(r"\x1b\[[?0-9;]*[A-Za-z]", "", buffer.getvalue()).replace("\r", "\n")
    assert "1,234.5/2,000 epochs  4.1 s each  at most 52 min left" in plain
    assert "best 72.0 %" in plain
    assert max(map(len, plain.splitlines())) <= 80


def test_nothing_is_printed_for_threads_that_end_later(printed):
    buffer = printed(terminal=True)
    with screen.progress() as shown:
        shown.start("bench", 3, "runs")
    before = buffer.getvalue()
    late = threading.Thread(target=lambda: (shown.note("x"), shown.advance(3), shown.say("y")))
    late.start()
    late.join()
    assert buffer.getvalue() == before


def test_a_dumb_terminal_gets_lines(printed, clock, monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    buffer = printed(terminal=True)
    with screen.progress() as shown:
        shown.start("extract", 1, "posts")
        clock[0] = 1.0
        shown.advance(1)
    assert buffer.getvalue() == "extract: 1/1 posts, 1.0/s, took 1.0 s\n"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (99, "99 s"), (120, "2 min"), (7200, "2.0 h")],
)
def test_durations(seconds, shown):
    assert screen.duration(seconds) == shown


def test_no_rate_is_told_of_a_beginning(printed, clock):
    buffer = printed()
    with screen.progress() as shown:
        shown.start("fit", 20, "epochs", may_end_early=True)
        clock[0] = 20.0
        shown.advance(0.1)
        clock[0] = 40.0
        shown.advance(0.4)
    assert buffer.getvalue().splitlines() == [
        "fit: 0.1/20 epochs",
        "fit: 0.5/20 epochs, 80 s each, at most 26 min left",
    ]
