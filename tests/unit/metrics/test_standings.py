"""Standings against simulated heads of known accuracy, and against statsmodels."""

import numpy as np
import pytest
from statsmodels.stats.contingency_tables import mcnemar as reference_mcnemar
from statsmodels.stats.multitest import multipletests

from mvsa_pipe.metrics.corrected_t import corrected_mean
from mvsa_pipe.metrics.paired import holm, mcnemar
from mvsa_pipe.metrics.score_table import Score
from mvsa_pipe.metrics.standings import OVER_FOLDS, Posts, standings
from mvsa_pipe.metrics.weighted import Answers


def simulated(rights, seeds, posts, generator, seed_spread=0.01):
    """Heads of known accuracy: posts are hard for all alike, and every seed has luck of its own."""
    hardness = generator.normal(size=posts)
    labels = generator.integers(0, 3, posts)
    heads = []
    for right in rights:
        own = generator.normal(size=posts) * 0.7  # what a head finds hard
        runs = []
        for _ in range(seeds):
            noise = 0.4 * generator.normal(size=posts)
            ease = (hardness + own + noise) / np.sqrt(1 + 0.49 + 0.16)
            share = np.clip(right + seed_spread * generator.normal(), 0.01, 0.99)
            hit = ease > np.quantile(generator.normal(size=100_000), 1 - share)
            runs.append(Answers(labels, np.where(hit, labels, (labels + 1) % 3), 3))
        heads.append([runs])
    return heads


def test_equal_heads_are_rarely_called_different():
    """Family-wise: of 40 tables of four equal heads, few call any pair different."""
    generator, alarms = np.random.default_rng(0), 0
    for _ in range(40):
        found = standings(simulated([0.7] * 4, 3, 300, generator), resamples=300)
        alarms += any(pair.p_holm < 0.05 for pair in found.pairs)
    assert alarms <= 5  # P(more | rate 0.05) = 0.014


def test_intervals_cover_the_true_score():
    generator, covered = np.random.default_rng(1), 0
    for _ in range(60):
        (row,) = standings(simulated([0.7], 5, 300, generator), resamples=300).rows
        covered += row.interval[0] <= 0.7 <= row.interval[1]
    assert covered >= 52


def test_groups_are_those_of_the_truth():
    """Two good heads, two that are fifteen points behind, one at the bottom."""
    heads = simulated([0.70, 0.85, 0.85, 0.70, 0.50], 3, 800, np.random.default_rng(2))
    found = standings(heads, resamples=500)
    groups = {row.place: row.group for row in found.rows}
    assert groups == {1: 1, 2: 1, 0: 2, 3: 2, 4: 3}
    ranks = {row.place: row.ranks for row in found.rows}
    assert ranks[1] == ranks[2] == (1, 2)
    assert ranks[0] == ranks[3] == (3, 4)
    assert ranks[4] == (5, 5)
    assert found.better(1, 0)
    assert not found.better(0, 1)
    assert not found.better(1, 2)


def test_lower_is_better_where_it_is():
    generator = np.random.default_rng(3)
    labels = generator.integers(0, 2, 200)
    sure = np.where(labels[:, None] == np.arange(2), 0.9, 0.1)
    unsure = np.where(labels[:, None] == np.arange(2), 0.6, 0.4)
    jitter = generator.uniform(-0.05, 0.05, (200, 1)) * [1, -1]
    heads = [[[Answers(labels, labels, 2, shares + jitter)]] for shares in (unsure, sure)]
    found = standings(heads, Score.LOG_LOSS, resamples=200)
    assert [row.place for row in found.rows] == [1, 0]
    assert found.better(1, 0)


def test_equal_predictions_are_tied():
    (runs,) = simulated([0.7], 1, 100, np.random.default_rng(4))
    found = standings([runs, runs], resamples=100)
    assert found.pairs[0].p_value == 1.0
    assert [row.ranks for row in found.rows] == [(1, 2), (1, 2)]


def test_folds_are_tested_by_the_corrected_t_test():
    generator = np.random.default_rng(5)
    folds = [simulated([0.75, 0.7], 2, 200, generator) for _ in range(5)]
    heads = [[fold[head][0] for fold in folds] for head in range(2)]
    found = standings(heads, Score.ACCURACY, Posts(1 / 8), resamples=100)
    means = [
        [np.mean([(run.labels == run.predicted).mean() for run in fold[head][0]]) for fold in folds]
        for head in range(2)
    ]
    expected = corrected_mean(list(np.subtract(*means)), 1 / 8)
    assert found.method == OVER_FOLDS
    assert found.pairs[0].p_value == pytest.approx(expected.p_value)
    assert found.pairs[0].interval == pytest.approx(expected.interval)


def test_splits_drawn_anew_have_no_mcnemar():
    (one, two) = simulated([0.7, 0.7], 1, 50, np.random.default_rng(6))
    found = standings([one * 2, two * 2], Score.ACCURACY, Posts(0.1, once=False))
    assert found.pairs[0].mcnemar is None
    assert found.pairs[0].mcnemar_holm is None


def test_mcnemar_and_holm_are_those_of_statsmodels():
    (one, two) = simulated([0.7, 0.6], 1, 200, np.random.default_rng(7))
    found = standings([one, two], resamples=50).pairs[0]
    first, second = one[0][0], two[0][0]
    a, b = first.predicted == first.labels, second.predicted == second.labels
    table = [[(a & b).sum(), (a & ~b).sum()], [(~a & b).sum(), (~a & ~b).sum()]]
    expected = reference_mcnemar(table, exact=True)
    assert found.mcnemar.p_value == pytest.approx(expected.pvalue)
    assert found.mcnemar == mcnemar(first.labels, first.predicted, second.predicted)
    values = np.random.default_rng(8).uniform(0, 0.2, 12)
    assert holm(list(values)) == pytest.approx(multipletests(values, method="holm")[1])
