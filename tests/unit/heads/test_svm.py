"""The support vector machines against scikit-learn itself."""

from itertools import combinations

import numpy as np
import pytest
import torch
from sklearn.svm import SVC

from mvsa_pipe.errors import DataError
from mvsa_pipe.features import FeatureBatch, FeatureSizes
from mvsa_pipe.heads.building import build_head


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
    x = torch.cat([batch.text_pooled, batch.image_pooled], dim=1).double().numpy()
    return (x - x.mean(axis=0)) / x.std(axis=0)


def build_svm(classes: int, **options):
    return build_head("svm", FeatureSizes(7, 4, 1, classes), seed=0, options=options)


@torch.no_grad()
@pytest.mark.parametrize("classes", [2, 3, 4])
@pytest.mark.parametrize("gamma", [0.5, 1.0])
@pytest.mark.parametrize("weighted", [True, False])
def test_logits_are_the_sums_of_sklearns_margins_up_to_one_factor(classes, gamma, weighted):
    batch, labels = make_posts(150, classes)
    weights = torch.linspace(0.5, 2.0, classes) if weighted else None
    head = build_svm(classes, gamma=gamma)
    head.solve(batch, labels, 1.0, weights)
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
    logits = head(batch).numpy()
    factor = (logits * sums).sum() / (sums * sums).sum()
    assert factor > 0
    # two solvers stop at their tolerance, 1e-3 of a margin
    np.testing.assert_allclose(logits, factor * sums, atol=5e-3 * factor)
    if classes == 2:
        assert (logits.argmax(1) == theirs.predict(x)).all()


@torch.no_grad()
def test_probabilities_are_as_sure_as_posts_left_out_allow():
    """Labels drawn at random: training posts are told apart, yet nothing is known of others."""
    batch, _ = make_posts(300, 3)
    labels = torch.randint(3, (300,), generator=torch.Generator().manual_seed(5))
    noise, known = build_svm(3), build_svm(3)
    noise.solve(batch, labels, 10.0, None)
    assert (noise(batch).argmax(1) == labels).float().mean() > 0.6
    assert noise(batch).softmax(1).max() < 0.5
    batch, labels = make_posts(300, 3)
    known.solve(batch, labels, 1.0, None)
    assert known(batch).softmax(1).max(1).values.median() > 0.6


@torch.no_grad()
@pytest.mark.parametrize("absent", [0, 1, 3])
def test_absent_class_gets_no_probability_to_speak_of(absent: int):
    batch, labels = make_posts(120, 3)
    labels += labels >= absent
    head = build_svm(4)
    head.solve(batch, labels, 1.0, torch.ones(4))
    logits = head(batch)
    assert logits.isfinite().all()
    assert (logits.softmax(dim=-1)[:, absent] < 1e-9).all()
    assert (logits.argmax(dim=-1) == labels).float().mean() > 0.6


@torch.no_grad()
def test_class_weights_move_the_decision():
    batch, labels = make_posts(150, 3)
    shares = []
    for weights in (None, torch.tensor([20.0, 1.0, 1.0])):
        head = build_svm(3)
        head.solve(batch, labels, 0.1, weights)
        shares.append((head(batch).argmax(1) == 0).float().mean())
    assert shares[1] > shares[0]


@torch.no_grad()
def test_solving_again_starts_anew():
    one, other = build_svm(3), build_svm(3)
    batch, labels = make_posts(100, 3)
    one.solve(batch, labels, 1.0, None)
    other.solve(*make_posts(60, 3, seed=4), 3.0, None)
    other.solve(batch, labels, 1.0, None)
    assert all(torch.equal(v, other.state_dict()[k]) for k, v in one.state_dict().items())


def test_weights_of_other_sizes_are_refused():
    head, narrow = build_svm(3), build_head("svm", FeatureSizes(7, 3, 1, 3), seed=0)
    head.solve(*make_posts(60, 3), 1.0, None)
    with pytest.raises(RuntimeError, match="support"):
        narrow.load_state_dict(head.state_dict())


def test_a_class_of_one_post_is_solved():
    batch, labels = make_posts(30, 2)
    labels[0] = 2
    head = build_svm(3)
    head.solve(batch, labels, 1.0, None)
    assert head(batch).isfinite().all()


def test_one_class_alone_is_refused():
    batch, labels = make_posts(10, 3)
    with pytest.raises(DataError, match="at least two classes"):
        build_svm(3).solve(batch, torch.zeros_like(labels), 1.0, None)
