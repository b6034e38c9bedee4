"""An extraction that a Ray cluster computes equals one that a single process computes."""

import os
import signal
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from ray_support import workers_at

from mvsa_pipe.backbones.options import BackboneOptions
from mvsa_pipe.cache.folder import CacheFolder
from mvsa_pipe.devices import usable_cores
from mvsa_pipe.errors import CacheError, ConfigError, MvsaError
from mvsa_pipe.extraction import batches, on_cluster
from mvsa_pipe.extraction.cluster_worker import ExtractionWorker
from mvsa_pipe.extraction.extract import extract_all
from mvsa_pipe.extraction.options import BadPostPolicy, ExtractOptions
from mvsa_pipe.layers import Keep, Layers
from mvsa_pipe.posts import read_posts
from mvsa_pipe.posts.synthetic.config import SyntheticConfig
from mvsa_pipe.posts.synthetic.write import write_synthetic
from mvsa_pipe.progress import NoProgress

TEXT, IMAGE = BackboneOptions("tiny-text"), BackboneOptions("tiny-image")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ray") / "posts"
    write_synthetic(folder, SyntheticConfig(posts=100, image_px=32))
    for number in (3, 90):  # refused by workers, without shifting the batches of the others
        (folder / "data" / f"{number}.jpg").write_bytes(b"no picture")
    return folder


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "MOST_POSTS_A_PART", 8)  # parts are cut here; workers take them


@pytest.fixture
def options(tmp_path: Path) -> ExtractOptions:
    return ExtractOptions(
        cache=tmp_path / "here",
        precision="float32",
        device="cpu",
        batch_size=4,
        workers=usable_cores(),  # one thread each, here and there
        on_bad_post=BadPostPolicy.SKIP,
    )


def on_ray(options: ExtractOptions, **changes: object) -> ExtractOptions:
    there = options.cache.with_name("there")
    return replace(options, **{"cache": there, "ray": "local", "ray_actors": 2, **changes})


class Listener(NoProgress):
    """Keeps what is said, and kills a worker when so many leases are done."""

    def __init__(self, kill_after: int = 0) -> None:
        self.lines: list[str] = []
        self.killed: list[int] = []
        self._left = kill_after

    def advance(self, _: int) -> None:
        self._left -= 1
        if self._left == 0:
            self.killed.append(workers_at(b"ray::PoolActor")[0])
            os.kill(self.killed[0], signal.SIGKILL)

    def say(self, line: str) -> None:
        self.lines.append(line)


def everything(cache: Path) -> list[object]:
    """All of the caches there, in their order, but when they were written."""
    found = []
    for entry in CacheFolder(cache).entries():
        assert entry.file is not None
        header = entry.file.header
        rows = np.arange(len(header.ids))
        hidden, bounds = entry.file.hidden(rows)
        notes = {name: value for name, value in header.notes.items() if name != "written"}
        found.append(
            [
                *(entry.path.name, header.ids, header.digests, header.quarantine),
                *(header.segments, notes, hidden.tobytes(), bounds.tobytes()),
                entry.file.pooled(rows).tobytes(),
            ]
        )
    return found


def stray(cache: Path) -> list[str]:
    return [p.name for p in cache.rglob("*part*") if p.is_file() and not entered(p)]


def entered(part: Path) -> bool:
    return part.name in (part.parent / "manifest.jsonl").read_text()


@pytest.mark.usefixtures("cluster")
def test_parts_that_are_sent_make_the_same_cache(folder, options, tmp_path):
    posts, bucket = read_posts(folder), tmp_path / "bucket" / "parts"
    extract_all(posts, [TEXT], options, NoProgress())
    there = on_ray(options, ray_actors=1, ray_parts=bucket.as_uri())
    (done,) = extract_all(posts, [TEXT], there, NoProgress())
    assert done.extracted == 100
    assert done.profile["stages"]["model"] > 0
    assert everything(there.cache) == everything(options.cache)
    assert bucket.is_dir()  # it was used, and left empty
    assert not list(bucket.iterdir())


