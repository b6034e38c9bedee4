"""Attention and the encoder layer against those of torch with the same weights."""

import math

import pytest
import torch
from torch import nn

from mvsa_pipe.heads.attention import EncoderLayer, MultiHeadAttention, SingleKeyAttention

WIDTH, N_ATTN = 12, 3


@pytest.fixture(autouse=True)
def _own_generator():
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        yield


@pytest.fixture
def mask() -> torch.Tensor:
    return torch.arange(5) < torch.tensor([5, 1, 3, 4])[:, None]


@torch.no_grad()
def copy_attention(theirs: nn.MultiheadAttention, ours: MultiHeadAttention) -> None:
    # also the key bias, which ours lacks: it must make no difference
    theirs.in_proj_bias.normal_()
    for block, part in zip(
        theirs.in_proj_weight.chunk(3), (ours.query, ours.key, ours.value), strict=True
    ):
        part.weight.copy_(block)
    query_bias, _, value_bias = theirs.in_proj_bias.chunk(3)
    ours.query.bias.copy_(query_bias)
    ours.value.bias.copy_(value_bias)
    ours.output.load_state_dict(theirs.out_proj.state_dict())


def build_both() -> tuple[nn.MultiheadAttention, MultiHeadAttention]:
    theirs = nn.MultiheadAttention(WIDTH, N_ATTN, batch_first=True).eval()
    ours = MultiHeadAttention(WIDTH, N_ATTN).eval()
    copy_attention(theirs, ours)
    return theirs, ours


def drop_nothing(attention: MultiHeadAttention) -> None:
    """Makes it take the written-out path that dropout needs, with next to no dropout."""
    attention.train()
    attention.dropout.probability = 1e-12
    attention.dropout.generator = torch.Generator().manual_seed(0)


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("written_out", [True, False])
def test_attention_equals_that_of_torch(mask, masked: bool, written_out: bool):
    theirs, ours = build_both()
    if written_out:
        drop_nothing(ours)
    queries, keys = torch.randn(4, 7, WIDTH), torch.randn(4, 5, WIDTH)
    expected, _ = theirs(queries, keys, keys, key_padding_mask=~mask if masked else None)
    torch.testing.assert_close(ours(queries, keys, mask if masked else None), expected)


@pytest.mark.parametrize("written_out", [True, False])
def test_masked_keys_have_no_influence(mask, written_out: bool):
    _, ours = build_both()
    if written_out:
        drop_nothing(ours)
    queries, keys = torch.randn(4, 7, WIDTH), torch.randn(4, 5, WIDTH)
    garbage = keys.masked_fill(~mask.unsqueeze(-1), 1e6)
    assert torch.equal(ours(queries, garbage, mask), ours(queries, keys, mask))


def test_gradients_of_both_paths_agree(mask):
    _, ours = build_both()
    queries, keys = torch.randn(4, 7, WIDTH), torch.randn(4, 5, WIDTH)
    gradients = []
    for prepare in (lambda _: None, drop_nothing):
        prepare(ours)
        ours.zero_grad()
        ours(queries, keys, mask).square().sum().backward()
        gradients.append([p.grad.clone() for p in ours.parameters()])
    for fused, written in zip(*gradients, strict=True):
        torch.testing.assert_close(fused, written, rtol=1e-4, atol=1e-4)


def test_no_real_key_gives_a_finite_result():
    _, ours = build_both()
    nobody = torch.zeros(4, 5, dtype=torch.bool)
    assert ours(torch.randn(4, 7, WIDTH), torch.randn(4, 5, WIDTH), nobody).isfinite().all()


def test_pooled_is_the_mean_over_real_queries(mask):
    _, ours = build_both()
    queries, keys = torch.randn(4, 5, WIDTH), torch.randn(4, 9, WIDTH)
    found = ours(queries, keys)
    expected = torch.stack([found[i, mask[i]].mean(dim=0) for i in range(4)])
    torch.testing.assert_close(ours.pooled(queries, keys, query_mask=mask), expected)
    torch.testing.assert_close(ours.pooled(queries, keys), found.mean(dim=1))


def test_attention_dropout_comes_from_the_generator():
    attention = MultiHeadAttention(WIDTH, N_ATTN, dropout=0.5).train()
    x = torch.randn(2, 6, WIDTH)
    found = []
    for _ in range(2):
        attention.dropout.generator = torch.Generator().manual_seed(1)
        found.append(attention(x, x))
    assert torch.equal(*found)
    assert not torch.allclose(found[0], attention.eval()(x, x))


def test_single_key_attention_is_attention_over_one_key():
    _, general = build_both()
    single = SingleKeyAttention(WIDTH, N_ATTN)
    single.load_state_dict(general.state_dict(), strict=False)
    queries, key = torch.randn(4, 7, WIDTH), torch.randn(4, 1, WIDTH)
    torch.testing.assert_close(single(queries, key), general(queries, key))
    torch.testing.assert_close(single.pooled(queries, key), general.pooled(queries, key))


def test_single_key_dropout_drops_whole_attention_heads():
    single = SingleKeyAttention(WIDTH, N_ATTN, dropout=0.5).train()
    single.output = nn.Identity()
    single.dropout.generator = torch.Generator().manual_seed(0)
    key = torch.randn(50, 1, WIDTH)
    shares = single(key, key).view(50, N_ATTN, -1)
    dropped = (shares == 0.0).all(dim=-1)
    assert torch.equal(dropped, (shares == 0.0).any(dim=-1))
    assert 0 < dropped.sum() < dropped.numel()
    kept = 2.0 * single.value(key).view_as(shares)
    torch.testing.assert_close(shares, kept.masked_fill(dropped.unsqueeze(-1), 0.0))


# torch's own fast path warns that its nested tensors are a prototype
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("masked", [True, False])
@torch.no_grad()
def test_encoder_layer_equals_that_of_torch(mask, masked: bool):
    theirs = nn.TransformerEncoderLayer(WIDTH, N_ATTN, dim_feedforward=20, batch_first=True).eval()
    ours = EncoderLayer(
        WIDTH, MultiHeadAttention(WIDTH, N_ATTN), feedforward=20, dropout=0.1
    ).eval()
    for norm in (theirs.norm1, theirs.norm2):
        norm.weight.normal_()
        norm.bias.normal_()
    copy_attention(theirs.self_attn, ours.attend.attention)
    pairs = {
        theirs.norm1: ours.attend.norm,
        theirs.linear1: ours.expand,
        theirs.linear2: ours.contract,
        theirs.norm2: ours.norm,
    }
    for source, target in pairs.items():
        target.load_state_dict(source.state_dict())
    x = torch.randn(4, 5, WIDTH)
    expected = theirs(x, src_key_padding_mask=~mask if masked else None)
    found = ours(x, mask if masked else None)
    real = mask if masked else torch.ones_like(mask)
    torch.testing.assert_close(found[real], expected[real], rtol=1e-5, atol=1e-5)


def test_scores_are_scaled_by_the_width_of_an_attention_head():
    """Guards the factor by hand: one attention head, identity projections, two keys."""
    attention = MultiHeadAttention(4, 1).eval()
    with torch.no_grad():
        for part in (attention.query, attention.key, attention.value, attention.output):
            part.weight.copy_(torch.eye(4))
            if part.bias is not None:
                part.bias.zero_()
    query = torch.tensor([[[2.0, 0.0, 0.0, 0.0]]])
    keys = torch.tensor([[[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]]])
    weight = math.e / (math.e + 1.0)
    found = attention(query, keys).flatten().tolist()
    assert found == pytest.approx([weight, 1.0 - weight, 0.0, 0.0])
