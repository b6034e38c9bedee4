"""Dropout,
draw_bits,
draw_mask, masked means and the blocks that heads share."""

import copy
import math

import pytest
import torch

from mvsa_pipe.heads.blocks import (
    Classifier,
    Dropout,
    Projection,
    draw_bits,
    draw_mask,
    join,
    normalise,
)
from mvsa_pipe.heads.faithful_blocks import pair_loss_floor
from mvsa_pipe.pooling import mean_over_tokens


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def build_dropout(probability: float, *, across_tokens: bool = False) -> Dropout:
    dropout = Dropout(probability, across_tokens=across_tokens)
    dropout.generator = seeded()
    return dropout


def test_dropout_keeps_the_mean():
    dropped = build_dropout(0.3)(torch.ones(200, 500))
    assert dropped.unique().tolist() == pytest.approx([0.0, 1 / 0.7], rel=2**-15)
    assert dropped.mean().item() == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("probability", [0.1, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("count", [1, 3, 4, 1001])
def test_masks_of_any_length_are_unbiased(probability, count):
    generator = torch.Generator().manual_seed(0)
    rounds = 400
    masks = torch.stack(
        [draw_mask(torch.ones(count), probability, generator) for _ in range(rounds)]
    )
    spread = (probability / (1 - probability) / masks.numel()) ** 0.5
    assert masks.mean().item() == pytest.approx(1.0, abs=5 * spread)
    each_place = (masks == 0).float().mean(dim=0)
    assert (each_place - probability).abs().max() < 6 * (probability / rounds) ** 0.5


def test_a_shorter_mask_is_the_beginning_of_a_longer_one():
    """Runs whose last batches differ in size share a stack."""
    short, long = (draw_bits(count, torch.Generator().manual_seed(5)) for count in (10, 50))
    assert torch.equal(short, long[:10])


def test_dropout_repeats_with_its_generator():
    x = torch.ones(4, 8)
    assert torch.equal(build_dropout(0.5)(x), build_dropout(0.5)(x))


def test_dropout_is_the_identity_when_evaluating_or_at_zero():
    x = torch.ones(4, 8)
    assert build_dropout(0.5).eval()(x) is x
    assert Dropout(0.0).train()(x) is x


def test_dropout_refuses_to_train_without_a_generator():
    with pytest.raises(RuntimeError, match="use_generator"):
        Dropout(0.5)(torch.ones(2, 2))


def test_dropout_across_tokens_drops_the_same_entries_of_every_token():
    dropped = build_dropout(0.5, across_tokens=True)(torch.ones(3, 6, 40))
    assert torch.equal(dropped, dropped[:, :1].expand(-1, 6, -1))
    assert not torch.equal(dropped[0], dropped[1])
    vectors = build_dropout(0.5, across_tokens=True)(torch.ones(3, 40))
    assert not torch.equal(vectors[0], vectors[1])


def test_copied_dropout_continues_like_the_original():
    dropout, x = build_dropout(0.5), torch.ones(4, 8)
    copied = copy.deepcopy(dropout)
    assert torch.equal(copied(x), dropout(x))


def test_mean_over_tokens_counts_real_tokens_only():
    x = torch.tensor([[[1.0], [3.0], [math.nan]], [[math.nan], [math.nan], [math.nan]]])
    mask = torch.tensor([[True, True, False], [False, False, False]])
    assert mean_over_tokens(x, mask).tolist() == [[2.0], [0.0]]


def test_mean_over_tokens_without_a_mask_is_the_mean():
    x = torch.randn(2, 3, 4, generator=seeded())
    torch.testing.assert_close(mean_over_tokens(x), x.mean(dim=1))


def test_join_brings_vectors_to_one_scale():
    small, large = (
        torch.randn(2, 5, generator=seeded()),
        1e4 * torch.randn(2, 3, generator=seeded(1)),
    )
    joined = join(small, large)
    torch.testing.assert_close(joined, torch.cat([normalise(small), normalise(large)], dim=-1))
    assert joined.abs().max() < 3.0


@pytest.mark.parametrize("shape", [(4, 6), (4, 3, 6)])
def test_projection_ignores_the_scale_of_its_input(shape: tuple[int, ...]):
    with torch.random.fork_rng(devices=[]):
        projection = Projection(6, 5, dropout=0.0)
    x = torch.randn(*shape, generator=seeded())
    projected = projection(x)
    assert projected.shape == (*shape[:-1], 5)
    assert (projected >= 0.0).all()
    torch.testing.assert_close(projection(100.0 * x), projected, rtol=1e-3, atol=1e-3)


def test_classifier_gives_one_logit_a_class():
    with torch.random.fork_rng(devices=[]):
        classifier = Classifier(6, hidden=4, classes=3, dropout=0.5)
    assert classifier.eval()(torch.zeros(2, 6)).shape == (2, 3)


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_pair_loss_floor_is_the_loss_of_two_sure_classifiers(classes: int):
    sure = torch.zeros(1, classes)
    sure[0, 0] = 2.0
    loss = torch.nn.functional.cross_entropy(sure.softmax(dim=-1), torch.tensor([0]))
    assert pair_loss_floor(classes) == pytest.approx(loss.item(), abs=1e-6)
