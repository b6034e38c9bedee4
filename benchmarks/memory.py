"""Peak memory of an extraction at 1,000 and at 4,000 posts; it must not grow with the posts.

Each extraction runs in a process of its own, whose greatest resident size is read at its end.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import material
from record import write_record

from mvsa_pipe.extraction.extract import extract
from mvsa_pipe.extraction.options import ExtractOptions
from mvsa_pipe.progress import Silence
from mvsa_pipe.provenance import peak_memory_bytes

COUNTS = (1000, 4000)


def main() -> None:
    """Runs the children and records their peaks and the growth between them."""
    results = {}
    for index, backbone in enumerate(material.backbones()):
        peaks = {}
        for count in COUNTS:
            child = [sys.executable, __file__, str(index), str(count)]
            done = subprocess.run(child, capture_output=True, text=True, check=True)
            peaks[count] = json.loads(done.stdout.splitlines()[-1])
        growth = peaks[COUNTS[-1]]["peak_bytes"] - peaks[COUNTS[0]]["peak_bytes"]
        name = f"{backbone.family}:{Path(backbone.argument).name}"
        results[name] = {"peaks": peaks, "growth_bytes": growth}
    write_record("memory", {"counts": list(COUNTS)}, results)


def child(index: int, count: int) -> None:
    """Extracts ``count`` posts and prints this process's peak."""
    with tempfile.TemporaryDirectory() as folder:
        posts = material.posts(count, Path(folder))
        options = ExtractOptions(cache=Path(folder) / "cache")
        done = extract(posts, material.backbones()[index], options, Silence())
        payload = done.file.header.payload_bytes
    print(json.dumps({"peak_bytes": peak_memory_bytes(), "payload_bytes": payload}))


if __name__ == "__main__":
    if len(sys.argv) == 3:
        child(int(sys.argv[1]), int(sys.argv[2]))
    else:
        main()
