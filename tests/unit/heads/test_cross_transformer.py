"""Directional cross-modal layers against their equations, post by post."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from mvsa_pipe.heads.attention import PreNormLayer
from mvsa_pipe.heads.blocks import join
from mvsa_pipe.heads.build import build_head

OPTIONS = {"width": 6, "n_attn": 2, "feedforward": 8}


def build(sizes, layers: int):
    return build_head("cross-transformer", sizes, 0, OPTIONS | {"layers": layers}).eval()


def apply(layer: PreNormLayer, queries: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    """The layer's equations for one post without padding, one query at a time."""
    attention, rows = layer.attention, []
    asked, seen = layer.before_attention(queries), layer.before_attention(keys)
    for x, norm in zip(queries, asked, strict=True):
        found = []
        for part in range(attention.n_attn):
            share = slice(part * 3, part * 3 + 3)
            query = attention.query(norm)[share]
            scores = attention.key(seen)[:, share] @ query / 3**0.5
            found.append(scores.softmax(dim=0) @ attention.value(seen)[:, share])
        y = x + attention.output(torch.cat(found))
        rows.append(y + layer.contract(F.relu(layer.expand(layer.before_feedforward(y)))))
    return torch.stack(rows)


def direct(direction, asking: torch.Tensor, asked: torch.Tensor) -> torch.Tensor:
    for layer in direction.across:
        asking = apply(layer, asking, asked)
    return apply(direction.inside, asking, asking).mean(dim=0)


@torch.no_grad()
@pytest.mark.parametrize("layers", [1, 3])
def test_equals_its_equations(sizes, batch, layers: int):
    head = build(sizes, layers)
    for i, logits in enumerate(head(batch)):
        said = head.text_tokens(batch.text_hidden[i, batch.text_mask[i]])
        shown = head.image_tokens(batch.image_hidden[i])
        text = head.text(batch.text_pooled[i, None]) + direct(head.text_asks, said, shown)
        image = head.image(batch.image_pooled[i, None]) + direct(head.image_asks, shown, said)
        torch.testing.assert_close(logits, head.classifier(join(text, image))[0])


@torch.no_grad()
@pytest.mark.parametrize("layers", [1, 2])
def test_each_direction_reads_the_other_modality(sizes, batch, layers: int):
    head = build(sizes, layers)
    p = head.project(batch)
    text = head.text_asks(p.text_tokens, p.image_tokens, query_mask=p.text_mask)
    other = head.text_asks(p.text_tokens, p.image_tokens.flip(0), query_mask=p.text_mask)
    assert (other - text).abs().amax(dim=1).min() > 1e-4


@torch.no_grad()
def test_a_post_without_text_has_finite_logits(sizes, batch):
    nothing = replace(batch, text_mask=torch.zeros_like(batch.text_mask))
    assert build(sizes, layers=2)(nothing).isfinite().all()
