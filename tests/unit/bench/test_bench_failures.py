"""A run that fails is listed with its reason; the others are trained, now and the next time."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mvsa_pipe.baselines.logistic import Logistic
from mvsa_pipe.benches import loaded, train_missing
from mvsa_pipe.benches.options import BenchOptions
from mvsa_pipe.benches.run import run_bench
from mvsa_pipe.cli.app import app
from mvsa_pipe.devices import MemoryShortageError
from mvsa_pipe.errors import CacheError, DataError, RunError
from mvsa_pipe.progress import NoProgress
from mvsa_pipe.runs import open_run
from mvsa_pipe.runs.options import CacheChoice, DataChoice
from mvsa_pipe.training.options import TrainingOptions

TRAINING = TrainingOptions(epochs=2, device="cpu")
HOPELESS = "1e30"
VARIED = BenchOptions(heads=("text", "logistic"), seeds=2, vary=(f"learning-rate={HOPELESS},1e-3",))


@pytest.fixture
def asked(monkeypatch):
    """Names every run that is tried from here on, on one core."""
    seen = []
    honest = loaded.try_run_heads

    def watched(planned, *words):
        seen.extend((s.head, s.training.learning_rate, s.training.seed) for _, s in planned)
        return honest(planned, *words)

    monkeypatch.setattr(loaded, "try_run_heads", watched)
    monkeypatch.setattr(train_missing, "usable_cores", lambda: 1)
    return seen


def bench(options=VARIED, data=None):
    progress, runs = NoProgress(), Path("runs-here")
    return run_bench(data or DataChoice(), CacheChoice(), options, TRAINING, progress, runs)


@pytest.mark.usefixtures("workplace")
def test_one_bad_learning_rate_costs_its_own_runs_alone(asked):
    alone = bench(BenchOptions(heads=("text",), seeds=2, vary=("learning-rate=1e-3",)))
    done = bench()
    lost = [
        (run.trial.spec.head, run.trial.setting, run.trial.spec.training.seed)
        for run in done.failed
    ]
    assert lost == [("text", f"learning_rate={HOPELESS}", seed) for seed in (0, 1)]
    assert all("Training diverged in epoch 0" in run.reason for run in done.failed)
    assert [(row.head, row.setting) for row in done.rows] == [
        ("text", "learning_rate=1e-3"),
        ("logistic", f"learning_rate={HOPELESS}"),
        ("logistic", "learning_rate=1e-3"),
    ]
    assert done.rows[0].mean == pytest.approx(alone.rows[0].mean)  # trained beside what diverged
    assert len(done.runs) == 8
    record = json.loads(json.dumps(done.as_record()))
    assert [run["reason"] for run in record["failed"]] == [run.reason for run in done.failed]
    assert sum("failed" in run for run in record["runs"]) == 2
    tried = len(asked)
    again = bench()  # what failed would fail again, and is shown, not tried
    assert len(asked) == tried
    assert again.failed == done.failed
    assert [row.mean for row in again.rows] == [row.mean for row in done.rows]


@pytest.mark.usefixtures("workplace")
def test_a_bench_of_failures_alone_is_a_bench(asked):
    done = bench(BenchOptions(heads=("text",), seeds=2, vary=(f"learning-rate={HOPELESS}",)))
    assert asked
    assert (done.rows, done.ensembles) == ([], [])
    assert len(done.failed) == 2


@pytest.mark.usefixtures("workplace", "asked")
def test_a_head_that_refuses_the_data_costs_its_own_runs_alone(monkeypatch):
    def refuse(*_):
        raise DataError("These labels cannot be solved for")

    monkeypatch.setattr(Logistic, "fit", refuse)
    done = bench(BenchOptions(heads=("logistic", "text"), seeds=2))
    assert [(row.head, row.seeds, row.failed) for row in done.rows] == [("text", 2, 0)]
    assert {run.reason for run in done.failed} == {"These labels cannot be solved for."}


@pytest.mark.usefixtures("workplace")
def test_a_shortage_of_memory_is_tried_again(asked, monkeypatch):
    honest = Logistic.fit

    def short(*_):
        raise MemoryError

    monkeypatch.setattr(Logistic, "fit", short)
    options = BenchOptions(heads=("logistic",), seeds=1)
    (failed,) = bench(options).failed
    assert "needs more memory than the device has free" in failed.reason
    monkeypatch.setattr(Logistic, "fit", honest)
    assert bench(options).failed == []
    assert len(asked) == 2


@pytest.mark.usefixtures("workplace", "asked")
def test_seeds_that_remain_are_summed_up(monkeypatch):
    honest = loaded.try_run_heads

    def partly(planned, *words):
        results = honest(planned, *words)
        return [MemoryShortageError("no room"), *results[1:]]

    monkeypatch.setattr(loaded, "try_run_heads", partly)
    (row,) = bench(BenchOptions(heads=("text",), seeds=3)).rows
    assert (row.seeds, row.failed) == (2, 1)


@pytest.mark.usefixtures("workplace", "asked")
def test_what_concerns_all_runs_ends_the_bench(monkeypatch):
    def damaged(*_):
        raise CacheError("Cached features were changed on disk")

    monkeypatch.setattr(loaded, "try_run_heads", damaged)
    with pytest.raises(CacheError):
        bench()
    assert not list(Path("runs-here").rglob("*.json"))


@pytest.mark.usefixtures("workplace", "asked")
def test_the_command_shows_what_failed_and_says_so_by_its_exit_code():
    words = ["bench", "--head", "text", "--seeds", "2", "--epochs", "1", "--device", "cpu"]
    vary = ["--vary", f"learning-rate={HOPELESS},1e-3"]
    result = CliRunner().invoke(app, [*words, *vary])
    assert result.exit_code == 1, result.output
    assert "failed: text, learning_rate=1e30, seed 0: Training diverged" in result.stdout
    shown = CliRunner().invoke(app, [*words, *vary, "--json"])
    assert shown.exit_code == 1
    record = json.loads(shown.stdout)
    assert [run["seed"] for run in record["failed"]] == [0, 1]
    assert [row["setting"] for row in record["rows"]] == ["learning_rate=1e-3"]
    only = CliRunner().invoke(app, [*words, "--vary", f"learning-rate={HOPELESS}"])
    assert only.exit_code == 1
    assert "mean ±" not in only.stdout


ONE = BenchOptions(heads=("text",), seeds=1)


def only_run():
    """The folder of a bench of one run."""
    (path,) = Path("runs-here").iterdir()
    return path


def in_json(name, change):
    """Changes a JSON file of that folder."""

    def apply():
        path = only_run() / name
        record = json.loads(path.read_text())
        change(record)
        path.write_text(json.dumps(record))

    return apply


def in_table(row, **cells):
    """Changes a row of that folder's predictions, or takes it out."""

    def apply():
        path = only_run() / "predictions.csv"
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        rows[row] |= cells
        kept = [one for number, one in enumerate(rows) if cells or number != row % len(rows)]
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(kept)

    return apply


