"""The support vector machines against scikit-learn itself."""

from itertools import combinations

import numpy as np
import pytest
import torch
from baselines_support import build, fit, joined, shares
from sklearn.svm import SVC

from mvsa_pipe.errors import DataError
from mvsa_pipe.features.batch import FeatureBatch


def make_posts(posts: int, classes: int, seed: int = 0) -> tuple[FeatureBatch, torch.Tensor]:
    """Features of very different scales that tell something about the labels, by a bend."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (posts,), generator=generator)
    text = torch.randn(posts, 7, generator=generator) * torch.logspace(-2, 2, 7)
    image = 3.0 + torch.randn(posts, 4, generator=generator)
    text[:, 3] += labels
    image[:, 0] *= (labels == 1).float()
    return FeatureBatch(text_pooled=text, image_pooled=image), labels


def standardised(batch: FeatureBatch) -> np.ndarray:
    x = joined(batch)
    return (x - x.mean(axis=0)) / x.std(axis=0)


@pytest.mark.parametrize("classes", [2, 3, 4])
@pytest.mark.parametrize("gamma", [0.5, 1.0])
@pytest.mark.parametrize("weighted", [True, False])
def test_logits_are_the_sums_of_sklearns_margins_up_to_one_factor(classes, gamma, weighted):
    batch, labels = make_posts(150, classes)
    weights = torch.linspace(0.5, 2.0, classes) if weighted else None
    fitted = fit(build("svm", classes, gamma=gamma), batch, labels, 1.0, weights)
    theirs = SVC(
        C=1.0,
        gamma=gamma / 11,
        class_weight=None if weights is None else dict(enumerate(weights.tolist())),
        decision_function_shape="ovo",
    )
    x = standardised(batch)
    margins = theirs.fit(x, labels.numpy()).decision_function(x).reshape(150, -1)
    margins = -margins if classes == 2 else margins
    sums = np.zeros((150, classes))
    for column, (first, second) in enumerate(combinations(range(classes), 2)):
        sums[:, first] += margins[:, column] / classes
        sums[:, second] -= margins[:, column] / classes
    logits = np.log(shares(fitted, batch))
    logits -= logits.mean(axis=1, keepdims=True)
    factor = (logits * sums).sum() / (sums * sums).sum()
    assert factor > 0
    # two solvers stop at their tolerance, 1e-3 of a margin
    np.testing.assert_allclose(logits, factor * sums, atol=5e-3 * factor)
    if classes == 2:
        assert (logits.argmax(1) == theirs.predict(x)).all()


def test_probabilities_are_as_sure_as_posts_left_out_allow():
    """Labels drawn at random: training posts are told apart, yet nothing is known of others."""
    batch, _ = make_posts(300, 3)
    labels = torch.randint(3, (300,), generator=torch.Generator().manual_seed(5))
    noise = shares(fit(build("svm", 3), batch, labels, 10.0), batch)
    assert (noise.argmax(axis=1) == labels.numpy()).mean() > 0.6
    assert noise.max() < 0.5
    batch, labels = make_posts(300, 3)
    known = shares(fit(build("svm", 3), batch, labels, 1.0), batch)
    assert np.median(known.max(axis=1)) > 0.6


@pytest.mark.parametrize("absent", [0, 1, 3])
def test_absent_class_gets_no_probability_to_speak_of(absent: int):
    batch, labels = make_posts(120, 3)
    labels += labels >= absent
    found = shares(fit(build("svm", 4), batch, labels, 1.0, torch.ones(4)), batch)
    assert np.isfinite(np.log(found)).all()
    assert (found[:, absent] < 1e-9).all()
    assert (found.argmax(axis=1) == labels.numpy()).mean() > 0.6


def test_class_weights_move_the_decision():
    batch, labels = make_posts(150, 3)
    found = [
        shares(fit(build("svm", 3), batch, labels, 0.1, weights), batch)
        for weights in (None, torch.tensor([20.0, 1.0, 1.0]))
    ]
    first = [(each.argmax(axis=1) == 0).mean() for each in found]
    assert first[1] > first[0]


def test_a_class_of_one_post_is_fitted():
    batch, labels = make_posts(30, 2)
    labels[0] = 2
    assert np.isfinite(shares(fit(build("svm", 3), batch, labels, 1.0), batch)).all()


def test_classes_are_predicted_by_their_probabilities():
    batch, labels = make_posts(90, 3)
    fitted = fit(build("svm", 3), batch, labels, 1.0)
    found = fitted.pipelines[0].predict(fitted.frame(batch))
    assert (found == shares(fitted, batch).argmax(axis=1)).all()


def test_one_class_alone_is_refused():
    batch, labels = make_posts(10, 3)
    with pytest.raises(DataError, match="at least two classes"):
        fit(build("svm", 3), batch, torch.zeros_like(labels), 1.0)
