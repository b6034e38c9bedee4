"""The optimiser against torch's own."""

import pytest
import torch

from mvsa_pipe.training.optimizer import AdamW


@pytest.mark.parametrize("fused", [True, False])
def test_it_is_torchs(fused: bool) -> None:
    weights = []
    for cls in (AdamW, torch.optim.AdamW):
        torch.manual_seed(0)
        first, second = (torch.nn.Parameter(torch.randn(5, 3)) for _ in range(2))
        optimizer = cls([{"params": [first], "lr": 0.1}], weight_decay=0.1, fused=fused)
        optimizer.add_param_group({"params": [second], "lr": 0.01})
        for _ in range(4):
            loss = (first * second).tanh().square().sum()
            optimizer.zero_grad()
            assert first.grad is None
            loss.backward()
            optimizer.step()
        optimizer.zero_grad(set_to_none=False)
        assert not first.grad.any()
        weights.append((first.detach(), second.detach(), optimizer.state_dict()["state"][1]))
    for own, theirs in zip(*weights, strict=True):
        torch.testing.assert_close(own, theirs, rtol=0, atol=0)


def test_its_state_goes_on_in_torchs() -> None:
    parameter = torch.nn.Parameter(torch.ones(3))
    own, theirs = (cls([parameter], lr=0.1) for cls in (AdamW, torch.optim.AdamW))
    parameter.grad = torch.ones(3)
    own.step()
    theirs.load_state_dict(own.state_dict())
    assert theirs.state_dict()["state"][0]["step"] == 1


def test_the_caller_records_gradients_as_before() -> None:
    parameter = torch.nn.Parameter(torch.ones(3))
    parameter.grad = torch.ones(3)
    AdamW([parameter]).step()
    assert torch.is_grad_enabled()
    assert parameter.requires_grad
