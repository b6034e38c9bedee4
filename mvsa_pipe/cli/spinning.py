"""How long the threads of OpenMP spin for work before they sleep, set before torch is loaded.

torch's wheels for Linux bring libgomp. A thread that waits there, for work or for the others of its
team, spins 300,000 times first: 7 ms on an AMD EPYC. That saves waking it where every thread has a
core to itself. Where another process has the core, a thread spins for one that does not run: a
training of co-attention beside other jobs took ten times the processor time that it takes alone.

So threads sleep at once where they share cores with other processes, and spin briefly elsewhere, in
case another job comes later. How they wait changes no result: the number of threads does, by the
order of sums, and therefore stays as it is.
"""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

# Longer than the gaps between the operations of a training step (0.25 ms on an AMD EPYC): on idle
# cores 10,000 are as fast as 300,000, and 3,000 are slower by a fifth (benchmarks/spinning.py).
SPINS = 10_000

# Less than this is what services of a machine without other jobs take.
_NEGLIGIBLE_CORES = 0.5

# Variables by which users say how threads wait.
_USER_SETTINGS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY")

_STAT = Path("/proc/stat")
# Columns of /proc/stat: user, nice, system, irq, softirq, steal. Without idle and iowait; guests
# are counted in user.
_BUSY_COLUMNS = (1, 2, 3, 6, 7, 8)


@dataclass(frozen=True)
class ProcessorTimes:
    """Processor time so far, on the cores that this process may use.

    Attributes:
        clock_seconds: When it was read.
        busy_seconds: Of all processes.
        own_seconds: Of this process.
        cores: Number of cores.
    """

    clock_seconds: float
    busy_seconds: float
    own_seconds: float
    cores: int

    @classmethod
    def now(cls) -> "ProcessorTimes | None":
        """The current times; ``None`` where the kernel is not Linux."""
        if not hasattr(os, "sched_getaffinity"):
            return None
        usable = {f"cpu{number}" for number in os.sched_getaffinity(0)}
        try:
            rows = [line.split() for line in _STAT.read_text(encoding="ascii").splitlines()]
        except OSError:
            return None
        ticks = sum(
            int(row[k]) for row in rows if row[:1] and row[0] in usable for k in _BUSY_COLUMNS
        )
        busy = ticks / os.sysconf("SC_CLK_TCK")
        return cls(time.monotonic(), busy, time.process_time(), len(usable))

    def others_since(self, earlier: "ProcessorTimes") -> float:
        """Cores that other processes kept busy since then, on average."""
        elapsed = max(self.clock_seconds - earlier.clock_seconds, 1e-9)
        own = self.own_seconds - earlier.own_seconds
        return max(self.busy_seconds - earlier.busy_seconds - own, 0.0) / elapsed


def limit_spinning(before: ProcessorTimes | None) -> None:
    """Sets how OpenMP's threads wait, in this process's environment, unless the user has.

    Args:
        before: Processor times from a moment ago: what other processes took since then counts.
    """
    now = ProcessorTimes.now()
    if before is None or now is None or any(name in os.environ for name in _USER_SETTINGS):
        return
    threads = _threads(os.environ, now.cores)
    os.environ |= spin_settings(threads, now.cores - now.others_since(before))


def spin_settings(threads: int, free_cores: float) -> dict[str, str]:
    """Variables that let threads spin where each has a core, and sleep at once elsewhere."""
    if threads > free_cores + _NEGLIGIBLE_CORES:
        return {"OMP_WAIT_POLICY": "PASSIVE"}
    return {"GOMP_SPINCOUNT": str(SPINS)}


def _threads(environment: Mapping[str, str], cores: int) -> int:
    """The number of threads that torch will use."""
    asked = environment.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(asked) if asked.isdecimal() else cores
