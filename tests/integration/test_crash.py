"""Killed at any moment, an extraction goes on and ends as if nothing had happened."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mvsa_pipe.cache.folder import CacheFolder
from mvsa_pipe.posts.synthetic import SyntheticConfig, write_synthetic

# One process loads torch and forks a child for every extraction that is to be stopped.
_DRIVER = """
import os, random, sys
from pathlib import Path
import torch
from mvsa_pipe.backbones.options import BackboneOptions
from mvsa_pipe.cache import writer
from mvsa_pipe.extraction import forward
from mvsa_pipe.extraction.extract import extract
from mvsa_pipe.extraction.options import BadPostPolicy, ExtractOptions
from mvsa_pipe.posts import read_posts
from mvsa_pipe.progress import Silence

torch.set_num_threads(1)
forward._MOST_POSTS_A_PART = 8  # so that a stop falls between parts, and in the joining
writer.PART_BYTES = 5000
data, caches, name, stop, stops = Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:]

def run(cache):
    options = ExtractOptions(
        cache=caches / cache, precision="float32", batch_size=4, workers=1,
        on_bad_post=BadPostPolicy.SKIP,
    )
    return extract(read_posts(data), BackboneOptions(name), options, Silence())

run("whole")
commit = writer.CacheWriter.commit
draw = random.Random(0)
left = []
for _ in range(int(stops)):
    strike_after = draw.randint(1, 3)  # never so many that an extraction could end before
    child = os.fork()
    if not child:
        committed = []

        def commit_and_strike(self, *rows):
            commit(self, *rows)
            committed.append(rows)
            if len(committed) == strike_after:
                os.kill(os.getpid(), int(stop))

        writer.CacheWriter.commit = commit_and_strike
        try:
            run("stopped")
        except KeyboardInterrupt:
            pass
        os._exit(0)
    os.waitpid(child, 0)
    left.append(len(list((caches / "stopped").glob("*/*.parts/part-*.h5"))))
print(left)
run("stopped")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("crash") / "posts"
    write_synthetic(folder, SyntheticConfig(posts=160, image_px=48))
    for number in (3, 17, 18, 90):  # left out, without shifting the batches of the others
        (folder / "data" / f"{number}.jpg").write_bytes(b"no picture")
    return folder


def cached(cache: Path) -> tuple[object, ...]:
    """Everything in the only cache there but when it was written."""
    (entry,) = CacheFolder(cache).entries()
    assert entry.file is not None
    header = entry.file.header
    every = np.arange(len(header.ids))
    values = entry.file.pooled(every).tobytes(), entry.file.hidden(every)[0].tobytes()
    notes = {name: value for name, value in header.notes.items() if name != "written"}
    return (header.ids, header.digests, *values, notes, entry.parts)


@pytest.mark.parametrize(
    ("backbone", "stop"),
    [("tiny-image", "SIGKILL"), ("tiny-image", "SIGINT"), ("tiny-text", "SIGKILL")],
)
def test_stopped_again_and_again_it_equals_an_uninterrupted_cache(
    folder: Path, tmp_path: Path, backbone: str, stop: str
) -> None:
    number = str(int(signal.Signals[stop]))
    done = subprocess.run(
        [sys.executable, "-c", _DRIVER, str(folder), str(tmp_path), backbone, number, "6"],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    left_behind = json.loads(done.stdout)
    assert left_behind == sorted(left_behind)  # every stop left more parts than the one before
    assert left_behind[0] >= 1
    assert cached(tmp_path / "stopped") == cached(tmp_path / "whole")
    left = [p.name for p in (tmp_path / "stopped").rglob("*") if p.is_file()]
    assert not [name for name in left if name.endswith(".tmp") or name.startswith("part-")]
