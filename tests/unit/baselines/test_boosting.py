"""The boosted trees against scikit-learn itself."""

import numpy as np
import pytest
import torch
from baselines_support import build, fit, joined, shares
from sklearn.ensemble import GradientBoostingClassifier

from mvsa_pipe.errors import DataError
from mvsa_pipe.features.batch import FeatureBatch


def make_posts(posts: int, classes: int, seed: int = 0) -> tuple[FeatureBatch, torch.Tensor]:
    """Features in coarse steps, so that thresholds fall on them, that tell of the labels."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (posts,), generator=generator)
    text = torch.randn(posts, 7, generator=generator).mul(4).round().div(4)
    image = torch.randn(posts, 4, generator=generator)
    text[:, 3] += labels
    image[:, 0] *= (labels == 1).float()
    return FeatureBatch(text_pooled=text, image_pooled=image), labels


@pytest.mark.parametrize("classes", [2, 3, 4])
@pytest.mark.parametrize("depth", [1, 3, 5])
@pytest.mark.parametrize("weighted", [True, False])
def test_probabilities_equal_those_of_sklearn(classes: int, depth: int, weighted: bool):
    batch, labels = make_posts(150, classes)
    weights = torch.linspace(0.5, 2.0, classes) if weighted else None
    fitted = fit(build("boosting", classes, depth=depth), batch, labels, 20.0, weights)
    theirs = GradientBoostingClassifier(
        n_estimators=20,
        learning_rate=0.2,
        max_depth=depth,
        subsample=0.5,
        max_features="sqrt",
        random_state=fitted.pipelines[0][-1].random_state,
    )
    x = joined(batch)
    mean = x.mean(axis=0)
    theirs.fit(x - mean, labels.numpy(), None if weights is None else weights[labels].numpy())
    others, _ = make_posts(200, classes, seed=1)
    for posts in (batch, others):
        expected = theirs.predict_proba(joined(posts) - mean)
        np.testing.assert_allclose(shares(fitted, posts), expected, atol=1e-5)


def test_the_seed_decides_which_posts_and_features_are_seen():
    batch, labels = make_posts(150, 3)
    first, again, other = (
        shares(fit(build("boosting", 3, seed), batch, labels, 10.0), batch) for seed in (1, 1, 2)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_seeds_of_any_size_are_taken():
    batch, labels = make_posts(60, 3)
    fit(build("boosting", 3, 2**63 - 1), batch, labels, 2.0)


@pytest.mark.parametrize("present", [(0, 2), (0, 1, 3)])
def test_absent_classes_get_no_probability_to_speak_of(present: tuple[int, ...]):
    batch, labels = make_posts(120, len(present))
    labels = torch.tensor(present)[labels]
    found = shares(fit(build("boosting", 4), batch, labels, 20.0, torch.ones(4)), batch)
    absent = [c for c in range(4) if c not in present]
    assert (found[:, absent] < 1e-9).all()
    assert (found.argmax(axis=1) == labels.numpy()).mean() > 0.6


def test_rounds_follow_the_strength():
    batch, labels = make_posts(100, 3)
    for rounds in (10, 20):
        fitted = fit(build("boosting", 3), batch, labels, float(rounds))
        assert len(fitted.pipelines[0][-1].estimators_) == rounds


def test_an_average_is_the_mean_of_its_members():
    batch, labels = make_posts(100, 3)
    members = [fit(build("boosting", 3, seed), batch, labels, 10.0) for seed in (1, 2, 3)]
    both = members[0].average(members)
    mean = np.mean([shares(member, batch) for member in members], axis=0)
    np.testing.assert_allclose(shares(both, batch), mean, atol=1e-6)
    assert both.parameter_count == sum(member.parameter_count for member in members)


def test_one_class_alone_is_refused():
    batch, labels = make_posts(10, 3)
    with pytest.raises(DataError, match="at least two classes"):
        fit(build("boosting", 3), batch, torch.zeros_like(labels), 10.0)
