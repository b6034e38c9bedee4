"""Time of analyses of ten runs over as many posts as MVSA-Single keeps, each in its own process.

Beside the wall, the time that the process computed: other work on the machine lengthens it less.
Runs are trained over synthetic posts and tiny backbones, unless some are named.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from record import earlier_results, processor_seconds_of_children, write_record

from mvsa_pipe.analysis.analyses import ANALYSES
from mvsa_pipe.runs import open_run

POSTS, MARK_SECONDS = 4511, 60
TIMED = ("contribution", "missing", "calibration", "shift", "duplicates")
HEADS = (
    *("text", "image", "native-cat", "native-combine", "gated", "low-rank"),
    *("cmac", "co-attention", "bottleneck", "logistic"),
)


def _mvsa(*words: str, cwd: Path | None = None) -> None:
    subprocess.run(
        [sys.executable, "-m", "mvsa_pipe", *words], check=True, capture_output=True, cwd=cwd
    )


def trained(scratch: Path) -> list[Path]:
    """Ten runs over synthetic posts."""
    data = ("--data", str(scratch / "data"))
    _mvsa("data", "synthesize", str(scratch / "data"), "--posts", str(POSTS), "--image-px", "32")
    _mvsa("extract", *data, "--backbone", "tiny-text", "--backbone", "tiny-image", cwd=scratch)
    for head in HEADS:
        words = ("--head", head, "--epochs", "1", "--name", head, "--split", "random-8:1:1")
        _mvsa("fit", *data, *words, cwd=scratch)
    return [scratch / "runs" / head for head in HEADS]


def timed(runs: Sequence[Path], cache: Sequence[str], names: Sequence[str]) -> dict[str, Any]:
    """Wall and processor seconds of every analysis."""
    results: dict[str, Any] = {}
    for name in names:
        if name not in ANALYSES:
            continue
        own = cache if name in ("contribution", "missing") else ()
        before, started = processor_seconds_of_children(), time.perf_counter()
        _mvsa("analyze", name, *map(str, runs), *own, "--no-save", "--json")
        results[name] = {
            "seconds": round(time.perf_counter() - started, 2),
            "processor_seconds": round(processor_seconds_of_children() - before, 2),
        }
    return results


def main() -> None:
    """Times the analyses over ten runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="*", type=Path, help="Run folders over the same posts.")
    parser.add_argument("--cache", help="The folder of their caches, if they moved.")
    parser.add_argument("--only", choices=TIMED, help="Measure one anew, and keep the others.")
    given = parser.parse_args()
    names = TIMED if given.only is None else (given.only,)
    earlier = {} if given.only is None else earlier_results("analyses")
    with TemporaryDirectory() as scratch:
        runs = given.runs or trained(Path(scratch))
        cache = ["--cache", given.cache] if given.cache else []
        results = earlier | timed(runs, cache, names)
        opened = [open_run(path) for path in runs]
        configuration = {
            "runs": len(runs),
            "heads": sorted({str(run.config["head"]) for run in opened}),
            "backbones": opened[-1].metrics["backbones"],
            "posts": opened[0].metrics["posts"],
            "mark_seconds": MARK_SECONDS,
            "load_at_end": [round(load, 1) for load in os.getloadavg()],
            "cores": os.cpu_count(),
        }
    for name, row in results.items():
        print(name, row)
    print("records:", write_record("analyses", configuration, results))


if __name__ == "__main__":
    main()
