"""Every row of the table against scikit-learn, on whole posts and on weighted ones."""

import warnings

import numpy as np
import pytest
import sklearn.metrics as sk
from hypothesis import given, settings
from hypothesis import strategies as st

from mvsa_pipe.errors import ConfigError
from mvsa_pipe.metrics.options import ScoreChoice
from mvsa_pipe.metrics.score_table import ECE_BINS, Score, is_better, score_posts
from mvsa_pipe.metrics.scores import score, values_of
from mvsa_pipe.metrics.weighted import Answers, resampled_posts


def drawn(seed, posts, classes=3, places=2):
    """Labels and probabilities with many ties, and classes that may have no post."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, posts)
    shares = generator.dirichlet(np.ones(classes), posts) + np.eye(classes)[labels] * 0.4
    shares = np.round(shares / shares.sum(axis=1, keepdims=True), places) + 1e-3
    shares /= shares.sum(axis=1, keepdims=True)
    return Answers(labels, shares.argmax(axis=1), classes, shares)


def _sklearn_ranked(function, labels, shares, weights):
    """One class against the rest; mean over the classes that have posts and others beside."""
    found = []
    for one in range(shares.shape[1]):
        true = labels == one
        if weights[true].sum() and weights[~true].sum():
            found.append(function(true, shares[:, one], sample_weight=weights))
    return np.mean(found) if found else np.nan


def _ece(labels, predicted, shares, weights):
    surest, total = shares.max(axis=1), 0.0
    for one in range(ECE_BINS):
        inside = (surest > one / ECE_BINS) & (surest <= (one + 1) / ECE_BINS)
        if weights[inside].sum():
            right = np.average((labels == predicted)[inside], weights=weights[inside])
            sure = np.average(surest[inside], weights=weights[inside])
            total += weights[inside].sum() * abs(right - sure)
    return total / weights.sum()


def from_sklearn(answers, weights):
    """All scores by scikit-learn's own functions, with posts weighted."""
    labels, predicted, shares = answers.labels, answers.predicted, answers.shares
    occurring = {"labels": range(answers.classes), "sample_weight": weights}
    own = {"sample_weight": weights}
    seen = np.repeat(np.arange(len(labels)), weights.astype(int))  # sklearn's macro, as ours
    found = {
        "accuracy": sk.accuracy_score(labels, predicted, **own),
        "balanced_accuracy": sk.balanced_accuracy_score(labels[seen], predicted[seen]),
        "mcc": sk.matthews_corrcoef(labels, predicted, **own),
        "kappa": sk.cohen_kappa_score(labels, predicted, **occurring),
        "auroc": _sklearn_ranked(sk.roc_auc_score, labels, shares, weights),
        "average_precision": _sklearn_ranked(sk.average_precision_score, labels, shares, weights),
        "log_loss": sk.log_loss(labels, shares / shares.sum(axis=1, keepdims=True), **occurring),
        "brier": sk.brier_score_loss(labels, shares, scale_by_half=False, **occurring),
        "ece": _ece(labels, predicted, shares, weights),
    }
    for average in ("macro", "weighted"):
        three = sk.precision_recall_fscore_support(
            labels[seen], predicted[seen], average=average, zero_division=0
        )[:3]
        names = (f"{name}_{average}" for name in ("precision", "recall", "f1"))
        found |= dict(zip(names, three, strict=True))
    return found


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(2, 4))
def test_every_score_is_that_of_scikit_learn(seed, posts, classes):
    answers = drawn(seed, posts, classes)
    weights = next(resampled_posts(posts, 3, np.random.default_rng(seed)))
    found = score_posts(answers.weighted(weights))
    assert list(found) == list(Score)
    for row, own in enumerate(weights):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = from_sklearn(answers, own)
        if np.isnan(expected["kappa"]):  # one class alone, always named: ours is 0
            expected["kappa"] = 0.0
        assert set(expected) == set(Score)
        for name in Score:
            assert found[name][row] == pytest.approx(expected[name], abs=1e-6, nan_ok=True), name


