"""A bench that a Ray cluster trains has the runs of one that this process trains."""

import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from ray_support import workers_at

from mvsa_pipe.backbones.options import BackboneOptions
from mvsa_pipe.benches.options import BenchOptions
from mvsa_pipe.benches.outcomes import FinishedRun
from mvsa_pipe.benches.run import run_bench
from mvsa_pipe.errors import ConfigError
from mvsa_pipe.extraction.extract import extract
from mvsa_pipe.extraction.options import ExtractOptions
from mvsa_pipe.posts import read_posts
from mvsa_pipe.progress import NoProgress
from mvsa_pipe.runs.options import CacheChoice, DataChoice
from mvsa_pipe.training.options import TrainingOptions

HEADS = ("dual-attention", "native-cat")
TRAINING = TrainingOptions(epochs=2, device="cpu")
OPTIONS = BenchOptions(heads=HEADS, seeds=2)


def bench(
    options: BenchOptions,
    training: TrainingOptions = TRAINING,
    caches: CacheChoice | None = None,
    runs: Path | None = None,
) -> list[dict[str, object]]:
    where = caches or CacheChoice()
    done = run_bench(DataChoice(), where, options, training, NoProgress(), runs)
    assert not done.failed
    timed = {"seconds", "scoring_seconds", "peak_memory_bytes"}
    return [
        {k: v for k, v in run.metrics.items() if k not in timed}
        for run in done.runs
        if isinstance(run, FinishedRun)
    ]


@pytest.mark.usefixtures("cluster")
def test_the_runs_are_the_same(workplace: Path):
    short, where = BackboneOptions("tiny-text", max_tokens=5), ExtractOptions(cache=Path("cache"))
    extract(read_posts(workplace / "data"), short, where, NoProgress())
    texts = [
        f"tiny-text@{path.stem.split('-')[-2]}" for path in Path("cache").glob("*/tiny-text*.h5")
    ]
    pairs = CacheChoice(text=",".join(texts))
    here, there = (
        bench(o, caches=pairs, runs=Path(name))
        for o, name in ((OPTIONS, "here"), (replace(OPTIONS, ray="local"), "there"))
    )
    assert len(here) == 2 * len(HEADS) * OPTIONS.seeds
    for one, other in zip(here, there, strict=True):
        assert one == other
    one, other = (sorted(Path(name).iterdir()) for name in ("here", "there"))
    assert [path.name for path in one] == [path.name for path in other]
    for mine, theirs in zip(one, other, strict=True):
        for file in ("predictions.csv", "split.csv", "head.safetensors"):
            assert (mine / file).read_bytes() == (theirs / file).read_bytes()


@pytest.mark.usefixtures("cluster", "workplace")
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the workers in /proc")
def test_a_lost_worker_costs_nothing():
    longer = replace(TRAINING, epochs=12, patience=0)
    here = bench(OPTIONS, longer)
    killed: list[int] = []
    hunter = threading.Thread(target=kill_one_worker, args=(killed,))
    hunter.start()
    there = bench(replace(OPTIONS, ray="local"), longer)
    hunter.join()
    assert killed
    assert there == here


def kill_one_worker(killed: list[int]) -> None:
    """Kills the first worker that is seen at a task."""
    until = time.monotonic() + 60
    while not killed and time.monotonic() < until:
        killed += workers_at(b"ray::PoolActor.do")[:1]
        time.sleep(0.01)
    for process in killed:
        os.kill(process, signal.SIGKILL)


@pytest.mark.usefixtures("cluster", "workplace")
def test_what_a_user_can_mend_arrives_as_it_is():
    hopeless = replace(TRAINING, learning_rate=1e30, clip_norm=0.0)
    options = replace(OPTIONS, heads=("native-cat",), ray="local")
    done = run_bench(DataChoice(), CacheChoice(), options, hopeless, NoProgress())
    assert len(done.failed) == OPTIONS.seeds
    assert all("diverged in epoch 0" in run.reason for run in done.failed)


@pytest.mark.usefixtures("workplace")
def test_a_cluster_that_is_not_there(monkeypatch):
    ray = pytest.importorskip("ray", reason="Ray is not installed")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(ConfigError, match=r"There is no Ray cluster at this address"):
        bench(replace(OPTIONS, heads=("text",), ray="127.0.0.1:1"))
