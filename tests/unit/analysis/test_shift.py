"""Scores under other distributions of classes."""

from types import SimpleNamespace

import numpy as np
import pytest

from mvsa_pipe.analysis.contest import Entry
from mvsa_pipe.analysis.shift import _trained_shares


@pytest.mark.parametrize(
    ("weights", "shares"),
    [
        ("none", [0.6, 0.3, 0.1]),
        ("balanced", [1 / 3, 1 / 3, 1 / 3]),
        ("a=1,b=2,c=4", [0.375, 0.375, 0.25]),
    ],
)
def test_a_head_learns_the_class_shares_that_its_loss_weighs(weights, shares):
    run = SimpleNamespace(config={"training": {"class_weights": weights}})
    entry = Entry("head", "head", [], (run,))
    found = _trained_shares(entry, ["a", "b", "c"], np.array([60, 30, 10]))
    np.testing.assert_allclose(found, shares)
