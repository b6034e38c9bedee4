"""The shared tokens are the only path between the modalities, and it takes two layers."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from mvsa_pipe.errors import ConfigError
from mvsa_pipe.heads.blocks import normalise
from mvsa_pipe.heads.build import build_head

SMALL = {"width": 6, "n_attn": 2, "feedforward": 8, "bottlenecks": 2}


def build(sizes, layers: int = 3, fusion_layers: int = 3):
    options = SMALL | {"layers": layers, "fusion_layers": fusion_layers}
    return build_head("bottleneck", sizes, 0, options).eval()


def with_other_images(batch):
    return replace(
        batch, image_hidden=batch.image_hidden.flip(0), image_pooled=batch.image_pooled.flip(0)
    )


def with_other_texts(batch):
    return replace(
        batch,
        text_hidden=batch.text_hidden.flip(0),
        text_mask=batch.text_mask.flip(0),
        text_pooled=batch.text_pooled.flip(0),
    )


@torch.no_grad()
@pytest.mark.parametrize(("layers", "fusion_layers"), [(1, 0), (2, 0), (3, 1), (1, 1)])
def test_modalities_do_not_meet_in_fewer_than_two_fusion_layers(
    sizes, batch, layers: int, fusion_layers: int
):
    head = build(sizes, layers, fusion_layers)
    text, image = head.encode(batch)
    assert torch.equal(head.encode(with_other_images(batch))[0], text)
    assert torch.equal(head.encode(with_other_texts(batch))[1], image)


@torch.no_grad()
@pytest.mark.parametrize(("layers", "fusion_layers"), [(2, 2), (3, 2), (4, 4)])
def test_two_fusion_layers_carry_each_modality_to_the_other(
    sizes, batch, layers: int, fusion_layers: int
):
    head = build(sizes, layers, fusion_layers)
    text, image = head.encode(batch)
    assert (head.encode(with_other_images(batch))[0] - text).abs().amax(dim=1).min() > 1e-5
    assert (head.encode(with_other_texts(batch))[1] - image).abs().amax(dim=1).min() > 1e-5


class Blind(nn.Module):
    """A layer whose shared tokens come out as they went in."""

    def __init__(self, layer: nn.Module, count: int) -> None:
        super().__init__()
        self.layer, self.count = layer, count

    def forward(self, queries, keys, key_mask=None):
        informed = self.layer(queries, keys, key_mask)
        own = queries.shape[1] - self.count
        return informed if own < 1 else torch.cat([informed[:, :own], queries[:, own:]], dim=1)


@torch.no_grad()
def test_shared_tokens_are_the_only_path(sizes, batch):
    """If the image's layers do not write into them, the text cannot learn of the image."""
    head = build(sizes)
    head.image_layers = nn.ModuleList([Blind(layer, 2) for layer in head.image_layers])
    text, image = head.encode(batch)
    assert torch.equal(head.encode(with_other_images(batch))[0], text)
    assert not torch.allclose(head.encode(with_other_texts(batch))[1], image)


@torch.no_grad()
@pytest.mark.parametrize(("layers", "fusion_layers"), [(1, 0), (2, 2), (4, 3)])
def test_equals_its_equations(sizes, batch, layers: int, fusion_layers: int):
    """One post at a time, without padding, every layer over all tokens."""
    head = build(sizes, layers, fusion_layers)
    for i, logits in enumerate(head(batch)):
        real = batch.text_hidden[i, batch.text_mask[i]]
        text = torch.cat([head.text(batch.text_pooled[i, None]), head.text_tokens(real)])
        places = head.image_tokens(batch.image_hidden[i])
        image = torch.cat([head.image(batch.image_pooled[i, None]), places])
        shared = head.shared
        for depth in range(layers):
            told = []
            for states, layer in (
                (text, head.text_layers[depth]),
                (image, head.image_layers[depth]),
            ):
                fusing = depth >= layers - fusion_layers
                seen = torch.cat([states, shared])[None] if fusing else states[None]
                told.append(layer(seen, seen)[0].split(len(states)))
            text, image = told[0][0], told[1][0]
            if fusing:
                shared = (torch.cat(told[0][1:]) + torch.cat(told[1][1:])) / 2
        votes = head.vote_text(normalise(text[:1])), head.vote_image(normalise(image[:1]))
        torch.testing.assert_close(logits, (votes[0] + votes[1])[0] / 2)


@torch.no_grad()
def test_a_post_without_text_has_finite_logits(sizes, batch):
    nothing = replace(batch, text_mask=torch.zeros_like(batch.text_mask))
    assert build(sizes)(nothing).isfinite().all()


def test_more_fusion_layers_than_layers_are_refused(sizes):
    with pytest.raises(ConfigError) as caught:
        build(sizes, layers=2, fusion_layers=3)
    assert "head 'bottleneck'" in str(caught.value)
    assert "at most layers = 2" in str(caught.value)
