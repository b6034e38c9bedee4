"""Processes of this test's own Ray cluster."""

import os
from pathlib import Path


def workers_at(task: bytes) -> list[int]:
    """Processes of this cluster that do something; Ray names them after what they do."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if task in (path / "cmdline").read_bytes():
                raylet = Path("/proc") / parent(path)
                if parent(raylet) == str(os.getpid()):
                    found.append(int(path.name))
        except OSError:
            continue
    return found


def parent(process: Path) -> str:
    return (process / "stat").read_text().rpartition(")")[2].split()[1]
