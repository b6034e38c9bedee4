"""What a tracker is told, and that it cannot harm a run."""

from pathlib import Path

import pytest

from mvsa_pipe.benches.options import BenchOptions
from mvsa_pipe.benches.run import run_bench
from mvsa_pipe.errors import ConfigError, UnknownNameError
from mvsa_pipe.finetune.options import LiveChoice, RunFolderOptions, TuningOptions
from mvsa_pipe.finetune.processes import Processes
from mvsa_pipe.finetune.run import FinetuneSpec, finetune
from mvsa_pipe.progress import NoProgress
from mvsa_pipe.runs import open_run
from mvsa_pipe.runs.fit_plan import FitPlan
from mvsa_pipe.runs.options import CacheChoice, DataChoice, SeedChoice
from mvsa_pipe.runs.prepare import needs_of, prepare
from mvsa_pipe.tracking import trackers
from mvsa_pipe.tracking.listener import NO_TRACKING, RunToTrack, Tracking, tracking
from mvsa_pipe.tracking.options import TrackerOptions
from mvsa_pipe.tracking.trackers import TRACKERS, make_tracker
from mvsa_pipe.training.options import RunSpec, TrainingOptions

TRAINING = TrainingOptions(epochs=2, device="cpu", seed=4)
RUNS = Path("runs-here")


class Recorder:
    """A tracker in memory, which can fail at a call."""

    place = "memory"

    def __init__(self, failing: str = "") -> None:
        self.runs: dict[str, Recorded] = {}
        self.failing = failing

    def begin(self, name, config):
        self.fail("begin")
        assert name not in self.runs
        self.runs[name] = Recorded(self, config)
        return self.runs[name]

    def fail(self, call: str) -> None:
        if call == self.failing:
            raise ConnectionError("no route to\nhost")


class Recorded:
    def __init__(self, tracker: Recorder, config) -> None:
        self.tracker, self.config = tracker, config
        self.steps, self.scores, self.fault = [], None, None

    def log(self, step, values):
        self.tracker.fail("log")
        self.steps.append((step, dict(values)))

    def finish(self, scores, fault=""):
        self.tracker.fail("finish")
        assert self.scores is None
        self.scores, self.fault = dict(scores), fault


def planned(seeds: SeedChoice, head: str = "native-cat", **options) -> FitPlan:
    return FitPlan(head, options, TRAINING, seeds, RUNS)


def fit(plan: FitPlan, recorder: Recorder):
    experiment = prepare(DataChoice(), CacheChoice(), needs_of([plan.head]))
    said = []
    watched = Tracking(recorder, said.append)
    done = plan.run(experiment, NoProgress(), watched)
    watched.close()
    return done, said


@pytest.mark.usefixtures("workplace")
def test_every_seed_is_a_run_with_its_epochs_scores_and_options():
    recorder = Recorder()
    done, said = fit(planned(SeedChoice(2), hidden=16), recorder)
    assert [*recorder.runs] == [run.path.name for run in done]
    for run, recorded in zip(done, recorder.runs.values(), strict=True):
        history = run.read_history()
        assert [step for step, _ in recorded.steps] == [0, 1]
        for (_, values), entry in zip(recorded.steps, history, strict=True):
            assert values["val_accuracy"] == entry["val_accuracy"]
            assert values["train_loss"] == entry["train_loss"]
            assert {"learning_rate", "seconds"} <= values.keys()
            assert "epoch" not in values
        test = run.metrics["scores"]["test"]
        assert recorded.scores["test_accuracy"] == test["values"]["accuracy"]
        assert recorded.scores["test_accuracy_high"] == test["intervals"]["accuracy"][1]
        assert recorded.scores["selected_epoch"] == run.metrics["selected"]["epoch"]
        assert recorded.fault == ""
        config = recorded.config
        assert config["training.seed"] == run.config["training"]["seed"]
        assert (config["head"], config["head_options.hidden"]) == ("native-cat", 16)
        assert config["protocol"] == run.metrics["protocol"]
        assert config["backbones.text"] == "tiny-text"
    assert said == ["tracked: memory"]


@pytest.mark.usefixtures("workplace")
def test_an_ensemble_is_one_run_whose_members_are_told_apart():
    recorder = Recorder()
    (run,), _ = fit(planned(SeedChoice(2, ensemble=True)), recorder)
    ((name, recorded),) = recorder.runs.items()
    assert name == run.path.name
    found = {(step, key) for step, values in recorded.steps for key in values if "val_loss" in key}
    assert found == {(s, f"seed{seed}/val_loss") for s in (0, 1) for seed in (4, 5)}
    assert recorded.scores["test_f1_macro"] == run.metrics["scores"]["test"]["values"]["f1_macro"]


@pytest.mark.usefixtures("workplace")
def test_strengths_of_a_baseline_are_steps():
    recorder = Recorder()
    (run,), _ = fit(planned(SeedChoice(), "logistic"), recorder)
    (recorded,) = recorder.runs.values()
    strengths = [values["strength"] for _, values in recorded.steps]
    assert strengths == [entry["strength"] for entry in run.read_history()]
    assert recorded.scores["selected_strength"] == run.metrics["selected"]["strength"]


