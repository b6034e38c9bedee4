"""Attention weights read from heads: known entropies, real tokens alone, and no other logits."""

import math

import pytest
import torch
from torch import nn

from mvsa_pipe.features.batch import FeatureBatch
from mvsa_pipe.heads import HEADS, is_faithful
from mvsa_pipe.heads.attention import MultiHeadAttention
from mvsa_pipe.heads.attention_maps import (
    AttentionLayer,
    Kind,
    attention_maps,
    both_ways,
    with_equal_attention,
)
from mvsa_pipe.heads.base import FusionHead
from mvsa_pipe.heads.build import build_head
from mvsa_pipe.heads.check_batches import SIZES, random_batch

TOKEN_HEADS = [
    "cmac",
    "hstec",
    "self-attention",
    "dual-attention",
    "co-attention",
    "cross-transformer",
    "bottleneck",
]


def built(name):
    small = {} if name == "co-attention" else {"n_attn": 2}
    return build_head(name, SIZES, 0, {"width": 8, **small}).eval()


def test_the_heads_with_attention_over_tokens():
    found = {
        row.name
        for row in HEADS.built_in
        if not is_faithful(row)
        and issubclass(HEADS.load(row.name), FusionHead)
        and build_head(row.name, SIZES, 0).attention_layers()
    }
    assert found == {*TOKEN_HEADS}
    assert not build_head("dual-attention", SIZES, 0, {"level": "pooled"}).attention_layers()


@pytest.mark.parametrize("name", TOKEN_HEADS)
def test_weights_are_on_real_tokens_alone_and_logits_stay(name):
    head = built(name)
    batch = random_batch(SIZES, 5, 7, seed=1)
    with torch.no_grad():
        before = head(batch)
        maps = attention_maps(head, head.attention_layers(), batch)
        assert torch.equal(head(batch), before)  # nothing is left behind
    for found in maps:
        assert not found.weights[(~found.key_mask)[:, None, None].expand_as(found.weights)].any()
        assert found.weights.sum(dim=-1) == pytest.approx(1)
        assert sum(share for share in found.mass().values()) == pytest.approx(1)
        entropy = found.entropy()
        assert ((entropy > 0) & (entropy < 1 + 1e-6)).all() or entropy.isnan().any()


@pytest.mark.parametrize("name", TOKEN_HEADS)
def test_a_post_has_the_same_maps_alone_and_in_a_batch(name):
    head, batch = built(name), random_batch(SIZES, 3, 6, seed=2)
    length = int(batch.text_mask[1].sum())
    fields = {key: value[1:2] for key, value in batch.tensors()}
    fields |= {key: fields[key][:, :length] for key in ("text_hidden", "text_mask")}
    with torch.no_grad():
        together = attention_maps(head, head.attention_layers(), batch)
        alone = attention_maps(head, head.attention_layers(), FeatureBatch(**fields))
    for one, every in zip(alone, together, strict=True):
        assert one.entropy()[0].numpy() == pytest.approx(every.entropy()[1].numpy(), nan_ok=True)
        for kind, share in one.mass().items():
            assert share[0].item() == pytest.approx(every.mass()[kind][1].item())
        real = every.of_keys()[1][every.key_mask[1]]
        assert one.of_keys()[0].numpy() == pytest.approx(real.numpy(), abs=1e-6)


class Given(nn.Module):
    """A head whose attention is given: queries and keys are what a test says."""

    def __init__(self):
        super().__init__()
        self.text_asks = MultiHeadAttention(2, 1)
        self.image_asks = MultiHeadAttention(2, 1)
        for part in (self.text_asks, self.image_asks):
            for linear in (part.query, part.key, part.value, part.output):
                nn.init.eye_(linear.weight)
                if linear.bias is not None:
                    nn.init.zeros_(linear.bias)

    def forward(self, batch):
        text, image = batch.text_hidden, batch.image_hidden
        return self.text_asks.pooled(
            text, image, query_mask=batch.text_mask
        ) + self.image_asks.pooled(image, text, key_mask=batch.text_mask)


def given_batch():
    # the picture's queries score the two real words by 0 and by log 3 / sqrt 2 · sqrt 2
    scale = math.log(3.0) * math.sqrt(2.0)
    text = torch.tensor([[[0.0, 0.0], [scale, 0.0], [9.0, 9.0]]])
    image = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])
    mask = torch.tensor([[True, True, False]])
    return FeatureBatch(text_hidden=text, text_mask=mask, image_hidden=image)


def test_attention_with_known_weights():
    head = Given()
    to_image, to_text = attention_maps(
        head, both_ways(head.text_asks, head.image_asks), given_batch()
    )
    assert to_text.of_keys()[0].tolist() == pytest.approx([0.25, 0.75, 0.0])
    known = (0.25 * math.log(4) + 0.75 * math.log(4 / 3)) / math.log(2)
    assert to_text.entropy().item() == pytest.approx(known)
    # both places of the picture are equal, so that attention to them is uniform
    assert to_image.entropy().item() == pytest.approx(1)
    assert to_image.of_keys()[0].tolist() == pytest.approx([0.5, 0.5])


def test_equal_attention_takes_the_mean_of_real_keys():
    head, batch = Given(), given_batch()
    logits = with_equal_attention(head, both_ways(head.text_asks, head.image_asks), batch)
    expected = batch.text_hidden[:, :2].mean(dim=1) + batch.image_hidden.mean(dim=1)
    assert logits[0].tolist() == pytest.approx(expected[0].tolist())
    assert head.text_asks.probe is None


def test_layers_that_do_not_fit_what_is_attended_are_refused():
    head = Given()
    wrong = AttentionLayer("wrong", head.image_asks, (Kind.IMAGE,), (Kind.TEXT, Kind.IMAGE))
    with pytest.raises(ValueError, match="places of attention"):
        attention_maps(head, [wrong], given_batch())
