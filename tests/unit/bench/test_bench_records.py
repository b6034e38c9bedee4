"""A stopped bench goes on, and takes no record for another run's."""

from dataclasses import replace
from pathlib import Path

import pytest

from mvsa_pipe.bench import run, tasks
from mvsa_pipe.bench.options import BenchOptions
from mvsa_pipe.bench.records import FOLDER
from mvsa_pipe.bench.run import run_bench
from mvsa_pipe.progress import Silence
from mvsa_pipe.runs.options import CacheChoice, DataChoice
from mvsa_pipe.training.options import TrainingOptions

TRAINING = TrainingOptions(epochs=2, device="cpu")
HEADS = ("native-cat", "text")


@pytest.fixture
def trained(monkeypatch):
    """Names every run that is trained from here on, on one core, so that their order is known."""
    runs = []
    honest = tasks.try_run_heads

    def run_heads(head, assignments, *words):
        runs.extend((head, assignment.training.seed) for assignment in assignments)
        return honest(head, assignments, *words)

    monkeypatch.setattr(tasks, "try_run_heads", run_heads)
    monkeypatch.setattr(run, "usable_cores", lambda: 1)
    return runs


def bench(data=None, training=TRAINING, **changes):
    options = BenchOptions(heads=HEADS, seeds=2, **changes)
    runs = Path("runs-here")
    return run_bench(data or DataChoice(), CacheChoice(), options, training, Silence(), runs)


@pytest.mark.usefixtures("workplace")
def test_what_is_recorded_is_not_trained_again(trained):
    first = bench()
    assert len(trained) == 4
    again = bench()
    assert len(trained) == 4
    assert [row.mean for row in again.rows] == [row.mean for row in first.rows]
    assert [row.interval for row in again.rows] == [row.interval for row in first.rows]
    bench(force=True)
    assert len(trained) == 8


@pytest.mark.usefixtures("workplace")
def test_what_was_recorded_elsewhere_is_shown_as_what_is_varied_here(trained):
    plain = bench()
    varied = bench(vary=(f"learning-rate={TRAINING.learning_rate},1e-4",))
    assert len(trained) == 8
    first, second = (f"learning_rate={rate}" for rate in (TRAINING.learning_rate, "1e-4"))
    assert [row.setting for row in varied.rows] == [first, second] * len(HEADS)
    assert [row.mean for row in varied.rows[::2]] == [row.mean for row in plain.rows]
    assert [row.setting for row in bench().rows] == ["", ""]


@pytest.mark.usefixtures("workplace")
def test_a_stopped_bench_goes_on(trained, monkeypatch):
    whole = run_bench(
        DataChoice(), CacheChoice(), BenchOptions(heads=HEADS, seeds=2), TRAINING, Silence()
    )
    trained.clear()
    counting = tasks.try_run_heads

    def stopped(*words):
        if len(trained) == 2:
            raise KeyboardInterrupt
        return counting(*words)

    with monkeypatch.context() as patch:
        patch.setattr(tasks, "try_run_heads", stopped)
        with pytest.raises(KeyboardInterrupt):
            bench()
    assert len(list(Path("runs-here", FOLDER).glob("*.json"))) == 2
    done = bench()
    assert len(trained) == 4
    assert [row.mean for row in done.rows] == [row.mean for row in whole.rows]


@pytest.mark.usefixtures("workplace")
def test_another_setting_is_another_run(trained):
    bench()
    bench(training=replace(TRAINING, learning_rate=1e-3))
    assert len(trained) == 8
    bench(data=DataChoice(split_seed=4))
    assert len(trained) == 12
    bench(resplit=True)  # seed 0 of the split was drawn before, with seed 0 of the run
    assert trained[12:] == [("native-cat", 1), ("text", 1)]


@pytest.mark.usefixtures("workplace")
def test_a_damaged_record_is_no_record(trained):
    bench()
    files = sorted(Path("runs-here", FOLDER).glob("*.json"))
    files[0].write_text("{")
    files[1].write_bytes(files[2].read_bytes())
    bench()
    assert len(trained) == 6


@pytest.mark.usefixtures("workplace")
def test_records_say_of_every_post_what_was_predicted():
    (record, *_) = bench().records
    for part in ("val", "test"):
        lengths = {len(record[name][part]) for name in ("ids", "labels", "predicted")}
        assert lengths == {record["posts"][part]}