@pytest.mark.usefixtures("workplace")
@pytest.mark.parametrize("call", ["begin", "log", "finish"])
def test_a_failing_tracker_loses_no_run(call):
    done, said = fit(planned(SeedChoice(2)), Recorder(call))
    assert [open_run(run.path).metrics["seed"] for run in done] == [4, 5]
    (line,) = said
    assert line.endswith("records nothing more; runs are kept: ConnectionError: no route to host")


@pytest.mark.usefixtures("workplace")
def test_a_bench_tracks_each_run_folder_once_and_failures_with_their_reason():
    recorder = Recorder()
    options = BenchOptions(heads=("native-cat", "text"), seeds=2, vary=("learning-rate=1e-3,1e30",))

    def bench():
        watched = Tracking(recorder)
        asked = (DataChoice(), CacheChoice(), options, TRAINING, NoProgress(), RUNS)
        return run_bench(*asked, tracking=watched)

    done = bench()
    names = {run.path.name: run for run in done.runs}
    assert recorder.runs.keys() == names.keys()
    assert done.failed
    for name, recorded in recorder.runs.items():
        failed = names[name] in done.failed
        assert recorded.config["training.learning_rate"] in (1e-3, 1e30)
        assert f"-{recorded.config['head']}-tiny-" in name
        assert f"-seed{recorded.config['training.seed']}-" in name
        assert bool(recorded.fault) == failed
        assert ("test_accuracy" in recorded.scores) != failed
        assert failed or [step for step, _ in recorded.steps] == [0, 1]
    bench()  # every run is recorded: a second beginning would fail in the recorder


def test_a_fine_tuning_is_tracked_with_the_epochs_before_an_interruption(workplace):
    def tune(recorder, progress):
        tuning = TuningOptions(text_learning_rate=0.0, image_learning_rate=0.0)
        folder = RunFolderOptions(runs=RUNS)
        choice = LiveChoice(CacheChoice(workplace / "cache"))
        spec = FinetuneSpec("native-cat", {}, DataChoice(), choice, TRAINING, tuning, folder)
        return finetune(spec, Processes(), progress, Tracking(recorder))

    class Interrupting(NoProgress):
        def say(self, line):
            if line.startswith("epoch 1"):
                raise KeyboardInterrupt

    first, second = Recorder(), Recorder()
    with pytest.raises(KeyboardInterrupt):
        tune(first, Interrupting())
    run = tune(second, NoProgress())
    ((name, recorded),) = second.runs.items()
    assert name == run.path.name
    assert [step for step, _ in recorded.steps] == [0, 1]
    assert "learning_rate" not in recorded.steps[0][1]
    assert "learning_rate" in recorded.steps[1][1]
    assert recorded.config["finetune.unfreeze"] == "all"
    assert recorded.scores["test_accuracy"] == run.metrics["scores"]["test"]["values"]["accuracy"]


def test_epochs_of_another_machine_and_of_a_resumed_run_are_recorded_once():
    recorder = Recorder()
    watched, run, spec = Tracking(recorder), RunToTrack("a"), RunSpec("text", TRAINING)
    history = [{"epoch": 0, "val_loss": 2.0}, {"epoch": 1, "val_loss": float("nan")}]
    metrics = {"scores": {}, "selected": history[0]}
    watched.resumed(run, spec, history[:1])
    watched.finished(run, spec, metrics, history)
    assert recorder.runs["a"].steps == [(0, {"val_loss": 2.0}), (1, {})]
    watched.failed(RunToTrack("b"), spec, "diverged")
    assert recorder.runs["b"].fault == "diverged"


def test_runs_that_did_not_end_are_closed_as_interrupted():
    recorder = Recorder()
    watched = Tracking(recorder)
    watched.resumed(RunToTrack("a"), RunSpec("text", TRAINING), [{"val_loss": 1.0}])
    watched.close()
    assert recorder.runs["a"].fault == "interrupted"


def test_without_a_tracker_nothing_is_recorded():
    with tracking(TrackerOptions(), RUNS, print) as watched:
        assert watched is NO_TRACKING
    watched.finished(RunToTrack("a"), RunSpec("text", TRAINING), {}, [])


@pytest.mark.parametrize("row", TRACKERS, ids=lambda row: row.name)
def test_a_missing_package_is_told_with_the_command_that_installs_it(row, monkeypatch):
    monkeypatch.setattr(trackers, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match="not installed") as caught:
        make_tracker(row.name, "p", RUNS)
    assert f'pip install "mvsa-pipe[{row.name}]"' in caught.value.paragraph()
    assert row.packages[0] in caught.value.paragraph()


def test_an_unknown_tracker_is_refused_with_near_names():
    with pytest.raises(UnknownNameError, match="did you mean tensorboard"):
        TrackerOptions("tensorbord")