@pytest.mark.usefixtures("workplace")
def test_scores_follow_from_predictions_whatever_the_metrics_hold(asked):
    first = bench(ONE)

    def better(metrics):
        values = metrics["scores"]["test"]["values"]
        metrics["scores"]["test"]["values"] = dict.fromkeys(values, 0.999)

    in_json("metrics.json", better)()
    again = bench(ONE)
    assert len(asked) == 1
    assert again.rows[0].mean == first.rows[0].mean
    assert again.rows[0].interval == first.rows[0].interval
    assert again.runs[0].metrics["scores"] == first.runs[0].metrics["scores"]


def _set(*way):
    *way, last, value = way

    def change(record):
        for key in way:
            record = record[key]
        record[last] = value

    return change


@pytest.mark.usefixtures("workplace", "asked")
@pytest.mark.parametrize(
    ("tamper", "expected"),
    [
        (in_table(-1, prediction="furious"), "classes that it does not have"),
        (in_table(-1), "other posts than those of the part test|predictions of other posts"),
        (in_table(-1, p_neutral="0.9", p_negative="0.9", p_positive="0.9"), "do not add up to 1"),
        (in_table(-1, p_neutral="2", p_negative="-1", p_positive="0"), "not from 0 to 1"),
        (in_table(-1, post_id="of another"), "predictions of other posts"),
        (in_json("metrics.json", _set("seconds", "long")), "metrics.json"),
        (in_json("metrics.json", _set("scoring_seconds", None)), r"Expected `float`"),
        (in_json("metrics.json", _set("parameters", "many")), r"Expected `int"),
        (in_json("metrics.json", lambda record: record.pop("scoring_seconds")), "missing required"),
        (in_json("config.json", _set("spec_digest", "of another")), "another digest"),
        (in_json("config.json", lambda record: record.pop("spec_digest")), "another digest"),
    ],
)
def test_what_no_bench_writes_is_refused_by_name(tamper, expected):
    bench(ONE)
    tamper()
    refused_until_forced(ONE, expected)


@pytest.mark.usefixtures("workplace", "asked")
def test_labels_that_are_not_those_of_the_posts_are_refused():
    bench(ONE)
    with (only_run() / "predictions.csv").open(newline="") as file:
        label = list(csv.DictReader(file))[-1]["label"]
    in_table(-1, label="neutral" if label != "neutral" else "positive")()
    refused_until_forced(ONE, "other labels than those")


def refused_until_forced(options, expected):
    with pytest.raises(RunError, match=expected) as caught:
        bench(options)
    assert str(only_run()) in str(caught.value)
    assert "--force" in str(caught.value)
    assert bench(replace(options, force=True)).runs
    assert bench(options).runs


@pytest.mark.usefixtures("workplace", "asked")
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (_set("lasting", "perhaps"), r"Expected `bool`"),
        (_set("spec_digest", "of another"), "another digest"),
        (lambda record: record.pop("reason"), "missing required field"),
    ],
)
def test_a_damaged_failure_is_refused_by_name(change, expected):
    options = replace(ONE, vary=(f"learning-rate={HOPELESS}",))
    assert bench(options).failed
    in_json("failed.json", change)()
    refused_until_forced(options, expected)


@pytest.mark.usefixtures("workplace", "asked")
def test_other_verbs_are_told_why_a_run_has_no_result():
    (run,) = bench(replace(ONE, vary=(f"learning-rate={HOPELESS}",))).failed
    with pytest.raises(RunError, match=r"This run failed.*Training diverged.*--force"):
        open_run(run.path)
