"""Parallel co-attention against its equations, post by post, and what its weights are."""

from dataclasses import replace

import pytest
import torch

from mvsa_pipe.heads.blocks import join
from mvsa_pipe.heads.build import build_head


@pytest.fixture
def head(sizes):
    return build_head("co-attention", sizes, 0, {"width": 6}).eval()


def attend(attention, text: torch.Tensor, image: torch.Tensor) -> list[torch.Tensor]:
    """The equations for one post without padding, one pair of tokens at a time."""
    fits = torch.tensor([[torch.tanh(attention.fit(t) @ i) for i in image] for t in text])
    found = []
    for tokens, others, own, other, score, pairs in (
        (text, image, attention.text, attention.image, attention.text_score, fits),
        (image, text, attention.image, attention.text, attention.image_score, fits.T),
    ):
        scores = []
        for x, row in zip(tokens, pairs, strict=True):
            heard = sum(fit * other(y) for fit, y in zip(row, others, strict=True)) / len(others)
            scores.append(score(torch.tanh(own(x) + heard)))
        found.append(torch.cat(scores).softmax(dim=0) @ tokens)
    return found


@torch.no_grad()
def test_equals_its_equations(head, batch):
    for i, logits in enumerate(head(batch)):
        text_tokens = head.text_tokens(batch.text_hidden[i, batch.text_mask[i]])
        found = attend(head.attention, text_tokens, head.image_tokens(batch.image_hidden[i]))
        text = head.text(batch.text_pooled[i, None]) + found[0]
        image = head.image(batch.image_pooled[i, None]) + found[1]
        torch.testing.assert_close(logits, head.classifier(join(text, image))[0])


@torch.no_grad()
def test_weights_add_up_to_1_and_are_0_on_padding(head, batch):
    p = head.project(batch)
    text, image = head.attention.weigh(p.text_tokens, p.image_tokens, p.text_mask)
    torch.testing.assert_close(text.sum(dim=1), torch.ones(4))
    torch.testing.assert_close(image.sum(dim=1), torch.ones(4))
    assert (text[~batch.text_mask] == 0.0).all()
    assert (text[batch.text_mask] > 0.0).all()


@torch.no_grad()
def test_each_modality_changes_the_weights_of_the_other(head, batch):
    p = head.project(batch)
    text, image = head.attention.weigh(p.text_tokens, p.image_tokens, p.text_mask)
    moved, _ = head.attention.weigh(p.text_tokens, p.image_tokens.flip(0), p.text_mask)
    _, turned = head.attention.weigh(p.text_tokens.flip(1), p.image_tokens, p.text_mask)
    assert (moved - text).abs().max() > 1e-4
    assert (turned - image).abs().max() > 1e-4


@torch.no_grad()
def test_a_post_without_text_has_finite_logits(head, batch):
    nothing = replace(batch, text_mask=torch.zeros_like(batch.text_mask))
    assert head(nothing).isfinite().all()
