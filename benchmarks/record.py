"""What every benchmark record holds, and where it goes."""

import json
import platform
import resource
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from mvsa_pipe.devices import describe_device, resolve_device
from mvsa_pipe.provenance import now, package_versions

RESULTS = Path(__file__).parent / "results"


def seconds_of(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def cpu_seconds_of(work: Callable[[], object]) -> float:
    """Time that this process computed during one call, which other work does not lengthen."""
    started = time.process_time()
    work()
    return time.process_time() - started


def processor_seconds_of_children() -> float:
    """Time that all commands so far computed: beside other work it says more than the wall."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def summary(values: list[float]) -> dict[str, Any]:
    """All values with their median and spread."""
    return {
        "values": [round(value, 6) for value in values],
        "median": round(statistics.median(values), 6),
        "least": round(min(values), 6),
        "most": round(max(values), 6),
    }


def earlier_results(name: str) -> dict[str, Any]:
    """What the last record of a benchmark holds, for one that measures only a part anew."""
    path = RESULTS / f"{name}.json"
    if not path.is_file():
        return {}
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["results"]
    return found


def write_record(name: str, configuration: dict[str, Any], results: dict[str, Any]) -> Path:
    """Writes ``results/<name>.json``; ratios mean something, absolute times only on one machine."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    record = {
        "benchmark": name,
        "written": now(),
        "commit": commit.stdout.strip() or None,
        "machine": f"{platform.system()} {platform.machine()}",
        "device": describe_device(resolve_device("auto")),
        "threads": torch.get_num_threads(),
        "versions": package_versions(),
        "configuration": configuration,
        "results": results,
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(f"{name}: {json.dumps(results)}")
    return path