@pytest.mark.usefixtures("cluster")
def test_several_layers_make_the_same_cache(folder, options):
    posts, here = read_posts(folder), replace(options, join_gib=0.0)
    layered = replace(TEXT, layers=Layers.ALL)
    extract_all(posts, [layered], here, NoProgress())
    there = on_ray(here)
    (done,) = extract_all(posts, [layered], there, NoProgress())
    assert (done.extracted, done.file.header.layers) == (100, 2)
    assert everything(there.cache) == everything(here.cache)
    assert not stray(there.cache)


@pytest.mark.usefixtures("cluster")
def test_pooled_vectors_alone_make_the_same_cache(folder, options):
    posts, here = read_posts(folder), replace(options, join_gib=0.0, keep=Keep.POOLED)
    extract_all(posts, [TEXT, IMAGE], here, NoProgress())
    there = on_ray(here)
    done = extract_all(posts, [TEXT, IMAGE], there, NoProgress())
    assert [one.extracted for one in done] == [100, 98]
    assert {one.file.header.fingerprint.keep for one in done} == {Keep.POOLED}
    assert everything(there.cache) == everything(here.cache)


@pytest.mark.usefixtures("cluster")
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the worker's process in /proc")
def test_a_killed_worker_costs_nothing(folder, options):
    posts, here = read_posts(folder), replace(options, join_gib=0.0)
    extract_all(posts, [IMAGE], here, NoProgress())
    there, listener = on_ray(here), Listener(kill_after=3)
    (done,) = extract_all(posts, [IMAGE], there, listener)
    assert listener.killed
    assert "a Ray worker was lost and is being replaced" in listener.lines
    assert (done.extracted, set(done.skipped)) == (98, {"3", "90"})
    assert everything(there.cache) == everything(here.cache)
    assert not stray(there.cache)


@pytest.mark.usefixtures("cluster")
def test_an_interrupted_extraction_goes_on_on_a_cluster(folder, options):
    posts, here = read_posts(folder), replace(options, join_gib=0.0)
    extract_all(posts, [IMAGE], here, NoProgress())
    there = on_ray(here, ray_actors=1)

    class Stop(NoProgress):
        left = 9  # batches, of two a part

        def advance(self, _: int) -> None:
            self.left -= 1
            if not self.left:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract_all(posts, [IMAGE], replace(here, cache=there.cache), Stop())
    (done,) = extract_all(posts, [IMAGE], there, NoProgress())
    assert done.reused >= 7
    assert done.extracted + done.reused == 98
    assert everything(there.cache) == everything(here.cache)


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize(
    ("other", "error", "said"),
    [
        (replace(TEXT, max_tokens=5), CacheError, r"of tiny-text.*max_tokens is 5, here 128"),
        (BackboneOptions("hf-text:no/such/folder"), MvsaError, "no/such/folder"),
    ],
)
def test_what_a_user_can_mend_arrives_as_it_is(folder, options, monkeypatch, other, error, said):
    # As on a machine whose weights are others, or none.
    changed = partial(lambda make, _, *rest: make([other], *rest), ExtractionWorker)
    monkeypatch.setattr(on_cluster, "ExtractionWorker", changed)
    with pytest.raises(error, match=said):
        extract_all(read_posts(folder), [TEXT], on_ray(options, ray_actors=1), NoProgress())


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1"])
def test_a_cluster_that_is_not_there(folder, options, monkeypatch, address):
    ray = pytest.importorskip("ray", reason="Ray is not installed")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    said = rf"no Ray cluster at this address \(--ray {address}\)\. .*refused.*ray start --head\.$"
    with pytest.raises(ConfigError, match=said):
        extract_all(read_posts(folder), [TEXT], on_ray(options, ray=address), NoProgress())


def test_without_the_package(folder, options, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r'pip install "mvsa-pipe\[ray\]"'):
        extract_all(read_posts(folder), [TEXT], on_ray(options), NoProgress())


@pytest.mark.parametrize(
    "changes", [{"ray_actors": -1}, {"ray_actors": 2}, {"ray_parts": "s3://bucket"}]
)
def test_options_that_cannot_be_used(changes):
    with pytest.raises(ConfigError, match="--ray"):
        ExtractOptions(**changes)
