"""The boosted trees against scikit-learn itself."""

import numpy as np
import pytest
import torch
from sklearn.ensemble import GradientBoostingClassifier

from mvsa_pipe.errors import DataError
from mvsa_pipe.features import FeatureBatch, FeatureSizes
from mvsa_pipe.heads.boosting import _below
from mvsa_pipe.heads.building import build_head


def make_posts(posts: int, classes: int, seed: int = 0) -> tuple[FeatureBatch, torch.Tensor]:
    """Features in coarse steps, so that thresholds fall on them, that tell of the labels."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (posts,), generator=generator)
    text = torch.randn(posts, 7, generator=generator).mul(4).round().div(4)
    image = torch.randn(posts, 4, generator=generator)
    text[:, 3] += labels
    image[:, 0] *= (labels == 1).float()
    return FeatureBatch(text_pooled=text, image_pooled=image), labels


def build_boosting(classes: int, seed: int = 0, **options):
    return build_head("boosting", FeatureSizes(7, 4, 1, classes), seed, options)


@torch.no_grad()
@pytest.mark.parametrize("classes", [2, 3, 4])
@pytest.mark.parametrize("depth", [1, 3, 5])
@pytest.mark.parametrize("weighted", [True, False])
def test_probabilities_equal_those_of_sklearn(classes: int, depth: int, weighted: bool):
    batch, labels = make_posts(150, classes)
    weights = torch.linspace(0.5, 2.0, classes) if weighted else None
    head = build_boosting(classes, depth=depth, shrinkage=0.2)
    head.solve(batch, labels, 20.0, weights)
    theirs = GradientBoostingClassifier(
        n_estimators=20,
        learning_rate=0.2,
        max_depth=depth,
        subsample=0.5,
        max_features="sqrt",
        random_state=int(head.draw),
    )
    x = torch.cat([batch.text_pooled, batch.image_pooled], dim=1).numpy()
    theirs.fit(x, labels.numpy(), None if weights is None else weights[labels].numpy())
    others, _ = make_posts(200, classes, seed=1)
    for posts in (batch, others):
        x = torch.cat([posts.text_pooled, posts.image_pooled], dim=1).numpy()
        found = head(posts).softmax(dim=-1).numpy()
        np.testing.assert_allclose(found, theirs.predict_proba(x), atol=1e-5)


@torch.no_grad()
def test_the_seed_decides_which_posts_and_features_are_seen():
    batch, labels = make_posts(150, 3)
    heads = [build_boosting(3, seed) for seed in (1, 1, 2)]
    for head in heads:
        head.solve(batch, labels, 10.0, None)
    first, again, other = (head(batch) for head in heads)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_rounded_thresholds_send_no_input_to_the_other_side():
    low = np.float32(0.1)
    high = np.nextafter(low, np.float32(1))
    between = (float(low) + float(high)) / 2
    for threshold in (float(low), between, np.nextafter(float(high), 0.0)):
        assert _below(threshold) == low
    assert _below(float(high)) == high


@torch.no_grad()
@pytest.mark.parametrize("present", [(0, 2), (0, 1, 3)])
def test_absent_classes_get_no_probability_to_speak_of(present: tuple[int, ...]):
    batch, labels = make_posts(120, len(present))
    labels = torch.tensor(present)[labels]
    head = build_boosting(4)
    head.solve(batch, labels, 20.0, torch.ones(4))
    shares = head(batch).softmax(dim=-1)
    absent = [c for c in range(4) if c not in present]
    assert (shares[:, absent] < 1e-9).all()
    assert (shares.argmax(dim=-1) == labels).float().mean() > 0.6


@torch.no_grad()
def test_rounds_follow_the_strength_and_solving_again_starts_anew():
    one, other = build_boosting(3), build_boosting(3)
    batch, labels = make_posts(100, 3)
    one.solve(batch, labels, 10.0, None)
    other.solve(*make_posts(60, 3, seed=4), 20.0, None)
    assert [len(head.leaves) for head in (one, other)] == [10, 20]
    other.solve(batch, labels, 10.0, None)
    assert all(torch.equal(v, other.state_dict()[k]) for k, v in one.state_dict().items())


def test_weights_of_other_sizes_are_refused():
    head = build_boosting(3)
    head.solve(*make_posts(60, 3), 10.0, None)
    for other in (build_boosting(4), build_boosting(3, depth=2)):
        with pytest.raises(RuntimeError, match="size mismatch"):
            other.load_state_dict(head.state_dict())


def test_one_class_alone_is_refused():
    batch, labels = make_posts(10, 3)
    with pytest.raises(DataError, match="at least two classes"):
        build_boosting(3).solve(batch, torch.zeros_like(labels), 10.0, None)
