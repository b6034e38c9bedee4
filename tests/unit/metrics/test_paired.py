"""Paired tests, held against scipy, brute force and cases that can be counted by hand."""

import numpy as np
import pytest
from scipy.stats import binomtest

from mvsa_pipe.metrics.paired import compare_paired, holm, mcnemar
from mvsa_pipe.metrics.scores import score


def draw(posts=300, seed=0, classes=3):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, posts)
    first = np.where(generator.random(posts) < 0.6, labels, generator.integers(0, classes, posts))
    second = np.where(generator.random(posts) < 0.7, labels, generator.integers(0, classes, posts))
    return labels, first, second


def right_apart(b, c, both=5):
    """Predictions of which ``b`` are right by the first alone and ``c`` by the second alone."""
    labels = np.zeros(b + c + both, np.int64)
    first, second = labels.copy(), labels.copy()
    second[:b], first[b : b + c] = 1, 1
    return labels, first, second


@pytest.mark.parametrize(("b", "c"), [(1, 9), (7, 7), (0, 6), (30, 12), (12, 30), (1000, 1100)])
def test_mcnemar_is_the_exact_binomial_test(b, c):
    found = mcnemar(*right_apart(b, c))
    assert (found.only_first, found.only_second) == (b, c)
    assert found.p_value == pytest.approx(binomtest(b, b + c, 0.5).pvalue, rel=1e-9)


def test_mcnemar_of_equal_predictions_finds_nothing():
    labels, first, _ = draw()
    assert mcnemar(labels, first, first).p_value == 1.0


def test_both_wrong_in_different_ways_is_no_difference():
    labels = np.zeros(4, np.int64)
    assert mcnemar(labels, labels + 1, labels + 2).p_value == 1.0


def test_mcnemar_takes_more_posts_than_a_float_has_exponents_for():
    assert 0 < mcnemar(*right_apart(2000, 2400)).p_value < 1e-8


def test_differences_are_those_of_the_scores():
    labels, first, second = draw()
    names = ("a", "b", "c")
    one, two = score(labels, first, names), score(labels, second, names)
    found = compare_paired(labels, first, second, 3, np.random.default_rng(0)).differences
    for name, difference in found.items():
        assert difference.value == pytest.approx(two.values[name] - one.values[name], abs=1e-12)
        assert difference.interval[0] < difference.value < difference.interval[1]


def test_intervals_are_those_of_resampled_posts():
    labels, first, second = draw()
    generator = np.random.default_rng(1)
    gains = (second == labels).astype(float) - (first == labels)
    rows = generator.integers(0, len(labels), (4000, len(labels)))
    brute = np.percentile(gains[rows].mean(axis=1), [2.5, 97.5])
    found = compare_paired(
        labels, first, second, 3, np.random.default_rng(0), resamples=4000
    ).differences
    assert found["accuracy"].interval == pytest.approx(tuple(brute), abs=0.005)


def test_pairing_narrows_the_interval():
    labels, first, _ = draw()
    nearly = first.copy()
    nearly[:5] = labels[:5]
    low, high = (
        compare_paired(labels, first, nearly, 3, np.random.default_rng(0))
        .differences["accuracy"]
        .interval
    )
    alone = score(labels, first, ("a", "b", "c")).intervals["accuracy"]
    assert high - low < (alone[1] - alone[0]) / 3


def test_equal_predictions_differ_by_nothing():
    labels, first, _ = draw()
    found = compare_paired(labels, first, first, 3, np.random.default_rng(0))
    assert found.agreement == 1.0
    assert found.differences["f1_macro"].interval == (0.0, 0.0)


def test_the_generator_alone_decides():
    first = compare_paired(*draw(), 3, np.random.default_rng(7))
    assert first == compare_paired(*draw(), 3, np.random.default_rng(7))
    assert first != compare_paired(*draw(), 3, np.random.default_rng(8))


def test_no_posts_are_no_pairs():
    none = np.zeros(0, np.int64)
    with pytest.raises(ValueError, match="one label"):
        compare_paired(none, none, none, 3, np.random.default_rng(0))


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []
