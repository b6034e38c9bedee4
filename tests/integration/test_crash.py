"""Killed at any moment, an extraction goes on and ends as if nothing had happened."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mvsa_pipe.cache.folder import CacheFolder
from mvsa_pipe.posts.synthetic.config import SyntheticConfig
from mvsa_pipe.posts.synthetic.write import write_synthetic

# One process loads torch and the backbones, and forks a child for every extraction to be stopped.
_DRIVER = """
import functools, json, os, random, signal, sys, time
from pathlib import Path
import torch
from mvsa_pipe.backbones.options import BackboneOptions
from mvsa_pipe.cache import row_joining
from mvsa_pipe.cache.folder import CacheFolder
from mvsa_pipe.extraction import batches, loaded_backbone
from mvsa_pipe.extraction.extract import extract_all
from mvsa_pipe.extraction.options import BadPostPolicy, ExtractOptions
from mvsa_pipe.posts import read_posts
from mvsa_pipe.progress import NoProgress

signal.signal(signal.SIGINT, signal.default_int_handler)  # also where it was off for the tests
torch.set_num_threads(1)
batches.MOST_POSTS_A_PART = 8  # so that a stop falls between parts, and in the joining
row_joining.JOIN_BYTES = 5000
loaded_backbone.load_backbone = functools.cache(loaded_backbone.load_backbone)
data = Path(sys.argv[1])

def run(cache, names, join_gib):
    options = ExtractOptions(
        cache=cache, precision="float32", batch_size=4, workers=1,
        on_bad_post=BadPostPolicy.SKIP, join_gib=join_gib,
    )
    backbones = [BackboneOptions(name) for name in names]
    return extract_all(read_posts(data), backbones, options, NoProgress())

def log_of(root, names, stop, stops, join_gib):
    run(root / "warm", names, join_gib)
    began = time.perf_counter()
    run(root / "whole", names, join_gib)
    whole_seconds = time.perf_counter() - began
    draw = random.Random(0)
    log, cache = [], 0
    for _ in range(stops):
        child = os.fork()
        if not child:
            try:
                run(root / f"stopped-{cache}", names, join_gib)
            except KeyboardInterrupt:
                os._exit(130)
            os._exit(0)
        time.sleep(draw.uniform(0, whole_seconds / 2))
        os.kill(child, signal.Signals[stop])
        _, status = os.waitpid(child, 0)
        ended = status == 0
        parts = len(list((root / f"stopped-{cache}").glob("*/*.parts/part-*.h5")))
        log.append({"cache": cache, "parts": parts, "ended": ended})
        cache += ended
    run(root / f"stopped-{cache}", names, join_gib)
    return log

print(json.dumps([log_of(Path(root), *case) for root, *case in json.loads(sys.argv[2])]))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("crash") / "posts"
    write_synthetic(folder, SyntheticConfig(posts=160, image_px=48))
    for number in (3, 17, 18, 90):  # left out, without shifting the batches of the others
        (folder / "data" / f"{number}.jpg").write_bytes(b"no picture")
    return folder


def cached(cache: Path) -> list[object]:
    """Everything in the caches there but when they were written."""
    return [_everything(entry.path) for entry in CacheFolder(cache).entries()]


def _everything(path: Path) -> tuple[object, ...]:
    (entry,) = (e for e in CacheFolder(path.parents[1]).entries() if e.path == path)
    assert entry.file is not None
    header = entry.file.header
    pooled, (hidden, bounds) = (
        read(np.arange(len(header.ids))) for read in (entry.file.pooled, entry.file.hidden)
    )
    values = {
        post_id: (digest, pooled[k].tobytes(), hidden[bounds[k] : bounds[k + 1]].tobytes())
        for k, (post_id, digest) in enumerate(zip(header.ids, header.digests, strict=True))
    }
    notes = {name: value for name, value in header.notes.items() if name != "written"}
    return (path.name, values, header.quarantine, notes)


# Backbones, the signal, how often it is sent, and the size up to which parts are joined.
_CASES = [
    (["tiny-image"], "SIGKILL", 20, 64.0),
    (["tiny-image"], "SIGKILL", 4, 0.0),
    (["tiny-image"], "SIGINT", 4, 64.0),
    (["tiny-text", "tiny-image"], "SIGKILL", 4, 64.0),
]


def test_stopped_at_random_moments_it_equals_an_uninterrupted_cache(
    folder: Path, tmp_path: Path
) -> None:
    roots = [tmp_path / str(number) for number in range(len(_CASES))]
    cases = [(str(root), *case) for root, case in zip(roots, _CASES, strict=True)]
    done = subprocess.run(
        [sys.executable, "-c", _DRIVER, str(folder), json.dumps(cases)],
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    logs = json.loads(done.stdout)
    for (_, _, stops, _), root, log in zip(_CASES, roots, logs, strict=True):
        assert sum(not entry["ended"] for entry in log) >= stops // 2  # the stops did strike
        assert any(entry["parts"] for entry in log)
        whole = cached(root / "whole")
        for number in range(log[-1]["cache"] + 1):
            stopped = root / f"stopped-{number}"
            if stopped.exists():
                assert cached(stopped) == whole
                left = [p.name for p in stopped.rglob("*") if p.is_file()]
                assert not [name for name in left if name.endswith(".tmp")]
