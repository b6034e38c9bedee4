"""Agreement of annotators, on labels whose agreement is counted by hand or known by design."""

import numpy as np
import pytest

from mvsa_pipe.analysis.annotators import Target, agreement, agreement_table, modality_plot
from mvsa_pipe.posts.readers.mvsa import SENTIMENTS

NEG, NEU, POS = SENTIMENTS

# text labels: two unanimous posts, one of 2 to 1, one without a majority
BY_HAND = [
    ((POS, POS), (POS, POS), (POS, NEU)),
    ((NEG, NEU), (NEG, NEU), (NEG, NEG)),
    ((POS, NEG), (POS, POS), (NEU, POS)),
    ((POS, NEU), (NEG, NEU), (NEU, NEU)),
]


def of(annotated, target, resamples=20):
    return agreement(annotated, target, resamples, seed=0)


def test_agreement_on_texts_is_as_counted_by_hand():
    found = of(BY_HAND, Target.TEXT)
    assert found.posts == 4
    assert found.unanimous.value == pytest.approx(2 / 4)
    assert found.pairwise.value == pytest.approx((3 + 3 + 1 + 0) / 12)
    # the others agree for 3, 3, 1 and 0 annotators; of these 3, 3 and 0 say the same
    assert found.decided == pytest.approx(7 / 12)
    assert found.ceiling.value == pytest.approx(6 / 7)
    shares = np.array([4, 2, 6]) / 12  # of negative, neutral and positive labels
    chance = (shares**2).sum()
    assert found.kappa.value == pytest.approx((7 / 12 - chance) / (1 - chance))


def test_an_annotator_who_contradicts_himself_gives_no_label_of_the_post():
    found = of([BY_HAND[2]], Target.POST)
    # own labels: none, positive, positive; no two annotators agree on both text and picture
    assert found.decided == pytest.approx(0)
    assert found.ceiling is None
    assert found.pairwise.value == pytest.approx(1 / 3)


def test_one_annotator_predicts_the_others_as_errors_allow():
    """Each annotator errs with chance e, to either wrong label alike: the ceiling is known."""
    e, draw = 0.2, np.random.default_rng(0)
    truth = draw.integers(0, 3, 6000)
    wrong = draw.random((6000, 3)) < e
    given = (truth[:, None] + np.where(wrong, draw.integers(1, 3, (6000, 3)), 0)) % 3
    annotated = [tuple((SENTIMENTS[k], SENTIMENTS[k]) for k in row) for row in given.tolist()]
    right, each = 1 - e, e / 2
    same = right**3 + 2 * each**3  # all three are equal
    decided = right**2 + 2 * each**2  # the other two are equal
    for target in Target:
        found = of(annotated, target)
        assert found.ceiling.value == pytest.approx(same / decided, abs=0.01)
        assert found.ceiling.low < same / decided < found.ceiling.high
        assert found.pairwise.value == pytest.approx(decided, abs=0.01)
        assert found.kappa.value == pytest.approx((decided - 1 / 3) / (2 / 3), abs=0.02)


def test_labels_that_are_all_equal_have_no_kappa():
    found = of([((POS, POS),) * 3] * 4, Target.POST)
    assert found.kappa is None
    assert found.ceiling.value == found.unanimous.value == 1
    assert agreement_table([found]).rows[0][3] is None


def test_the_plot_counts_majority_pairs():
    counted = modality_plot(BY_HAND)
    assert counted.rows == list(SENTIMENTS)
    assert counted.values[2][2] == 2  # posts 1 and 3: text positive, picture positive
    assert counted.values[0][1] == 1
    assert sum(map(sum, counted.values)) == 3  # the fourth has no majority
