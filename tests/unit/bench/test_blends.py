"""Weights of late averaging: known answers, and no look at the test part."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from mvsa_pipe.benches.blends import mixture_weights


def drawn(runs, posts, seed=0):
    draws = np.random.default_rng(seed)
    shares = draws.dirichlet(np.ones(3), (runs, posts))
    return shares, draws.integers(0, 3, posts)


def test_a_run_that_knows_the_labels_has_all_the_weight():
    shares, labels = drawn(3, 200)
    shares[1] = np.eye(3)[labels]
    assert mixture_weights(shares, labels) == pytest.approx([0, 1, 0], abs=1e-6)


def test_equal_runs_have_equal_weights():
    shares, labels = drawn(1, 50)
    same = np.repeat(shares, 4, axis=0)
    assert mixture_weights(same, labels) == pytest.approx([0.25] * 4)


def test_the_likelihood_is_the_highest():
    shares, labels = drawn(2, 300, seed=3)
    own = shares[:, np.arange(300), labels]
    best = minimize_scalar(
        lambda w: -np.log(w * own[0] + (1 - w) * own[1]).mean(), bounds=(0, 1), method="bounded"
    )
    assert mixture_weights(shares, labels)[0] == pytest.approx(best.x, abs=1e-3)


def test_a_run_that_excludes_the_truth_is_no_division_by_zero():
    shares, labels = drawn(2, 20)
    shares[:, 0] = np.eye(3)[(labels[0] + 1) % 3]
    assert np.isfinite(mixture_weights(shares, labels)).all()
