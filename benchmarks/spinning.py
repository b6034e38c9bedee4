"""What waiting threads cost: extraction and training alone, and beside another job.

The other job is an endless loop on every core. Each command runs whole, in a process of its own,
under several ways of waiting: as ``mvsa`` sets it, as it sets it on idle cores (what a job that was
first keeps when another one comes), as libgomp does by itself, and without any spinning.

"others" is what further processes took while a command ran alone, in cores: figures of a machine
that had something else to do show it there.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import material
from record import summary, write_record

from mvsa_pipe.cli.spinning import SPINS, ProcessorTimes
from mvsa_pipe.devices import usable_cores
from mvsa_pipe.extraction.extract import extract_all
from mvsa_pipe.extraction.options import ExtractOptions
from mvsa_pipe.posts import read_posts
from mvsa_pipe.progress import NoProgress

ROUNDS, EPOCHS, GRID = 3, 2, 4
HEAD = "co-attention"
WAITING = {
    "mvsa": {},
    "as on idle cores": {"GOMP_SPINCOUNT": str(SPINS)},
    "libgomp": {"GOMP_SPINCOUNT": "300000"},
    "asleep": {"OMP_WAIT_POLICY": "PASSIVE"},
}
STATES = ("idle", "beside another job")
# Ends with the process that started it, however that ends.
OTHER_JOB = """
import os
parent = os.getppid()
while os.getppid() == parent:
    sum(range(100_000))
"""


@dataclass(frozen=True)
class Cost:
    """What one command took.

    Attributes:
        wall: Seconds by the clock.
        processor: Seconds that it computed or spun.
        others: Cores that all other processes took.
    """

    wall: float
    processor: float
    others: float


def main() -> None:
    """Runs every command in every state and way of waiting, in rounds, and compares."""
    with tempfile.TemporaryDirectory() as folder:
        works = _commands(Path(folder))
        costs = {
            (work, state, waiting): [] for work in works for state in STATES for waiting in WAITING
        }
        for _ in range(ROUNDS):
            for state in STATES:
                with _state(state):
                    for work, words in works.items():
                        for waiting, variables in WAITING.items():
                            costs[work, state, waiting].append(_run(words, variables))
                            shutil.rmtree(Path(folder) / "written")
    results = {work: _compared(work, costs) for work in works}
    configuration = {
        "rounds": ROUNDS,
        "head": HEAD,
        "epochs": EPOCHS,
        "image_grid": GRID,
        "other_jobs": usable_cores(),
        "backbones": [material.label(backbone) for backbone in material.backbones()],
    }
    write_record("spinning", configuration, results)


def _commands(scratch: Path) -> dict[str, list[str]]:
    data, cache, written = material.data_path(scratch), scratch / "cache", scratch / "written"
    text, image = material.backbones()
    extract_all(read_posts(data), [text, image], ExtractOptions(cache=cache), NoProgress())
    extract = ["extract", "--backbone", text.name, "--partner", "none", "--cache", str(written)]
    fit = ["fit", "--head", HEAD, "--epochs", str(EPOCHS), "--image-grid", str(GRID)]
    fit += ["--cache", str(cache), "--runs", str(written)]
    return {
        "extract": [*extract, "--data", str(data)],
        "fit": [*fit, "--data", str(data)],
    }


@contextmanager
def _state(name: str) -> Iterator[None]:
    count = 0 if name == "idle" else usable_cores()
    jobs = [subprocess.Popen([sys.executable, "-c", OTHER_JOB]) for _ in range(count)]
    try:
        yield
    finally:
        for job in jobs:
            job.kill()
            job.wait()


def _run(words: list[str], variables: dict[str, str]) -> Cost:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("OMP", "GOMP", "KMP", "MKL"))}
    before, began = ProcessorTimes.now(), time.perf_counter()
    command = subprocess.Popen(
        [sys.executable, "-m", "mvsa_pipe", *words],
        env=clean | variables,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, used = os.wait4(command.pid, 0)
    command.returncode = os.waitstatus_to_exitcode(status)
    wall, after = time.perf_counter() - began, ProcessorTimes.now()
    if command.returncode:
        raise RuntimeError(f"exit code {command.returncode}: mvsa {' '.join(words)}")
    processor = used.ru_utime + used.ru_stime
    return Cost(wall, processor, after.others_since(before) - processor / wall)


def _compared(work: str, costs: dict[tuple[str, str, str], list[Cost]]) -> dict[str, Any]:
    """The costs of a command; those of ``mvsa`` over itself alone, and alone over libgomp's."""
    found: dict[str, Any] = {}
    for state in STATES:
        found[state] = {
            waiting: {
                "wall_seconds": summary([cost.wall for cost in costs[work, state, waiting]]),
                "processor_seconds": summary([c.processor for c in costs[work, state, waiting]]),
            }
            for waiting in WAITING
        }
    alone, beside = (costs[work, state, "mvsa"] for state in STATES)
    libgomp = costs[work, "idle", "libgomp"]
    found["others"] = summary([cost.others for cost in alone])
    found["processor_beside_over_alone"] = summary(
        [b.processor / a.processor for b, a in zip(beside, alone, strict=True)]
    )
    found["wall_alone_over_libgomp"] = summary(
        [a.wall / other.wall for a, other in zip(alone, libgomp, strict=True)]
    )
    return found


if __name__ == "__main__":
    main()
