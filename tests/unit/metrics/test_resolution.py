"""Resolution: Connor's formula by hand, and by simulated tests."""

import numpy as np
import pytest
from scipy.stats import norm

from mvsa_pipe.metrics.paired import mcnemar
from mvsa_pipe.metrics.resolution import posts_needed, resolution, smallest_difference


def test_posts_needed_by_hand():
    """psi = 0.2, delta = 0.1: (1.96 sqrt(0.2) + 0.8416 sqrt(0.19))^2 / 0.01 = 154.5."""
    assert posts_needed(0.1, 0.2) == 155
    z = norm.ppf(0.975), norm.ppf(0.8)
    by_hand = ((z[0] * np.sqrt(0.2) + z[1] * np.sqrt(0.19)) / 0.1) ** 2
    assert by_hand == pytest.approx(154.5, abs=0.1)


def test_the_smallest_difference_needs_just_these_posts():
    found = smallest_difference(450, 0.14)
    assert posts_needed(found, 0.14) == pytest.approx(450, abs=1)


@pytest.mark.parametrize(("posts", "disagreement"), [(450, 0.0), (20, 0.1)])
def test_too_few_posts_show_nothing(posts, disagreement):
    assert smallest_difference(posts, disagreement) is None


def test_a_difference_above_the_disagreement_is_impossible():
    assert resolution(450, 0.015).posts_needed["0.02"] is None
    assert resolution(450, 0.015).posts_needed["0.01"] > 450


def test_mcnemar_has_the_power_that_is_said():
    """The exact test is a little more cautious than the formula's."""
    posts, disagreement = 600, 0.2
    delta = smallest_difference(posts, disagreement)
    generator, hits, rounds = np.random.default_rng(0), 0, 300
    labels = np.zeros(posts, np.int64)
    for _ in range(rounds):
        kind = generator.choice(
            3, posts, p=[(disagreement - delta) / 2, (disagreement + delta) / 2, 1 - disagreement]
        )
        first, second = (kind == 0).astype(np.int64), (kind == 1).astype(np.int64)
        hits += mcnemar(labels, first, second).p_value < 0.05
    assert 0.70 <= hits / rounds <= 0.86