def test_probabilities_are_scored_as_predictions_csv_holds_them():
    answers = drawn(0, 50)
    exact = answers.shares + np.array([3e-7, -1e-7, -2e-7])
    rounded = np.array([[float(f"{share:.6f}") for share in row] for row in exact])
    values = [values_of(Answers(answers.labels, answers.predicted, 3, s)) for s in (exact, rounded)]
    assert values[0] == values[1]


def test_a_certain_and_wrong_answer_has_a_finite_loss():
    shares = np.array([[1.0, 0.0], [1.0, 0.0]])
    found = values_of(Answers(np.array([0, 1]), np.array([0, 0]), 2, shares))
    assert found["log_loss"] == pytest.approx(-np.log(1e-6) / 2)


def test_scores_that_posts_do_not_define_are_left_out():
    shares = np.array([[0.7, 0.3], [0.4, 0.6]])
    found = score(np.array([0, 0]), np.array([0, 1]), ("a", "b"), shares, resamples=5)
    assert "auroc" not in found.values
    assert "auroc" not in found.intervals
    assert "log_loss" in found.values


def test_without_probabilities_their_scores_are_left_out():
    found = score(np.array([0, 1]), np.array([0, 1]), ("a", "b"), resamples=5)
    assert "mcc" in found.values
    assert "brier" not in found.values


def test_intervals_are_those_of_resampled_posts():
    answers = drawn(3, 90)
    found = score(answers.labels, answers.predicted, "abc", answers.shares, resamples=3000)
    generator, naive = np.random.default_rng(9), []
    for _ in range(400):
        own = generator.integers(0, 90, 90)
        naive.append(
            values_of(Answers(answers.labels[own], answers.predicted[own], 3, answers.shares[own]))
        )
    for name in Score:
        bounds = np.percentile([values[name] for values in naive], [2.5, 97.5])
        width = bounds[1] - bounds[0]
        assert found.intervals[name] == pytest.approx(tuple(bounds), abs=0.2 * width), name


def test_each_class_has_intervals():
    answers = drawn(4, 90)
    found = score(answers.labels, answers.predicted, "abc", answers.shares)
    for name, of_class in found.per_class_intervals.items():
        for column, (low, high) in of_class.items():
            assert low <= found.per_class[name][column] <= high
            assert low < high


def test_blocks_of_resamples_add_up(monkeypatch):
    whole = np.concatenate(list(resampled_posts(7, 100, np.random.default_rng(0))))
    assert whole.shape == (100, 7)
    assert (whole.sum(axis=1) == 7).all()
    monkeypatch.setattr("mvsa_pipe.metrics.weighted._MOST_WEIGHTS", 70)
    blocks = list(resampled_posts(7, 25, np.random.default_rng(0)))
    assert [len(block) for block in blocks] == [10, 10, 5]


@pytest.mark.parametrize(("select", "better"), [(Score.ACCURACY, 0.8), (Score.LOG_LOSS, 0.2)])
def test_the_direction_of_a_score_decides(select, better):
    entries = {value: {f"val_{select}": value, "val_loss": 1.0} for value in (0.2, 0.8)}
    worse = round(1.0 - better, 1)
    assert is_better(entries[better], entries[worse], select)
    assert not is_better(entries[worse], entries[better], select)


def test_of_equal_scores_the_lower_loss_is_better():
    low, high = ({"val_ece": 0.1, "val_loss": loss} for loss in (0.5, 0.6))
    assert is_better(low, high, Score.ECE)
    assert not is_better(high, low, Score.ECE)


def test_selection_by_an_undefined_score_is_refused():
    with pytest.raises(ConfigError, match="auroc is not defined"):
        is_better({"val_loss": 1.0}, {"val_loss": 1.0}, Score.AUROC)


def test_scores_are_chosen_by_name():
    chosen = ScoreChoice("mcc, f1-macro,log_loss").chosen
    assert chosen == (Score.MCC, Score.F1_MACRO, Score.LOG_LOSS)
    assert [s.heading for s in chosen] == ["MCC", "macro-F1 %", "log-loss"]
    assert [s.shown(0.123456) for s in chosen] == ["0.123", "12.3", "0.123"]


@pytest.mark.parametrize("text", ["", "accuracy,", "acuracy", "mcc,mcc"])
def test_other_names_of_scores_are_refused(text):
    with pytest.raises(ConfigError, match="--scores"):
        ScoreChoice(text)
