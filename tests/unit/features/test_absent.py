"""Posts without text or picture: the same in training and in prediction, for every head."""

import pytest
import torch

from mvsa_pipe.features.absent import WithoutHalf, with_absent, without
from mvsa_pipe.features.batch import FeatureBatch, FeatureSizes, Field
from mvsa_pipe.features.resident import RaggedText, ResidentFeatures
from mvsa_pipe.features.source import batch_of
from mvsa_pipe.heads import HEADS
from mvsa_pipe.heads.base import FusionHead
from mvsa_pipe.heads.build import build_head
from mvsa_pipe.modality import Modality

SIZES = FeatureSizes(6, 5, 4, 3)
BOTH = [
    row.name
    for row in HEADS
    if issubclass(HEADS.load(row.name), FusionHead)
    and HEADS.load(row.name).batch_independent
    and len({need.modality for need in HEADS.load(row.name).needs}) == 2
]
FIELDS = {
    Modality.TEXT: ("text_hidden", "text_pooled"),
    Modality.IMAGE: ("image_hidden", "image_pooled"),
}


def features() -> ResidentFeatures:
    torch.manual_seed(3)
    lengths = torch.tensor([3, 1, 2])
    return ResidentFeatures(
        ("a", "b", "c"),
        SIZES,
        RaggedText(torch.randn(6, 6), torch.tensor([0, 3, 4]), lengths),
        torch.randn(3, 6),
        torch.randn(3, 4, 5),
        torch.randn(3, 5),
    )


def whole(fields: frozenset[Field] = frozenset(Field)) -> FeatureBatch:
    return batch_of(features(), torch.arange(3), fields)


@pytest.mark.parametrize("half", Modality)
def test_only_the_absent_half_of_absent_posts_is_zero(half: Modality) -> None:
    absent = torch.tensor([True, False, True])
    before, after = whole(), without(whole(), absent, half)
    for modality, names in FIELDS.items():
        for name in names:
            old, new = getattr(before, name), getattr(after, name)
            if modality is half:
                assert not new[absent].any()
                assert torch.equal(new[~absent], old[~absent])
            else:
                assert torch.equal(new, old)
    assert after.text_mask is not None
    kept = [1, 1, 1] if half is Modality.TEXT else [3, 1, 2]
    assert after.text_mask.sum(dim=1).tolist() == kept


@pytest.mark.parametrize("half", Modality)
@pytest.mark.parametrize("name", BOTH)
def test_heads_read_an_absent_half_as_in_training(name: str, half: Modality) -> None:
    head = build_head(name, SIZES, 0, {}, torch.device("cpu")).eval()
    every = torch.ones(3, dtype=torch.bool)
    needs = head.needs
    there = [need for need in needs if need.modality is not half]
    source = with_absent(features(), needs, SIZES, {need.modality for need in there})
    assert isinstance(source, WithoutHalf)
    with torch.no_grad():
        trained = head(without(whole(needs), every, half))
        predicted = head(batch_of(source, torch.arange(3), needs))
    assert trained.isfinite().all()
    torch.testing.assert_close(predicted, trained)


def test_features_of_both_halves_are_unchanged() -> None:
    some = features()
    assert with_absent(some, Field, SIZES, set(Modality)) is some
