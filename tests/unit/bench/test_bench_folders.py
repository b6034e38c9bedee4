"""A stopped bench resumes, and takes no folder for another run's."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from mvsa_pipe.benches import loaded, train_missing
from mvsa_pipe.benches.options import BenchOptions
from mvsa_pipe.benches.run import run_bench, save_bench
from mvsa_pipe.errors import RunError
from mvsa_pipe.progress import NoProgress
from mvsa_pipe.runs import open_run
from mvsa_pipe.runs.fit import run_head
from mvsa_pipe.runs.options import CacheChoice, DataChoice
from mvsa_pipe.runs.prepare import needs_of, prepare
from mvsa_pipe.runs.save_result import save_run
from mvsa_pipe.training.options import TrainingOptions

TRAINING = TrainingOptions(epochs=2, device="cpu")
HEADS = ("native-cat", "text")


@pytest.fixture
def trained(monkeypatch):
    """Names every run that is trained from here on, on one core, so that their order is known."""
    runs = []
    honest = loaded.try_run_heads

    def run_heads(planned, *words):
        runs.extend((spec.head, spec.training.seed) for _, spec in planned)
        return honest(planned, *words)

    monkeypatch.setattr(loaded, "try_run_heads", run_heads)
    monkeypatch.setattr(train_missing, "usable_cores", lambda: 1)
    return runs


def bench(data=None, training=TRAINING, **changes):
    options = BenchOptions(heads=HEADS, seeds=2, **changes)
    runs = Path("runs-here")
    return run_bench(data or DataChoice(), CacheChoice(), options, training, NoProgress(), runs)


@pytest.mark.usefixtures("workplace")
def test_a_run_that_is_there_is_not_trained_again(trained):
    first = bench()
    assert len(trained) == 4
    again = bench()
    assert len(trained) == 4
    assert [row.mean for row in again.rows] == [row.mean for row in first.rows]
    assert [row.interval for row in again.rows] == [row.interval for row in first.rows]
    bench(force=True)
    assert len(trained) == 8


@pytest.mark.usefixtures("workplace")
def test_a_run_of_another_bench_is_shown_as_what_is_varied_here(trained):
    plain = bench()
    varied = bench(vary=(f"learning-rate={TRAINING.learning_rate},1e-4",))
    assert len(trained) == 8
    first, second = (f"learning_rate={rate}" for rate in (TRAINING.learning_rate, "1e-4"))
    assert [row.setting for row in varied.rows] == [first, second] * len(HEADS)
    assert [row.mean for row in varied.rows[::2]] == [row.mean for row in plain.rows]
    assert [row.setting for row in bench().rows] == ["", ""]


@pytest.mark.usefixtures("workplace")
def test_a_stopped_bench_resumes(trained, monkeypatch):
    whole = run_bench(
        DataChoice(), CacheChoice(), BenchOptions(heads=HEADS, seeds=2), TRAINING, NoProgress()
    )
    trained.clear()
    counting = loaded.try_run_heads

    def stopped(*words):
        if len(trained) == 2:
            raise KeyboardInterrupt
        return counting(*words)

    with monkeypatch.context() as patch:
        patch.setattr(loaded, "try_run_heads", stopped)
        with pytest.raises(KeyboardInterrupt):
            bench()
    assert len(list(Path("runs-here").glob("*/config.json"))) == 2
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
def test_a_damaged_folder_is_refused_by_name_until_it_is_trained_again(trained):
    bench()
    first, second, *_ = sorted(Path("runs-here").iterdir())
    shutil.rmtree(first)
    shutil.copytree(second, first)
    with pytest.raises(RunError, match=f"(?s){first}.*another digest.*--force"):
        bench()
    (first / "config.json").write_text("{")
    with pytest.raises(RunError, match=f"(?s){first}.*--force"):
        bench()
    assert len(trained) == 4
    shutil.rmtree(first)
    bench()
    assert len(trained) == 5
    (second / "config.json").write_text("{")
    bench(force=True)
    assert len(trained) == 9
    assert sorted(Path("runs-here").iterdir())[:2] == [first, second]
    bench()
    assert len(trained) == 9


@pytest.mark.usefixtures("workplace", "trained")
def test_every_run_is_a_folder_as_fit_writes_it():
    done = bench()
    for found in done.runs:
        run = open_run(found.path)
        assert run.config["spec_digest"] == found.trial.digest
        assert found.path.name.endswith(found.trial.digest[:12])
        assert run.metrics == json.loads(json.dumps(found.metrics))
        experiment = prepare(DataChoice(), CacheChoice(), needs_of([found.trial.spec.head]))
        alone = run_head(experiment, found.trial.spec.head, {}, found.trial.spec.training)
        saved = save_run(experiment, alone, found.trial.spec.training, Path("fitted"))
        assert {p.name for p in saved.path.iterdir()} == {p.name for p in run.path.iterdir()}
        assert run.config.keys() - saved.config.keys() == {"spec_digest"}
        assert (saved.path / "split.csv").read_text() == (run.path / "split.csv").read_text()
        for one, other in zip(saved.predictions(), run.predictions(), strict=True):
            assert (one.post_id, one.split, one.label) == (other.post_id, other.split, other.label)
            assert one.probabilities == pytest.approx(other.probabilities, abs=1e-4)


@pytest.mark.usefixtures("workplace")
def test_a_bench_of_runs_that_are_there_is_what_it_was(trained):
    first, again = bench(), bench()
    assert len(trained) == 4
    assert again.ensembles == first.ensembles
    for one, other in zip(first.runs, again.runs, strict=True):
        assert json.dumps(one.as_record()) == json.dumps(other.as_record())
        for part, own in one.predictions.items():
            assert (own.probabilities == other.predictions[part].probabilities).all()


@pytest.mark.usefixtures("workplace", "trained")
def test_the_index_names_every_run():
    done = bench()
    index = json.loads(save_bench(done, Path("runs-here")).read_text())
    assert [run["run"] for run in index["runs"]] == [str(run.path) for run in done.runs]
    for entry in index["runs"]:
        config = json.loads(Path(entry["run"], "config.json").read_text())
        metrics = json.loads(Path(entry["run"], "metrics.json").read_text())
        assert (entry["head"], entry["digest"]) == (config["head"], config["spec_digest"])
        assert (entry["seed"], entry["scores"]) == (metrics["seed"], metrics["scores"])
