"""The gated unit against its equations, post by post."""

import math
from dataclasses import replace

import pytest
import torch

from mvsa_pipe.heads.blocks import normalise
from mvsa_pipe.heads.build import build_head


@pytest.fixture
def head(sizes):
    return build_head("gated", sizes, 0, {"width": 6, "hidden": 5}).eval()


@torch.no_grad()
def test_equals_its_equations(head, batch):
    for i, logits in enumerate(head(batch)):
        text = normalise(batch.text_pooled[i, None])[0]
        image = normalise(batch.image_pooled[i, None])[0]
        both = torch.cat([text, image])
        mixed = torch.zeros(6)
        for k in range(6):
            opening = (head.opening.weight[k] @ both + head.opening.bias[k]).item()
            share = 1.0 / (1.0 + math.exp(-opening))
            said = math.tanh(head.text.weight[k] @ text + head.text.bias[k])
            seen = math.tanh(head.image.weight[k] @ image + head.image.bias[k])
            mixed[k] = share * said + (1.0 - share) * seen
        torch.testing.assert_close(logits, head.classifier(mixed[None])[0])


@torch.no_grad()
def test_gate_lies_between_0_and_1(head, batch):
    for scale in (1.0, 1e4):
        gate = head.gate(scale * batch.text_pooled, scale * batch.image_pooled)
        assert gate.shape == (4, 6)
        assert (gate >= 0.0).all()
        assert (gate <= 1.0).all()


@torch.no_grad()
@pytest.mark.parametrize(("bias", "shut_out"), [(100.0, "image_pooled"), (-100.0, "text_pooled")])
def test_a_gate_at_its_end_shuts_the_other_modality_out(head, batch, bias: float, shut_out: str):
    other = replace(batch, **{shut_out: getattr(batch, shut_out).flip(0)})
    assert not torch.allclose(head(other), head(batch))
    head.opening.bias.fill_(bias)
    torch.testing.assert_close(head(other), head(batch))
