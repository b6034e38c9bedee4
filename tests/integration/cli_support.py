"""What tests of the command line look at, and how they start it as a process of its own."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from mvsa_pipe.cache.folder import CacheFolder
from mvsa_pipe.cache.reading import FeatureFile
from mvsa_pipe.cache.row_joining import RowLocation, blocks
from mvsa_pipe.cache.writer import open_writer


def files_below(root: Path) -> dict[str, bytes]:
    """Every file below a folder with its bytes; of a lock its name, as it says who held it last."""
    files = [path for path in root.rglob("*") if path.is_file()]
    return {str(p): b"" if p.suffix == ".lock" else p.read_bytes() for p in files}


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
