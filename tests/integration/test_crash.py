"""Killed at any moment, an extraction goes on and ends as if nothing had happened."""

import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from mvsa_pipe.cache.folder import CacheFolder
from mvsa_pipe.posts.synthetic import SyntheticConfig, write_synthetic

# Parts of eight posts, so that a kill falls between them.
_DRIVER = """
import sys
from pathlib import Path
import torch
from mvsa_pipe.backbones.options import BackboneOptions
from mvsa_pipe.extraction import forward
from mvsa_pipe.extraction.extract import extract
from mvsa_pipe.extraction.options import ExtractOptions
from mvsa_pipe.posts import read_posts
from mvsa_pipe.progress import Silence
torch.set_num_threads(1)
forward._MOST_POSTS_A_PART = 8
options = ExtractOptions(cache=Path(sys.argv[2]), precision="float32", batch_size=4, workers=1)
print("ready", flush=True)
done = extract(read_posts(Path(sys.argv[1])), BackboneOptions("tiny-image"), options, Silence())
print(done.reused)
"""


def start(folder, cache):
    return subprocess.Popen(
        [sys.executable, "-c", _DRIVER, str(folder), str(cache)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def cached(cache):
    """Every post's features, and how many parts wait to be joined."""
    (entry,) = CacheFolder(cache).entries()
    file = entry.file
    every = np.arange(len(file.header.ids))
    return file.header.ids, file.pooled(every), file.hidden(every)[0], entry.parts


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("crash") / "posts"
    write_synthetic(folder, SyntheticConfig(posts=160, image_px=48))
    return folder


@pytest.fixture(scope="module")
def whole(folder, tmp_path_factory):
    cache = tmp_path_factory.mktemp("crash-whole")
    process = start(folder, cache)
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    return cached(cache)


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGINT], ids=["kill", "interrupt"])
def test_resumed_after_kills_it_equals_an_uninterrupted_cache(folder, whole, tmp_path, stop):
    generator = random.Random(int(stop))
    for _ in range(3):
        process = start(folder, tmp_path)
        assert process.stdout.readline() == "ready\n"
        # Wait until at least one part more is there, then strike at some moment.
        before = len(list(tmp_path.glob("*/*.parts/part-*.h5")))
        for _ in range(600):
            grown = len(list(tmp_path.glob("*/*.parts/part-*.h5"))) > before
            if grown or process.poll() is not None:
                break
            time.sleep(0.05)
        time.sleep(generator.uniform(0, 0.2))
        process.send_signal(stop)
        process.communicate(timeout=240)
    process = start(folder, tmp_path)
    output, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    reused = output.split()[-1]
    assert int(reused) >= 8
    ids, pooled, hidden, parts = cached(tmp_path)
    assert ids == whole[0]
    assert (pooled == whole[1]).all()
    assert (hidden == whole[2]).all()
    assert parts == 0
