"""Inside an epoch nothing asks a device for a number: on a GPU that waits for all work before it.

Here the CPU stands in for the GPU, so that every operation that hands a number to Python, or makes
a tensor of numbers from Python (which on a GPU is a copy that waits), is seen between the first
step of an epoch and its last.
"""

from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from training_support import ALONE, NAMES, OPTIONS, make_data, small

from mvsa_pipe.training import stacking
from mvsa_pipe.training.fitting import fit_heads
from mvsa_pipe.training.options import RunSpec
from mvsa_pipe.training.step import scale_down

LATER = {"label_smoothing": 0.1, "ema": 0.9, "feature_noise": 0.5}
WAITING = {"_local_scalar_dense", "lift_fresh", "nonzero", "masked_select", "_unique2", "equal"}


class Waits(TorchDispatchMode):
    """Which waiting operations ran, and after how many steps had begun."""

    def __init__(self):
        super().__init__()
        self.steps, self.seen = 0, []

    def on_step(self):
        self.steps += 1

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        if name in WAITING:
            self.seen.append((name, self.steps))
        return func(*args, **(kwargs or {}))

    def inside(self):
        """Those between the first step and the last, whose end is the end of the epoch."""
        return [seen for seen in self.seen if 0 < seen[1] < self.steps]


@pytest.mark.parametrize(
    ("name", "runs"),
    [(name, runs) for name in NAMES for runs in (1, 3) if runs == 1 or name not in ALONE],
)
@pytest.mark.parametrize("changes", [{}, LATER], ids=["plain", "later"])
def test_no_step_waits_for_the_device(name, runs, changes, monkeypatch):
    monkeypatch.setattr(stacking, "HIDDEN", frozenset())
    data = make_data()
    # on a CPU alone, clipping the gradients of a run of its own asks for their norm
    options = replace(OPTIONS, epochs=1, clip_norm=0.0 if runs == 1 else 1.0, **changes)
    plans = [
        (data, RunSpec(name, replace(options, seed=seed), small(name))) for seed in range(runs)
    ]
    with Waits() as waits:
        fit_heads(plans, waits.on_step)
    assert waits.steps > 2
    assert waits.seen  # the ends of epochs do wait
    assert waits.inside() == []


def test_clipping_waits_for_no_device_but_the_cpu():
    parameter = torch.nn.Parameter(torch.empty(3, device="meta"))
    parameter.grad = torch.empty(3, device="meta")
    scale_down([parameter], 1.0)  # a number of this device cannot be asked for


def test_the_watch_sees_what_waits():
    with Waits() as waits:
        waits.on_step()
        float(torch.ones(2).sum())
        torch.tensor([1.0])
        waits.on_step()
    assert {name for name, _ in waits.inside()} == {"_local_scalar_dense", "lift_fresh"}
