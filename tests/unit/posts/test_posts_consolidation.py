"""The label rules, pair by pair."""

import itertools

import pytest

from mvsa_pipe.posts.readers.mvsa import (
    SENTIMENTS,
    agreed,
    consolidate,
    majority_label,
    majority_pair,
)

P, N, O = "positive", "negative", "neutral"  # noqa: E741


@pytest.mark.parametrize(
    ("text", "image", "label"),
    [
        (P, P, P), (O, O, O), (N, N, N),
        (P, O, P), (O, P, P), (N, O, N), (O, N, N),
        (P, N, None), (N, P, None),
    ],
)  # fmt: skip
def test_consolidate(text, image, label):
    assert consolidate(text, image) == label


def test_all_nine_pairs_are_covered_and_the_rule_is_symmetric():
    for text, image in itertools.product(SENTIMENTS, repeat=2):
        assert consolidate(text, image) == consolidate(image, text)
        assert agreed(text, image) == (text if text == image else None)


@pytest.mark.parametrize(
    ("labels", "label"),
    [([P, P, P], P), ([P, N, P], P), ([O, N, N], N), ([P, N, O], None), ([P], P), ([P, N], None)],
)
def test_majority(labels, label):
    assert majority_label(labels) == label


def test_the_majority_is_taken_per_modality_and_not_per_pair():
    # No two annotators gave the same pair, yet both modalities have a majority.
    assert majority_pair([(P, O), (P, N), (O, N)]) == (P, N)
    assert majority_pair([(P, O), (N, N), (O, N)]) is None
    assert majority_pair([(P, O), (P, N), (P, P)]) is None
