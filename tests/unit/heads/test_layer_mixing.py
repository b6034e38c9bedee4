"""Layers mixed in front of a head: the formula, whose weights, and what heads see of it."""

import copy
import math

import pytest
import torch
from torch.nn import functional as F

from mvsa_pipe.features.batch import FeatureBatch, FeatureSizes
from mvsa_pipe.heads.build import build_head
from mvsa_pipe.heads.layer_mixing import Mixing, ScalarMix

PLAIN = FeatureSizes(text_width=6, image_width=5, image_tokens=4, classes=3)
LAYERED = FeatureSizes(6, 5, 4, 3, text_layers=((3, 6),), image_layers=((2, 5),))


def normalised(x):
    return F.layer_norm(x, x.shape[-1:])


def layered_batch(posts=3, tokens=4):
    mask = torch.ones(posts, tokens).bool()
    mask[1, 2:] = False
    return FeatureBatch(
        text_hidden=torch.randn(posts, tokens, 3, 6),
        text_mask=mask,
        text_pooled=torch.randn(posts, 6),
        image_hidden=torch.randn(posts, 4, 2, 5),
        image_pooled=torch.randn(posts, 5),
    )


def test_it_starts_as_the_mean_of_the_normalised_layers():
    states = torch.randn(2, 5, 3, 6)
    found = ScalarMix([(3, 6)])(states)
    torch.testing.assert_close(found, normalised(states).mean(dim=2))


def test_the_weights_are_the_softmax_of_the_scores():
    mix, states = ScalarMix([(2, 6)]), torch.randn(2, 5, 2, 6)
    mix.scores["0"].data = torch.tensor([0.0, math.log(3.0)])
    layers = normalised(states)
    wanted = 0.25 * layers[:, :, 0] + 0.75 * layers[:, :, 1]
    torch.testing.assert_close(mix(states), wanted)


def test_every_backbone_has_weights_of_its_own_and_none_for_layers_it_lacks():
    mix = ScalarMix([(1, 2), (3, 4)])
    assert list(mix.scores) == ["1"]
    mix.scores["1"].data = torch.tensor([0.0, 0.0, math.log(2.0)])
    weights = mix.weights()
    assert weights[:, :2].tolist() == [[0.0, 0.0], [0.0, 0.0], [1.0, 1.0]]
    torch.testing.assert_close(weights[:, 2:], torch.tensor([[0.25], [0.25], [0.5]]).expand(3, 4))


def test_the_layer_axis_goes():
    batch = layered_batch()
    mixed = Mixing(LAYERED.text_layers, LAYERED.image_layers)(batch)
    assert mixed.text_hidden.shape == (3, 4, 6)
    assert mixed.text_mask.sum(dim=1).tolist() == [4, 2, 4]
    assert mixed.image_hidden.shape == (3, 4, 5)
    assert torch.equal(mixed.text_pooled, batch.text_pooled)


@torch.no_grad()
def test_a_head_sees_what_was_mixed():
    """The head behind the mixing has the very weights that it has without one."""
    plain = build_head("cmac", PLAIN, 0).eval()
    head = build_head("cmac", LAYERED, 0).eval()
    own = {name: value for name, value in head.state_dict().items() if "mixing" not in name}
    assert all(torch.equal(own[name], value) for name, value in plain.state_dict().items())
    assert own.keys() == plain.state_dict().keys()
    batch = layered_batch()
    assert torch.equal(head(batch), plain(head.mixing(batch)))


def test_a_copied_head_mixes_by_its_own_weights():
    head = build_head("cmac", LAYERED, 0).eval()
    twin, batch = copy.deepcopy(head), layered_batch()
    with torch.no_grad():
        twin.mixing.text.scores["0"].copy_(torch.tensor([5.0, 0.0, 0.0]))
    assert not torch.allclose(twin(batch), head(batch))


@pytest.mark.parametrize(("name", "sizes"), [("basic", LAYERED), ("cmac", PLAIN)])
def test_there_is_none_where_there_is_nothing_to_mix(name, sizes):
    head = build_head(name, sizes, 0)
    assert not hasattr(head, "mixing")
    assert not head._forward_pre_hooks
