"""What tests of the command line look at, and how they start it as a process of its own."""

import os
import pty
import signal
import struct
import subprocess
import sys
import termios
from dataclasses import replace
from fcntl import ioctl
from pathlib import Path

from mvsa_pipe.cache.folder import CacheFolder
from mvsa_pipe.cache.reading import FeatureFile
from mvsa_pipe.cache.row_joining import RowLocation, blocks
from mvsa_pipe.cache.writer import open_writer


def files_below(root: Path) -> dict[str, bytes]:
    """Every file below a folder with its bytes; of a lock its name, as it says who held it last."""
    files = [path for path in root.rglob("*") if path.is_file()]
    return {str(p): b"" if p.suffix == ".lock" else p.read_bytes() for p in files}


def on_terminal(*words: object, interrupt_at: bytes = b"") -> tuple[int, str]:
    """Exit code of a command, and what it writes to a terminal of 80 columns.

    It is interrupted as soon as it has written ``interrupt_at``.
    """
    master, slave = pty.openpty()
    ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 80, 0, 0))
    env = {k: v for k, v in os.environ.items() if k not in {"NO_COLOR", "COLUMNS"}}
    process = subprocess.Popen(
        [sys.executable, "-m", "mvsa_pipe", *map(str, words)],
        stdin=slave, stdout=slave, stderr=slave, env=env | {"TERM": "xterm-256color"},
    )  # fmt: skip
    os.close(slave)
    written, waiting = b"", bool(interrupt_at)
    while True:
        try:
            block = os.read(master, 65536)
        except OSError:  # on Linux, when no process has it open any more
            break
        if not block:
            break
        written += block
        if waiting and interrupt_at in written:
            waiting = False
            process.send_signal(signal.SIGINT)
    code = process.wait()
    os.close(master)
    return code, written.decode()


def paragraph(exit_code: int, stderr: str) -> str:
    """The paragraph of a command that refused its input; all else on stderr was progress."""
    lines = [line for line in stderr.splitlines() if line.strip()]
    assert exit_code == 2, stderr
    assert "Traceback" not in stderr
    assert [line for line in lines if "error: " in line] == lines[-1:], stderr
    return lines[-1].removeprefix("error: ")


def spawn(*arguments: str, **how: object) -> subprocess.Popen[str]:
    """``mvsa`` as a process of its own, which Ctrl-C interrupts even where it was off for tests."""
    command = [sys.executable, "-m", "mvsa_pipe", *arguments]
    alone = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    pipe = subprocess.PIPE
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # children take it over
    try:
        return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=alone, **how)  # type: ignore[call-overload,no-any-return]
    finally:
        signal.signal(signal.SIGINT, before)


def remade(path: Path, decode: str, decoder: str = "pillow", *, compiled: bool = False) -> Path:
    """The features of a cache in one that says it was made by an option of an earlier version."""
    file = FeatureFile(path)
    header, fingerprint = file.header, file.header.fingerprint
    own = replace(
        fingerprint,
        preprocessing={**fingerprint.preprocessing, "decoder": decoder},
        precision=fingerprint.precision + "+compiled" * compiled,
    )
    record = {**header.notes["backbone"], "decode": decode}
    with open_writer(CacheFolder(Path("cache")), header.dataset, own) as writer:
        writer.commit(*blocks([RowLocation(file, row) for row in range(len(header.ids))]))
        made = writer.finish(header.ids, {**header.notes, "backbone": record})
    path.unlink()
    return made.path
