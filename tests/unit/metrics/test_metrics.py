"""Scores against scikit-learn, intervals against a naive loop, reference rows against theory."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, precision_recall_fscore_support

from mvsa_pipe.metrics.score_table import LABEL_SCORES, Score, score_confusion
from mvsa_pipe.metrics.scores import (
    chance,
    confusion_matrix,
    majority_reference,
    mean_interval,
    score,
)
from mvsa_pipe.metrics.weighted import Answers

CLASSES = ("negative", "neutral", "positive", "mixed")


@st.composite
def labelled(draw):
    """Labels and predictions in which classes may be absent from either."""
    size = draw(st.integers(1, 40))
    classes = st.lists(st.integers(0, len(CLASSES) - 1), min_size=size, max_size=size)
    return np.array(draw(classes)), np.array(draw(classes))


def reference_scores(labels, predictions):
    values = {Score.ACCURACY: accuracy_score(labels, predictions)}
    for average in ("macro", "weighted"):
        three = precision_recall_fscore_support(
            labels, predictions, average=average, zero_division=0
        )[:3]
        for name, value in zip(("precision", "recall", "f1"), three, strict=True):
            values[Score(f"{name}_{average}")] = value
    return values


@given(labelled())
def test_scores_are_those_of_scikit_learn(pair):
    labels, predictions = pair
    found = score(labels, predictions, CLASSES, resamples=2)
    for name, value in reference_scores(labels, predictions).items():
        assert found[name] == pytest.approx(value, abs=1e-12), name


@given(labelled())
def test_each_class_is_that_of_scikit_learn(pair):
    labels, predictions = pair
    found = score(labels, predictions, CLASSES, resamples=2).per_class
    columns = precision_recall_fscore_support(
        labels, predictions, labels=range(len(CLASSES)), zero_division=0
    )
    names = ("precision", "recall", "f1", "support")
    for column, values in zip(names, columns, strict=True):
        assert [found[name][column] for name in CLASSES] == pytest.approx(list(values), abs=1e-12)


def test_confusion_has_true_classes_in_rows():
    matrix = confusion_matrix(np.array([0, 0, 1]), np.array([1, 1, 1]), 3)
    assert matrix.tolist() == [[0, 2, 0], [0, 1, 0], [0, 0, 0]]


def test_nothing_to_score_is_refused():
    with pytest.raises(ValueError, match="no posts"):
        score(np.array([], np.int64), np.array([], np.int64), CLASSES)


def test_the_interval_is_that_of_resampled_posts():
    generator = np.random.default_rng(3)
    labels = generator.integers(0, 3, 80)
    predictions = np.where(generator.random(80) < 0.7, labels, generator.integers(0, 3, 80))
    found = score(labels, predictions, CLASSES[:3], resamples=4000, seed=1)
    naive = {name: [] for name in LABEL_SCORES}
    for _ in range(4000):
        drawn = generator.integers(0, 80, 80)
        matrix = confusion_matrix(labels[drawn], predictions[drawn], 3)
        for name, value in score_confusion(matrix).items():
            naive[name].append(float(value))
    for name in LABEL_SCORES:
        low, high = np.percentile(naive[name], [2.5, 97.5])
        assert found.intervals[name.value] == pytest.approx((low, high), abs=0.02), name


def test_the_interval_holds_its_confidence():
    labels, predictions = np.zeros(100, np.int64), np.r_[np.zeros(80), np.ones(20)].astype(int)
    wide = score(labels, predictions, CLASSES, confidence=0.99).intervals["accuracy"]
    narrow = score(labels, predictions, CLASSES, confidence=0.5).intervals["accuracy"]
    assert wide[0] < narrow[0] < 0.8 < narrow[1] < wide[1]
    # a binomial share of 0.8 over 100 posts has deviation 0.04
    assert narrow[1] - narrow[0] == pytest.approx(2 * 0.6745 * 0.04, abs=0.011)


def test_intervals_are_drawn_from_their_own_seed():
    labels, predictions = np.array([0, 1, 2] * 9), np.array([0, 1, 1] * 9)
    np.random.seed(0)  # noqa: NPY002  # the global generator must play no part
    first = score(labels, predictions, CLASSES, seed=5)
    np.random.seed(1)  # noqa: NPY002
    assert score(labels, predictions, CLASSES, seed=5) == first
    assert score(labels, predictions, CLASSES, seed=6).intervals != first.intervals


def test_majority_answers_the_commonest_training_class():
    train, labels = np.array([2, 2, 0]), np.array([0, 0, 0, 2])
    row = majority_reference(train, labels, 3)
    expected = reference_scores(labels, np.full(4, 2))
    found = {name.value: row.values[name.value] for name in expected}
    assert found == pytest.approx({name.value: value for name, value in expected.items()})
    assert row.values["log_loss"] == pytest.approx(
        -(3 * np.log(1 / 3) + np.log(2 / 3)) / 4, rel=1e-5
    )
    assert row.values["auroc"] == 0.5
    assert not any(row.deviations.values())


def test_chance_guesses_by_the_training_shares():
    train, labels = np.array([0] * 6 + [1] * 3 + [2]), np.repeat([0, 1, 2], [20, 30, 50])
    row = chance(train, labels, 3)
    shares, true = np.array([0.6, 0.3, 0.1]), np.array([0.2, 0.3, 0.5])
    assert row.values["accuracy"] == pytest.approx((shares * true).sum(), abs=0.005)
    deviation = np.sqrt((true * 100 * shares * (1 - shares)).sum()) / 100
    assert row.deviations["accuracy"] == pytest.approx(deviation, rel=0.1)
    generator = np.random.default_rng(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        guesses = [
            reference_scores(labels, generator.choice(3, 100, p=shares))[Score.F1_MACRO]
            for _ in range(300)
        ]
    assert row.values["f1_macro"] == pytest.approx(np.mean(guesses), abs=0.01)


def answers(labels, predictions, classes):
    return Answers(labels, predictions, classes)


def test_one_run_has_the_interval_of_its_score():
    generator = np.random.default_rng(0)
    labels, predictions = generator.integers(0, 3, 200), generator.integers(0, 3, 200)
    alone = mean_interval([answers(labels, predictions, 3)])
    single = score(labels, predictions, CLASSES[:3]).intervals
    for name, bounds in alone.items():
        assert bounds == pytest.approx(single[name], abs=0.015)


def test_equal_runs_on_the_same_posts_do_not_narrow_the_interval():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 150)
    predictions = np.where(generator.random(150) < 0.7, labels, 1 - labels)
    one = mean_interval([answers(labels, predictions, 2)])["accuracy"]
    same = mean_interval([answers(labels, predictions, 2)] * 4)["accuracy"]
    assert same == pytest.approx(one)


def test_seeds_that_differ_widen_the_interval():
    """Five seeds right on 60 to 80 posts of 100: their spread is larger than that of posts."""
    labels = np.zeros(100, np.int64)
    runs = [np.repeat([0, 1], [right, 100 - right]) for right in (60, 65, 70, 75, 80)]
    low, high = mean_interval([answers(labels, run, 2) for run in runs])["accuracy"]
    posts_alone = np.mean(runs, axis=0).std() / 10
    of_seeds = np.std([60, 65, 70, 75, 80], ddof=1) / 100 / np.sqrt(5)
    expected = np.sqrt(posts_alone**2 + of_seeds**2)
    assert (high - low) / (2 * 1.96) == pytest.approx(expected, rel=0.1)
