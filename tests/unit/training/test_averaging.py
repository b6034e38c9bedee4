"""Averaged weights: the mean by hand, scored and saved while training continues without it."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F
from training_support import OPTIONS, make_data, small

from mvsa_pipe.devices import Precision
from mvsa_pipe.features.source import batch_of
from mvsa_pipe.heads.build import build_head
from mvsa_pipe.training.averaging import WeightAverage, newest_share
from mvsa_pipe.training.fitting import fit_head
from mvsa_pipe.training.scoring import predict_logits
from mvsa_pipe.training.step import make_trainer

NAME = "native-cat"


def test_the_average_of_three_steps_is_the_one_by_hand():
    weight = torch.nn.Parameter(torch.tensor([9.0]))  # of the initialisation: has no part
    average = WeightAverage([weight], 0.5)
    for value, expected in ((1.0, 1.0), (4.0, (0.5 * 1 + 4) / 1.5), (2.0, (0.25 + 2 + 2) / 1.75)):
        with torch.no_grad():
            weight.fill_(value)
        average.update()
        with average.applied():
            assert weight.item() == pytest.approx(expected)
        assert weight.item() == value


@given(
    st.floats(0, 1, exclude_max=True),
    st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=20),
)
def test_the_average_is_the_mean_by_powers_of_the_decay(decay, values):
    average = 0.0
    for step, value in enumerate(values, start=1):
        average += newest_share(decay, step) * (value - average)
    weights = np.array([decay**back for back in range(len(values))])[::-1]
    assert average == pytest.approx(weights @ values / weights.sum(), abs=1e-6)
    assert min(values) - 1e-6 <= average <= max(values) + 1e-6


def test_shares_fall_from_all_to_what_the_decay_leaves():
    assert newest_share(0.99, 1) == 1.0
    assert newest_share(0.99, 10_000) == pytest.approx(0.01)
    assert newest_share(0.0, 7) == 1.0
    assert 0 < newest_share(1 - 2**-53, 3) <= 1


def test_a_step_adds_the_weights_behind_it():
    data = make_data()
    head = build_head(NAME, data.features.sizes, 0, small(NAME))
    options, decay = replace(OPTIONS, ema=0.8), 0.8
    weights = torch.ones(3)
    trainer = make_trainer(head, options, weights, 10, Precision.FLOAT32, torch.device("cpu"))
    seen = []
    for posts in data.train.split(20):
        trainer.step(batch_of(data.features, posts, head.needs), data.labels[posts])
        seen.append(copy.deepcopy(dict(head.named_parameters())))
    assert len(seen) == 3
    raw = copy.deepcopy(head.state_dict())
    whole = 1 + decay + decay**2
    with trainer.averaged():
        for name, value in head.named_parameters():
            expected = (decay**2 * seen[0][name] + decay * seen[1][name] + seen[2][name]) / whole
            torch.testing.assert_close(value, expected)
        for name, value in head.named_buffers():
            assert torch.equal(value, raw[name])
    assert all(torch.equal(value, raw[name]) for name, value in head.state_dict().items())


def test_training_goes_on_without_the_average_and_its_best_epoch_is_saved():
    data = make_data()
    options = replace(OPTIONS, epochs=6, patience=0)
    plain = fit_head(NAME, small(NAME), data, options)
    averaged = fit_head(NAME, small(NAME), data, replace(options, ema=0.9))
    losses = [[entry["train_loss"] for entry in run.history] for run in (plain, averaged)]
    assert losses[0] == losses[1]  # bit for bit
    assert plain.history[-1]["val_loss"] != averaged.history[-1]["val_loss"]
    logits = predict_logits(averaged.head, data.features, data.val)
    best = averaged.history[averaged.best]
    loss = float(F.cross_entropy(logits, data.labels[data.val]))
    assert loss == pytest.approx(best["val_loss"], rel=1e-6)


def test_an_average_goes_on_from_a_checkpoint():
    weight = torch.nn.Parameter(torch.tensor([1.0]))
    whole = WeightAverage([weight], 0.7)
    whole.update()
    again = WeightAverage([weight], 0.7)
    again.load_state_dict(copy.deepcopy(whole.state_dict()))
    with torch.no_grad():
        weight.fill_(3.0)
    found = []
    for average in (whole, again):
        average.update()
        with average.applied():
            found.append(weight.item())
    assert found[0] == found[1] == pytest.approx((0.7 + 3) / 1.7)
    with pytest.raises(ValueError, match="zip"):
        again.load_state_dict({"steps": 1, "averages": []})
