"""An ensemble says what its members say on average."""

import pytest
import torch

from mvsa_pipe.heads.build import build_head
from mvsa_pipe.heads.ensemble import Ensemble

SEEDS = (3, 4, 5)


def build_ensemble(name, sizes, seeds):
    return Ensemble([build_head(name, sizes, seed) for seed in seeds])


@torch.no_grad()
@pytest.mark.parametrize("name", ["native-cat", "ote", "cmac-faithful"])
def test_probabilities_are_the_mean_of_the_members(name, sizes, batch):
    ensemble = build_ensemble(name, sizes, SEEDS).eval()
    alone = [build_head(name, sizes, seed).eval()(batch).softmax(1) for seed in SEEDS]
    mean = torch.stack(alone).mean(dim=0)
    torch.testing.assert_close(ensemble(batch).softmax(1), mean, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(alone[0], mean, atol=1e-3)


@torch.no_grad()
def test_members_that_are_sure_against_each_other_leave_finite_logits(sizes, batch):
    ensemble = build_ensemble("text", sizes, (0, 1)).eval()
    for member, bias in zip(ensemble.heads, ([500.0, 0.0, 0.0], [0.0, 500.0, 0.0]), strict=True):
        list(member.parameters())[-1].copy_(torch.tensor(bias))
    shares = ensemble(batch).softmax(1)
    torch.testing.assert_close(
        shares, torch.tensor([[0.5, 0.5, 0.0]]).expand(4, 3), atol=1e-3, rtol=0
    )


def test_every_weight_is_a_members(sizes):
    ensemble = build_ensemble("native-cat", sizes, SEEDS)
    member = build_head("native-cat", sizes, SEEDS[1]).state_dict()
    state = ensemble.state_dict()
    assert set(state) == {f"members.{k}.{name}" for k in range(3) for name in member}
    assert all(torch.equal(state[f"members.1.{name}"], value) for name, value in member.items())


def test_it_reads_and_depends_as_its_members_do(sizes):
    for name in ("text", "cmac-faithful"):
        ensemble, head = build_ensemble(name, sizes, SEEDS), build_head(name, sizes, 0)
        assert ensemble.needs == head.needs
        assert ensemble.batch_independent is head.batch_independent
