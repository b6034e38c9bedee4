"""Pooled features are centred on the training posts, and the means travel with the weights."""

import pytest
import torch

from mvsa_pipe.features.batch import POOLED, FeatureBatch, FeatureSizes, Field
from mvsa_pipe.heads import HEADS
from mvsa_pipe.heads.base import FusionHead
from mvsa_pipe.heads.build import build_head

SIZES = FeatureSizes(text_width=6, image_width=5, image_tokens=3, classes=3)


def pooled_batch():
    generator = torch.Generator().manual_seed(0)
    return FeatureBatch(
        text_pooled=torch.randn(8, 6, generator=generator) + 100.0,
        image_pooled=torch.randn(8, 5, generator=generator) - 7.0,
    )


def test_training_posts_are_read_with_mean_zero():
    head, batch = build_head("native-cat", SIZES, seed=0), pooled_batch()
    head.centre(batch)
    for field in POOLED:
        assert head.read(batch, field).mean(dim=0).abs().max() < 1e-4


def test_centring_twice_is_centring_once():
    head, batch = build_head("native-cat", SIZES, seed=0), pooled_batch()
    head.centre(batch)
    once = head.read(batch, Field.TEXT_POOLED)
    head.centre(batch)
    assert torch.equal(head.read(batch, Field.TEXT_POOLED), once)


def test_means_are_saved_with_the_weights():
    head, batch = build_head("native-cat", SIZES, seed=0), pooled_batch()
    head.centre(batch)
    other = build_head("native-cat", SIZES, seed=1)
    other.load_state_dict(head.state_dict())
    assert torch.equal(other.eval()(batch), head.eval()(batch))


FUSION_HEADS = [row for row in HEADS if issubclass(HEADS.load(row.name), FusionHead)]


@pytest.mark.parametrize("row", FUSION_HEADS, ids=lambda row: row.name)
def test_exactly_the_faithful_variants_are_not_centred(row):
    assert HEADS.load(row.name).centres == (not row.name.endswith("-faithful"))
