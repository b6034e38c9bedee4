"""Killed anywhere, a repair leaves a cache that is found damaged, or one that is whole."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from feature_caches import features

from mvsa_pipe.cache.checking import faults
from mvsa_pipe.cache.reading import FeatureFile
from mvsa_pipe.posts.synthetic.config import SyntheticConfig
from mvsa_pipe.posts.synthetic.write import write_synthetic

# One process loads torch, and forks a child for each repair that is killed, before the n-th change
# of the disk: a file or name put in place, a name given up, a line added to a list, a deletion. All
# share one backbone, whose loading changes no disk.
_DRIVER = """
import functools, json, os, shutil, signal, sys
from pathlib import Path
import torch
from mvsa_pipe.backbones.options import BackboneOptions
from mvsa_pipe.cache.checking import faults
from mvsa_pipe.cache.folder import CacheFolder
from mvsa_pipe.cache.reading import FeatureFile
from mvsa_pipe.errors import CacheError
from mvsa_pipe.extraction import batches, loaded_backbone
from mvsa_pipe.extraction.extract import extract
from mvsa_pipe.extraction.options import ExtractOptions
from mvsa_pipe.extraction.repair import repair
from mvsa_pipe.posts import read_posts
from mvsa_pipe.progress import NoProgress

torch.set_num_threads(1)
batches.MOST_POSTS_A_PART = 10
loaded_backbone.load_backbone = functools.cache(loaded_backbone.load_backbone)
data, root, join_gib = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
posts = read_posts(data)
options = ExtractOptions(
    cache=root / "cache", precision="float32", batch_size=2, workers=1, join_gib=float(join_gib)
)
path = extract(posts, BackboneOptions("tiny-text"), options, NoProgress()).file.path
file = FeatureFile(path)
victim = path if join_gib != "0" else sorted(path.with_suffix(".parts").glob("part-*.h5"))[1]
whole, held = victim.read_bytes(), FeatureFile(victim)

def damaged(damage):
    raw = bytearray(whole)
    if damage == "structure":
        raw[9] ^= 1
    else:
        for row in range(0, len(held.header.ids), 2):
            raw[held.place_of("pooled") + row * held.header.width * 2] ^= 1
    return bytes(raw)

def state():
    try:
        found = faults(path)
        ids = sorted(FeatureFile(path).header.ids)
    except CacheError as error:
        return "damaged"
    if found:
        return "damaged"
    return "whole" if ids == sorted(file.header.ids) else "lacking"

def child(stop):
    left = [stop]
    def counted(owner, name):
        honest = getattr(owner, name)
        def call(*args, **more):
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return honest(*args, **more)
        setattr(owner, name, call)
    for name in ("replace", "rename", "link", "unlink", "fsync", "rmdir"):
        counted(os, name)
    try:
        repair(path, posts, CacheFolder(root / "cache"), "cpu", NoProgress())
    except BaseException:
        import traceback
        traceback.print_exc()
        os._exit(1)
    os._exit(0)

def repaired(stop):
    sys.stdout.flush()
    number = os.fork()
    if not number:
        child(stop)
    return os.waitpid(number, 0)[1]

def again():
    try:
        repair(path, posts, CacheFolder(root / "cache"), "cpu", NoProgress())
    except CacheError as error:
        return str(error)
    return ""

def log_of(damage):
    log = []
    for stop in range(80):
        shutil.rmtree(root / "cache")
        shutil.copytree(root / "kept", root / "cache")
        victim.write_bytes(damaged(damage))
        status, between = repaired(stop), state()
        log.append({"killed": status == 9, "ended": status == 0, "between": between,
                    "again": again(), "after": state()})
        if status == 0:
            break
    return log

shutil.copytree(root / "cache", root / "kept")
print(json.dumps({damage: log_of(damage) for damage in ("rows", "structure")}))
"""


@pytest.mark.parametrize("join_gib", ["64", "0"])
def test_it_never_looks_whole_while_posts_are_missing(tmp_path: Path, join_gib: str) -> None:
    write_synthetic(tmp_path / "posts", SyntheticConfig(posts=30, image_px=32))
    done = subprocess.run(
        [sys.executable, "-c", _DRIVER, str(tmp_path / "posts"), str(tmp_path), join_gib],
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    logs = json.loads(done.stdout)
    assert [*logs] == ["rows", "structure"]
    for log in logs.values():
        assert log[-1]["ended"]
        assert sum(entry["killed"] for entry in log) > 8
        assert {entry["between"] for entry in log} <= {"damaged", "whole"}
        assert "damaged" in {entry["between"] for entry in log}
        assert {(entry["again"], entry["after"]) for entry in log} == {("", "whole")}
    (path,) = (tmp_path / "cache").glob("*/*.h5")
    assert faults(path) == []
    assert len(features(FeatureFile(path))) == 30
