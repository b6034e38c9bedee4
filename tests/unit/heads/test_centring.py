"""Pooled features and tokens are centred on the training posts; means travel with the weights."""

from dataclasses import replace

import pytest
import torch

from mvsa_pipe.errors import RunError
from mvsa_pipe.features.batch import POOLED, FeatureBatch, FeatureSizes, Field
from mvsa_pipe.heads import HEADS
from mvsa_pipe.heads.base import FusionHead
from mvsa_pipe.heads.build import build_head, fill_head, load_recorded
from mvsa_pipe.heads.model import CPU

SIZES = FeatureSizes(text_width=6, image_width=5, image_tokens=3, classes=3)
POSTS = 8


def far_batch(padding: float = 0.0):
    """Features far from zero; texts of one to four tokens, and what padding holds."""
    generator = torch.Generator().manual_seed(0)
    mask = torch.arange(4).expand(POSTS, 4) <= (torch.arange(POSTS) % 4).unsqueeze(1)
    hidden = torch.randn(POSTS, 4, 6, generator=generator) + 30.0
    return FeatureBatch(
        text_hidden=torch.where(mask.unsqueeze(-1), hidden, padding),
        text_mask=mask,
        text_pooled=torch.randn(POSTS, 6, generator=generator) + 100.0,
        image_hidden=torch.randn(POSTS, 3, 5, generator=generator) - 20.0,
        image_pooled=torch.randn(POSTS, 5, generator=generator) - 7.0,
    )


def part_of(batch, start, stop):
    return FeatureBatch(**{name: value[start:stop] for name, value in batch.tensors()})


def centred(batches=None, sizes=SIZES):
    head = build_head("cmac", sizes, seed=0, options={"width": 8})
    head.centre(far_batch())
    head.centre_tokens([far_batch()] if batches is None else batches)
    return head


def means(head):
    return {name: value for name, value in head.state_dict().items() if name.endswith("_mean")}


def test_training_posts_are_read_with_mean_zero():
    head, batch = centred(), far_batch()
    for field in POOLED:
        assert head.read(batch, field).mean(dim=0).abs().max() < 1e-4
    assert head.read(batch, Field.IMAGE_HIDDEN).mean(dim=(0, 1)).abs().max() < 1e-4
    states, mask = head.read_text_tokens(batch)
    assert states[mask].mean(dim=0).abs().max() < 1e-4


def test_tokens_are_read_as_they_are_unless_training_centres_them():
    head, batch = build_head("cmac", SIZES, seed=0, options={"width": 8}), far_batch()
    head.centre(batch)
    assert torch.equal(head.read(batch, Field.IMAGE_HIDDEN), batch.image_hidden)
    assert set(means(head)) == {"text_pooled_mean", "image_pooled_mean"}


def test_padding_moves_no_mean_and_is_read_as_zero():
    head = centred(batches=[far_batch(padding=1e6)])
    assert torch.equal(head.text_hidden_mean, centred().text_hidden_mean)
    states, mask = head.read_text_tokens(far_batch(padding=1e6))
    assert (states[~mask] == 0).all()


def test_means_do_not_depend_on_how_posts_are_batched():
    batch = far_batch()
    parts = [part_of(batch, 0, 3), part_of(batch, 3, POSTS)]
    for name, value in means(centred(batches=parts)).items():
        assert torch.allclose(value, means(centred())[name], atol=1e-5)


def test_centring_twice_is_centring_once():
    head, batch = centred(), far_batch()
    once = means(head)
    head.centre(batch)
    head.centre_tokens([batch])
    assert all(torch.equal(value, once[name]) for name, value in means(head).items())


def test_mixed_layers_are_centred_behind_their_mixing():
    sizes = replace(SIZES, text_layers=((2, 6),), image_layers=((2, 5),))
    plain = far_batch()
    layered = replace(
        plain,
        text_hidden=torch.stack([plain.text_hidden, plain.text_hidden.flip(-1)], dim=2),
        image_hidden=torch.stack([plain.image_hidden, plain.image_hidden.flip(-1)], dim=2),
    )
    head = centred(batches=[layered], sizes=sizes)
    mixed = head.get_submodule("mixing")(layered)
    states, mask = head.read_text_tokens(mixed)
    assert states[mask].mean(dim=0).abs().max() < 1e-5
    assert head.read(mixed, Field.IMAGE_HIDDEN).mean(dim=(0, 1)).abs().max() < 1e-5
    assert torch.isfinite(head.eval()(layered)).all()


@pytest.mark.parametrize("seeds", [None, [0, 1]], ids=["alone", "ensemble"])
def test_means_are_saved_with_the_weights(seeds):
    head = centred() if seeds is None else FusionHead.average([centred(), centred()])
    config = {
        "head": "cmac",
        "head_options": {"width": 8},
        "sizes": vars(SIZES),
        "training": {"seed": 1},
        **({} if seeds is None else {"seeds": seeds}),
    }
    again = load_recorded(HEADS.load("cmac"), config, head.dump(), "run", CPU)
    assert torch.equal(again(far_batch()), head.eval()(far_batch()))


def test_a_mean_of_another_width_is_refused():
    head, state = build_head("cmac", SIZES, seed=0, options={"width": 8}), centred().state_dict()
    state["text_hidden_mean"] = torch.zeros(7)
    with pytest.raises(RunError, match="does not fit"):
        fill_head(head, state, "run")


FUSION_HEADS = [row for row in HEADS if issubclass(HEADS.load(row.name), FusionHead)]


@pytest.mark.parametrize("row", FUSION_HEADS, ids=lambda row: row.name)
def test_exactly_the_faithful_variants_are_not_centred(row):
    assert HEADS.load(row.name).centres == (not row.name.endswith("-faithful"))
