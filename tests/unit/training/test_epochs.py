"""Reports of epochs: what listeners are told, and how it becomes progress."""

from dataclasses import replace

import pytest
from training_support import OPTIONS, make_data, small

from mvsa_pipe.progress import NoProgress
from mvsa_pipe.training.epochs import FitProgress
from mvsa_pipe.training.fitting import fit_heads
from mvsa_pipe.training.options import RunSpec
from mvsa_pipe.training.step import learning_rate_factor


class Recorded(NoProgress):
    """Keeps what it is told."""

    def __init__(self):
        self.total, self.done, self.notes, self.started = 0.0, 0.0, [], None

    def start(self, what, total, unit="", *, may_end_early=False):
        self.started, self.total = (what, total, unit, may_end_early), total

    def advance(self, count):
        assert count > 0
        self.done += count

    def expect(self, total):
        self.total = total

    def note(self, text):
        self.notes.append(text)


def plans(name, seeds, **changes):
    data, options = make_data(), replace(OPTIONS, **changes)
    return [(data, RunSpec(name, replace(options, seed=s), small(name))) for s in range(seeds)]


@pytest.mark.parametrize(("name", "seeds"), [("basic", 1), ("basic", 3), ("dual-attention", 2)])
def test_every_epoch_of_every_run_is_reported(name, seeds):
    planned, reports = plans(name, seeds), []
    fitted = fit_heads(planned, on_epoch=reports.append)
    silent = fit_heads(plans(name, seeds))
    for (data, spec), run, other in zip(planned, fitted, silent, strict=True):
        own = [report for report in reports if report.spec is spec]
        assert [report.entry for report in own] == run.history == other.history
        assert [report.done for report in own] == list(range(1, len(run.history) + 1))
        assert own[-1].best == run.history[run.best]
        assert [report.ended for report in own] == [False] * (len(own) - 1) + [True]
        assert sum(report.seconds for report in own) <= run.seconds
        steps = data.steps_an_epoch(spec.training.batch_size)
        rate = learning_rate_factor(steps - 1, spec.training, steps * spec.training.epochs)
        assert own[0].learning_rate == spec.training.learning_rate * rate
        assert own[0].score == own[0].entry["val_f1_macro"]


def test_every_strength_of_a_baseline_is_reported():
    planned, reports = plans("logistic", 1), []
    (fitted,) = fit_heads(planned, on_epoch=reports.append)
    assert [report.entry for report in reports] == fitted.history
    assert reports[-1].best == fitted.history[fitted.best]
    assert reports[-1].ended
    assert {report.most for report in reports} == {len(fitted.history)}
    assert {report.learning_rate for report in reports} == {None}


@pytest.mark.parametrize(
    ("name", "seeds", "unit"),
    [
        ("basic", 1, "epochs"),
        ("basic", 3, "epochs"),
        ("dual-attention", 2, "epochs"),
        ("boosting", 2, "strengths"),
        ("logistic", 3, "strengths"),
    ],
)
def test_progress_ends_where_it_was_expected(name, seeds, unit):
    planned, shown = plans(name, seeds, epochs=30, patience=2), Recorded()
    listener = FitProgress(shown, planned)
    fit_heads(planned, listener.on_step, on_epoch=listener.on_epoch)
    assert shown.started[::2] == (name, unit)
    assert shown.started[3] == (unit == "epochs")
    assert shown.done == pytest.approx(shown.total)
    if unit == "epochs":
        assert shown.total < shown.started[1]  # it ended early
    else:
        assert shown.total == shown.started[1]


def test_notes_name_loss_score_and_best():
    planned, shown = plans("basic", 1, epochs=2), Recorded()
    listener = FitProgress(shown, planned)
    (run,) = fit_heads(planned, listener.on_step, on_epoch=listener.on_epoch)
    first, best = run.history[0], run.history[run.best]
    score = 100 * first["val_f1_macro"]
    assert shown.notes[0] == (
        f"loss {first['train_loss']:.4f}, validation macro-F1 {score:.1f} %, "
        f"best {score:.1f} % (epoch 0)"
    )
    assert shown.notes[-1].endswith(f"best {100 * best['val_f1_macro']:.1f} % (epoch {run.best})")


def test_notes_of_several_runs_tell_whose_they_are():
    planned, shown = plans("basic", 3, epochs=2), Recorded()
    listener = FitProgress(shown, planned)
    fit_heads(planned, listener.on_step, on_epoch=listener.on_epoch)
    assert shown.notes[0].startswith("seed 0, loss ")
    assert shown.notes[2].startswith("means of 3 runs, loss ")
    planned, shown = plans("dual-attention", 2, epochs=2), Recorded()  # one after the other
    listener = FitProgress(shown, planned)
    fit_heads(planned, listener.on_step, on_epoch=listener.on_epoch)
    assert [note.split(",")[0] for note in shown.notes] == ["seed 0"] * 2 + ["seed 1"] * 2


def test_a_listener_that_raises_ends_the_training():
    def stop(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_heads(plans("basic", 2), on_epoch=stop)


def test_a_resumed_run_counts_what_is_left():
    planned, shown = plans("basic", 1, epochs=5), Recorded()
    FitProgress(shown, planned, resumed=3)
    assert shown.total == 2
