"""The logistic head against scikit-learn itself."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mvsa_pipe.errors import DataError
from mvsa_pipe.features import FeatureBatch, FeatureSizes
from mvsa_pipe.heads.base import SolvableHead
from mvsa_pipe.heads.building import build_head


def make_posts(posts: int, classes: int, seed: int = 0) -> tuple[FeatureBatch, torch.Tensor]:
    """Features of very different scales that tell something about the labels."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (posts,), generator=generator)
    text = torch.randn(posts, 7, generator=generator) * torch.logspace(-2, 2, 7)
    image = 3.0 + torch.randn(posts, 4, generator=generator)
    text[:, 3] += labels
    image[:, 0] -= (labels == 1).float()
    return FeatureBatch(text_pooled=text, image_pooled=image), labels


def build_logistic(classes: int):
    return build_head("logistic", FeatureSizes(7, 4, 1, classes), seed=0)


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("strength", [0.01, 1.0])
@pytest.mark.parametrize("weighted", [True, False])
def test_probabilities_equal_those_of_sklearn(classes: int, strength: float, weighted: bool):
    batch, labels = make_posts(150, classes)
    weights = torch.linspace(0.5, 2.0, classes) if weighted else None
    head = build_logistic(classes)
    head.solve(batch, labels, strength, weights)
    theirs = make_pipeline(
        StandardScaler(),
        LogisticRegression(
            C=strength,
            class_weight=None if weights is None else dict(enumerate(weights.tolist())),
            max_iter=1000,
        ),
    )
    inputs = torch.cat([batch.text_pooled, batch.image_pooled], dim=1).double().numpy()
    theirs.fit(inputs, labels.numpy())
    found = head(batch).softmax(dim=-1).detach().numpy()
    np.testing.assert_allclose(found, theirs.predict_proba(inputs), atol=1e-5)


def test_it_is_solvable():
    assert isinstance(build_logistic(3), SolvableHead)
    assert not isinstance(build_head("basic", FeatureSizes(7, 4, 1, 3), seed=0), SolvableHead)


@pytest.mark.parametrize("absent", [0, 1, 3])
def test_absent_class_gets_no_probability_to_speak_of(absent: int):
    batch, labels = make_posts(120, 3)
    labels += labels >= absent
    head = build_logistic(4)
    head.solve(batch, labels, 1.0, torch.ones(4))
    logits = head(batch)
    assert logits.isfinite().all()
    assert (logits.softmax(dim=-1)[:, absent] < 1e-9).all()
    assert (logits.argmax(dim=-1) == labels).float().mean() > 0.4


def test_constant_feature_does_no_harm():
    batch, labels = make_posts(60, 3)
    batch.image_pooled[:, 2] = 5.0
    head = build_logistic(3)
    head.solve(batch, labels, 1.0, None)
    assert head.linear.weight.isfinite().all()
    assert (head.linear.weight[:, 9] == 0.0).all()


def test_weak_penalty_on_separable_posts_converges_in_silence():
    batch, labels = make_posts(12, 3)
    head = build_logistic(3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        head.solve(batch, labels, 1e4, None)
    assert (head(batch).argmax(dim=-1) == labels).all()


def test_one_class_alone_is_refused():
    batch, labels = make_posts(10, 3)
    with pytest.raises(DataError, match="at least two classes"):
        build_logistic(3).solve(batch, torch.zeros_like(labels), 1.0, None)
