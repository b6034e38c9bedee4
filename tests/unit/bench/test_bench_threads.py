"""Tasks side by side: the same runs in whatever order, and an end when somebody has enough."""

import threading
import time
from collections.abc import Iterator

import pytest
import torch

from mvsa_pipe.benches import train_missing
from mvsa_pipe.benches.options import BenchOptions
from mvsa_pipe.benches.run import run_bench
from mvsa_pipe.benches.threads import train_in_threads
from mvsa_pipe.benches.trials import MOST_TOGETHER, Trial, group_trials
from mvsa_pipe.errors import ConfigError, MvsaError
from mvsa_pipe.progress import NoProgress
from mvsa_pipe.runs.options import CacheChoice, DataChoice
from mvsa_pipe.training.options import RunSpec, TrainingOptions

TRAINING = TrainingOptions(epochs=2, device="cpu")


def trial(head: str, seed: int = 0) -> Trial:
    return Trial(RunSpec(head, TRAINING), name=f"{head}-{seed}")


def test_heads_that_read_tokens_come_first_and_alone_on_a_cpu():
    trials = [trial("text", 0), trial("cmac", 0), trial("text", 1), trial("cmac", 1)]
    assert [len(task) for task in group_trials(trials, on_cpu=True)] == [1, 1, 2]
    assert group_trials(trials, on_cpu=True)[0][0].spec.head == "cmac"
    assert [len(task) for task in group_trials(trials, on_cpu=False)] == [2, 2]


def test_stacks_have_a_limit():
    many = [trial("text", seed) for seed in range(2 * MOST_TOGETHER + 1)]
    assert [len(task) for task in group_trials(many, on_cpu=True)] == [
        MOST_TOGETHER,
        MOST_TOGETHER,
        1,
    ]


def test_every_task_computes_on_one_thread():
    before = torch.get_num_threads()
    seen = {}

    def do(task, _):
        seen[task[0].name] = torch.get_num_threads()
        return []

    for workers in (1, 2):
        list(train_in_threads([(trial("text", i),) for i in range(3)], do, workers))
        assert set(seen.values()) == {1}
    assert torch.get_num_threads() == before


def test_a_task_that_fails_ends_the_others():
    under_way = threading.Event()

    def do(task, on_step):
        if task[0].name == "text-0":
            under_way.wait(10)
            raise MvsaError("this went wrong")
        while True:
            under_way.set()
            on_step()
            time.sleep(0.001)

    with pytest.raises(MvsaError, match="went wrong"):
        list(train_in_threads([(trial("text", i),) for i in range(2)], do, 2))


def test_leaving_early_ends_what_is_under_way():
    under_way, ended = threading.Event(), threading.Event()

    def do(task, on_step):
        if task[0].name == "text-0":
            under_way.wait(10)
            return []
        try:
            while True:
                under_way.set()
                on_step()
                time.sleep(0.001)
        finally:
            ended.set()

    done = train_in_threads([(trial("text", i),) for i in range(2)], do, 2)
    assert isinstance(done, Iterator)
    next(done)
    done.close()
    assert ended.wait(10)


def metrics_of(bench):
    timed = {"seconds", "scoring_seconds", "peak_memory_bytes"}
    return [{k: v for k, v in run.metrics.items() if k not in timed} for run in bench.runs]


@pytest.mark.usefixtures("workplace")
def test_runs_side_by_side_are_the_runs_one_after_the_other(monkeypatch):
    options = BenchOptions(heads=("dual-attention", "native-cat", "logistic"), seeds=2)
    benches = []
    for cores in (1, 3):
        monkeypatch.setattr(train_missing, "usable_cores", lambda count=cores: count)
        benches.append(run_bench(DataChoice(), CacheChoice(), options, TRAINING, NoProgress()))
    for one, other in zip(*map(metrics_of, benches), strict=True):
        assert one == other


@pytest.mark.usefixtures("workplace")
def test_settings_are_rows_of_their_own():
    options = BenchOptions(heads=("text", "basic"), seeds=2, vary=("learning-rate=1e-3,1e-4",))
    done = run_bench(DataChoice(), CacheChoice(), options, TRAINING, NoProgress())
    assert [(row.head, row.setting) for row in done.rows] == [
        ("text", "learning_rate=1e-3"),
        ("text", "learning_rate=1e-4"),
        ("basic", "learning_rate=1e-3"),
        ("basic", "learning_rate=1e-4"),
    ]
    assert [run.trial.spec.training.seed for run in done.runs] == [0, 1] * 4
    losses = [run.metrics["selected"]["val_loss"] for run in done.runs]
    assert len(set(losses)) == len(losses)


@pytest.mark.usefixtures("workplace")
def test_a_setting_that_a_head_does_not_know_is_refused_at_once():
    options = BenchOptions(heads=("text", "basic"), vary=("width=8,16",))
    with pytest.raises(ConfigError, match=r"text.*width"):
        run_bench(DataChoice(), CacheChoice(), options, TRAINING, NoProgress())


@pytest.mark.usefixtures("workplace")
def test_a_bench_says_where_its_time_went():
    done = run_bench(
        DataChoice(), CacheChoice(), BenchOptions(heads=("text",), seeds=1), TRAINING, NoProgress()
    )
    spent = done.as_record()["seconds"]
    assert set(spent) == {"loading", "training", "scoring", "wall"}
    assert 0 < spent["loading"] <= spent["wall"]
    assert spent["training"] == pytest.approx(done.runs[0].metrics["seconds"], abs=1e-3)
