"""What a bench shows of its runs at work."""

import pytest

from mvsa_pipe.benches.at_work import BenchProgress
from mvsa_pipe.benches.trials import Trial
from mvsa_pipe.progress import NoProgress
from mvsa_pipe.training.epochs import EpochReport
from mvsa_pipe.training.options import RunSpec, TrainingOptions


class Recorded(NoProgress):
    def __init__(self):
        self.total, self.done, self.notes = 0.0, 0.0, []

    def start(self, _, total, *__, **___):
        self.total = total

    def expect(self, total):
        self.total = total

    def advance(self, count):
        assert count > 0
        self.done += count

    def note(self, text):
        self.notes.append(text)


def task(head, seeds, setting=""):
    specs = [RunSpec(head, TrainingOptions(seed=seed)) for seed in seeds]
    return tuple(Trial(spec, setting) for spec in specs)


def report(trial, done, *, ended=False):
    entry = {"epoch": done - 1, "train_loss": 1.0, "val_f1_macro": 0.5}
    return EpochReport(trial.spec, done, 4, entry, entry, 0.1, 1.0, ended)


def test_runs_count_when_they_are_finished_and_epochs_are_parts_of_them():
    shown = Recorded()
    bench, tasks = BenchProgress(shown, 5), [task("basic", (0, 1)), task("cmac", (0,), "width 8")]
    bench.recorded(2)
    assert shown.total == 3
    with bench.working(tasks[0]), bench.working(tasks[1]):
        assert shown.notes[-1] == "basic × 2, cmac width 8 seed 0 at work"
        bench.on_epoch(report(tasks[1][0], 1))
        assert shown.notes[-1] == "basic × 2, cmac width 8 seed 0 (1/4) at work"
        assert shown.done == pytest.approx(0.2)
        bench.on_epoch(report(tasks[1][0], 2, ended=True))
        assert shown.done == pytest.approx(0.8)
    assert shown.notes[-1] == ""
    bench.finished(tasks[1])
    assert shown.done == pytest.approx(1)
    bench.finished(tasks[0])
    assert shown.done == pytest.approx(shown.total)


def test_many_tasks_are_counted():
    shown = Recorded()
    bench = BenchProgress(shown, 6)
    every = [bench.working(task(f"head{n}", (0,))) for n in range(6)]
    for one in every:
        one.__enter__()
    assert shown.notes[-1].endswith("head3 seed 0 and 2 more at work")
