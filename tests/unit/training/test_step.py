"""One step: a batch in parts is the batch whole, and every group has its own rate."""

import copy
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F
from training_support import CLASSES, OPTIONS, make_data

from mvsa_pipe.devices import Precision
from mvsa_pipe.features.source import batch_of
from mvsa_pipe.heads.build import build_head
from mvsa_pipe.training.stacked_loss import smoothed
from mvsa_pipe.training.step import Rates, learning_rate_factor, make_trainer, scale_down

CPU = torch.device("cpu")
WEIGHTS = torch.tensor([3.0, 1.0, 0.5])


def trainer_of(head, groups=None):
    assert len(WEIGHTS) == len(CLASSES)
    return make_trainer(head, OPTIONS, WEIGHTS, 10, Precision.FLOAT32, CPU, groups)


@pytest.fixture
def data():
    return make_data()


@pytest.fixture
def head(data):
    return build_head("native-cat", data.features.sizes, 0, {"dropout": 0.0})


def taken(data, head, posts):
    return batch_of(data.features, posts, head.needs), data.labels[posts]


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_a_batch_in_parts_moves_the_head_as_the_whole_does(data, head, smoothing):
    """Parts count by the class weights of their posts, as the loss of the whole is averaged."""
    posts, whole, parted = data.train[:16], copy.deepcopy(head), copy.deepcopy(head)
    trainer, other = trainer_of(parted), trainer_of(whole)
    trainer.label_smoothing = other.label_smoothing = smoothing
    loss, total = other.step(*taken(data, whole, posts)), 0.0
    weights = WEIGHTS[data.labels[posts]]
    for part, counts in ((posts[:11], weights[:11]), (posts[11:], weights[11:])):
        share = float(counts.sum() / weights.sum())
        total += share * trainer.accumulate(*taken(data, parted, part), share)
    trainer.move()
    torch.testing.assert_close(total, loss)
    for own, other in zip(whole.parameters(), parted.parameters(), strict=True):
        torch.testing.assert_close(own, other, atol=1e-6, rtol=1e-5)


def test_every_group_moves_at_its_own_rate(data, head):
    """Adam's first step moves every entry by its rate, whatever the gradient."""
    first, *rest = [p for p in head.parameters() if p.requires_grad]
    trainer = trainer_of(
        head,
        [
            {"params": [first], "lr": 1e-2, "weight_decay": 0.0},
            {"params": rest, "lr": 1e-4, "weight_decay": 0.0},
        ],
    )
    before = [first.detach().clone(), rest[-1].detach().clone()]
    factor = trainer.optimizer.param_groups[0]["lr"] / 1e-2
    trainer.step(*taken(data, head, data.train))
    pairs = zip((first, rest[-1]), before, strict=True)
    moved = [float((now - then).detach().abs().max()) for now, then in pairs]
    assert moved[0] == pytest.approx(1e-2 * factor, rel=1e-2)
    assert moved[1] == pytest.approx(1e-4 * factor, rel=1e-2)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_the_loss_is_that_of_torch_alone_and_in_a_stack(data, head, smoothing):
    posts = data.train[:16]
    batch, labels = taken(data, head, posts)
    options = replace(OPTIONS, label_smoothing=smoothing)
    trainer = make_trainer(head, options, WEIGHTS, 10, Precision.FLOAT32, CPU)
    logits = head(batch).detach()
    expected = F.cross_entropy(logits, labels, WEIGHTS, label_smoothing=smoothing)
    assert torch.equal(trainer.accumulate(batch, labels), expected)
    log_shares = logits.log_softmax(1)
    by_hand = (
        -(
            (1 - smoothing) * WEIGHTS[labels] * log_shares[torch.arange(16), labels]
            + smoothing / 3 * (log_shares * WEIGHTS).sum(1)
        ).sum()
        / WEIGHTS[labels].sum()
    )
    torch.testing.assert_close(by_hand, expected)
    real = torch.arange(16) < 11
    targets = smoothed(labels[None], real[None], WEIGHTS[None], torch.tensor([smoothing]))
    whole = (WEIGHTS[labels] * real).sum()
    torch.testing.assert_close(
        -(targets[0] * log_shares).sum() / whole,
        F.cross_entropy(logits[:11], labels[:11], WEIGHTS, label_smoothing=smoothing),
    )


@pytest.mark.parametrize("norm", [1e-3, 0.7, 1e3])
def test_gradients_are_scaled_down_to_the_bits_of_torch(norm):
    draws = torch.Generator().manual_seed(0)
    shapes = [(64, 48), (64,), (3, 64), (3,)]
    ours, theirs = ([torch.nn.Parameter(torch.zeros(shape)) for shape in shapes] for _ in "12")
    for one, other in zip(ours, theirs, strict=True):
        one.grad = torch.randn(one.shape, generator=draws)
        other.grad = one.grad.clone()
    without = torch.nn.Parameter(torch.zeros(2))
    scale_down([*ours, without], norm)
    torch.nn.utils.clip_grad_norm_([*theirs, without], norm)
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(ours, theirs, strict=True))


def test_rates_are_those_of_torch_and_go_on_from_a_checkpoint():
    def optimizer():
        groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in (0.3, 7e-4)]
        return torch.optim.AdamW(groups)

    def factor(step):
        return learning_rate_factor(step, OPTIONS, 10)

    def rates(of):
        return [group["lr"] for group in of.param_groups]

    ours, theirs = optimizer(), optimizer()
    own, schedule = Rates(ours, factor), torch.optim.lr_scheduler.LambdaLR(theirs, factor)
    for step in range(10):
        assert rates(ours) == rates(theirs)
        if step == 4:
            later = optimizer()
            again = Rates(later, factor)
            again.load_state_dict(own.state_dict())
            assert rates(later) == rates(ours)
        theirs.step()
        own.step()
        schedule.step()


def test_gradients_are_scaled_down_over_all_groups_together(data, head):
    parameters = [p for p in head.parameters() if p.requires_grad]
    trainer = trainer_of(head, [{"params": [p]} for p in parameters])
    assert trainer.parameters() == parameters
    trainer.clip_norm = 1e-3
    trainer.accumulate(*taken(data, head, data.train))
    seen: list[float] = []
    trainer.optimizer.register_step_pre_hook(
        lambda *_: seen.append(
            float(torch.stack([p.grad.norm() for p in parameters if p.grad is not None]).norm())
        )
    )
    trainer.move()
    assert seen == [pytest.approx(1e-3, rel=1e-3)]
