"""Temperatures, prediction sets and abstention: exact where known, and refused without posts."""

import json
import math
import shutil
from dataclasses import replace

import numpy as np
import pytest
from analysed_runs import RunMaker, copied

from mvsa_pipe.analysis.calibration import calibration
from mvsa_pipe.analysis.options import CalibrationOptions
from mvsa_pipe.analysis.selective import prediction_sets, risk_coverage, set_threshold
from mvsa_pipe.errors import RunError
from mvsa_pipe.metrics.weighted import Answers
from mvsa_pipe.progress import NoProgress
from mvsa_pipe.runs import open_run
from mvsa_pipe.runs.evaluate import evaluate
from mvsa_pipe.runs.options import InferenceOptions
from mvsa_pipe.runs.temperature import fitted_temperature, temperature_of, tempered

OPTIONS = CalibrationOptions(resamples=100)


def drawn(posts, seed=0):
    """Probabilities of three classes, and classes that are drawn from them."""
    draw = np.random.default_rng(seed)
    logits = draw.normal(0, 1.5, (posts, 3))
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (draw.random(posts)[:, None] > shares.cumsum(axis=1)).sum(axis=1)
    return shares, np.minimum(labels, 2).astype(np.int64)


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_the_temperature_undoes_a_factor_of_the_logits(factor):
    shares, labels = drawn(20_000)
    sharpened = tempered(shares, 1 / factor)
    assert fitted_temperature(sharpened, labels) == pytest.approx(factor, rel=0.05)
    # probabilities below what predictions.csv can hold come back larger
    np.testing.assert_allclose(tempered(sharpened, factor), shares, atol=0.02)
    assert (sharpened.argmax(axis=1) == shares.argmax(axis=1)).all()


def test_sets_are_of_the_size_that_the_formula_gives():
    shares = np.array([[1 - s, s] for s in (0.1, 0.2, 0.3, 0.4)])
    labels = np.zeros(4, np.int64)
    assert set_threshold(shares, labels, 0.6) == pytest.approx(0.3)  # third of four: 5 · 0.6
    assert set_threshold(shares, labels, 0.8) == pytest.approx(0.4)
    assert set_threshold(shares, labels, 0.9) == math.inf  # 4 posts cannot show 90 %
    assert prediction_sets(shares, math.inf).all()
    assert prediction_sets(shares, 0.3).tolist() == [[True, False]] * 3 + [[False, False]]


def test_sets_cover_as_often_as_they_promise():
    """The mean coverage of split conformal sets is between 1 - α and 1 - α + 1 / (n + 1)."""
    covered = []
    for seed in range(400):
        shares, labels = drawn(300, seed)
        threshold = set_threshold(shares[:99], labels[:99], 0.9)
        sets = prediction_sets(shares[99:], threshold)
        covered.append(sets[np.arange(201), labels[99:]].mean())
    error = np.std(covered) / math.sqrt(len(covered))
    assert 0.9 - 3 * error <= np.mean(covered) <= 0.91 + 3 * error


def test_the_risk_of_abstaining_is_that_of_the_surest_posts():
    sure = np.array([0.9, 0.8, 0.7, 0.6])
    shares = np.stack([sure, 1 - sure], axis=1)
    answers = Answers(np.array([0, 0, 1, 0]), np.zeros(4, np.int64), 2, shares)
    weights = np.array([[1, 1, 1, 1], [0, 2, 1, 1]], np.float32)
    found = risk_coverage(answers, weights, np.array([0.5, 0.75, 1.0]))
    np.testing.assert_allclose(found.risks, [[0, 1 / 3, 1 / 4], [0, 1 / 3, 1 / 4]])
    np.testing.assert_allclose(found.area, [(1 / 3 + 1 / 4) / 4, (1 / 3 + 1 / 4) / 4])


@pytest.fixture(scope="module")
def make(pipeline, tmp_path_factory):
    maker = copied(pipeline, tmp_path_factory.mktemp("calibration"))
    return RunMaker(maker.root, "random-4:3:3")


@pytest.fixture(scope="module")
def runs(make):
    return [make("logistic"), *(make("native-cat", seed=seed) for seed in (0, 1))]


def test_a_finding_has_every_head_with_intervals(runs):
    found = calibration(runs, OPTIONS, NoProgress())
    heads = [row[0] for row in found.table("prediction sets").rows]
    assert heads == ["logistic", "native-cat"]
    assert len(found.values["native-cat"]["temperatures"]) == 2
    for row in found.table("before and after").rows:
        assert row[2].low <= row[2].value
        assert row[3].value - row[2].value == pytest.approx(row[4].value, abs=1e-12)
    log_loss = found.values["logistic"]["log_loss"]
    assert all(math.isfinite(value) for value in log_loss)
    reliability, risks, errors = found.plots
    assert reliability.diagonal
    assert risks.series[0].x[-1] == 1
    assert len(errors.rows) == 4


def test_the_temperature_is_kept_and_applied_when_asked(runs):
    run = runs[0]
    kept = temperature_of(run)
    record = json.loads((run.path / "calibration.json").read_text())
    assert record["temperature"] == kept.temperature
    assert kept.posts == sum(row.split == "val" for row in run.predictions())
    options = InferenceOptions(device="cpu", part="val")
    options = replace(options, cache=run.path.parents[1] / "cache")
    plain = evaluate(run, options, NoProgress())
    calibrated = evaluate(run, replace(options, calibrated=True), NoProgress())
    assert [p.prediction for p in plain.predictions] == [
        p.prediction for p in calibrated.predictions
    ]
    assert calibrated.scores.values["log_loss"] <= plain.scores.values["log_loss"]


def test_the_temperature_follows_the_predictions(runs, tmp_path):
    run = open_run(shutil.copytree(runs[1].path, tmp_path / "run"))
    first = temperature_of(run)
    lines = (run.path / "predictions.csv").read_text().splitlines(keepends=True)
    (run.path / "predictions.csv").write_text("".join(lines[:-40]))
    assert temperature_of(open_run(run.path)).digest != first.digest


@pytest.mark.parametrize("unusable", [0, -1, 1e300])
def test_a_temperature_that_cannot_be_is_fitted_again(runs, tmp_path, unusable):
    run = open_run(shutil.copytree(runs[1].path, tmp_path / "run"))
    fitted = temperature_of(run)
    path = run.path / "calibration.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"temperature": unusable}))
    assert temperature_of(run) == fitted


def test_runs_without_test_posts_are_refused(make):
    alone = RunMaker(make.root, "random-8:2")("logistic")
    with pytest.raises(RunError, match="posts to fit on and others to score on"):
        calibration([alone], OPTIONS, NoProgress())
