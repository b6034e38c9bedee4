"""Modality dropout: the draws, the same in stacks, and what a head learns by it."""

from dataclasses import replace

import pytest
import torch
from training_support import CLASSES, OPTIONS, make_data, small

from mvsa_pipe.features.absent import without
from mvsa_pipe.features.source import batch_of
from mvsa_pipe.heads.build import build_head
from mvsa_pipe.modality import Modality
from mvsa_pipe.training.fitting import fit_head, fit_heads
from mvsa_pipe.training.options import RunSpec, TrainingOptions
from mvsa_pipe.training.state import TrainState

DROPPING = replace(OPTIONS, modality_dropout=0.6)


def state(head: str = "native-cat", options: TrainingOptions = DROPPING) -> TrainState:
    data = make_data()
    sizes = data.features.sizes
    built = build_head(head, sizes, options.seed, small(head), torch.device("cpu"))
    return TrainState(built, data, RunSpec(head, options))  # type: ignore[arg-type]


def test_posts_lose_one_half_as_often_as_asked_and_never_both() -> None:
    drawn = state().draw_absences(20_000)
    assert not (drawn[Modality.TEXT] & drawn[Modality.IMAGE]).any()
    for half in Modality:
        assert drawn[half].float().mean() == pytest.approx(0.3, abs=0.02)


def test_draws_depend_on_the_seed_alone() -> None:
    first, again = (state().draw_absences(64)[Modality.TEXT] for _ in range(2))
    other = state(options=replace(DROPPING, seed=1)).draw_absences(64)[Modality.TEXT]
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_nothing_is_drawn_by_default_or_of_heads_over_one_half() -> None:
    assert not state(options=OPTIONS).loses_halves
    assert not state("text").loses_halves
    assert state().loses_halves
    record = OPTIONS.as_record()
    assert "modality_dropout" not in record  # digests of earlier runs stay valid
    assert DROPPING.as_record()["modality_dropout"] == 0.6


def test_stacked_runs_lose_the_same_halves_as_alone() -> None:
    data = make_data()
    rates = ((0, 0.6), (1, 0.6), (0, 0.0))
    every = [replace(DROPPING, seed=seed, modality_dropout=rate) for seed, rate in rates]
    specs = [RunSpec("native-cat", training, small("native-cat")) for training in every]
    together = fit_heads([(data, spec) for spec in specs])
    for spec, stacked in zip(specs, together, strict=True):
        (alone,) = fit_heads([(data, spec)])
        losses = [[entry["train_loss"] for entry in fit.history] for fit in (stacked, alone)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert together[0].history[0]["train_loss"] != together[2].history[0]["train_loss"]


def test_a_head_learns_to_do_without_a_half() -> None:
    """Each half alone tells the class; only a head that has missed halves reads each alone."""
    data = make_data(signal=4.0)
    every = torch.ones(len(data.val), dtype=torch.bool)
    right: dict[float, dict[Modality, float]] = {}
    for rate in (0.0, 0.6):
        training = replace(OPTIONS, epochs=15, modality_dropout=rate)
        fitted = fit_head("native-cat", small("native-cat"), data, training).head
        batch = batch_of(data.features, data.val, fitted.needs)
        with torch.no_grad():
            right[rate] = {
                half: float(
                    (fitted.predict_proba(without(batch, every, half)).argmax(1)
                     == data.labels[data.val]).float().mean()
                )
                for half in Modality
            }  # fmt: skip
    for half in Modality:
        assert right[0.6][half] > 0.9
        assert right[0.6][half] >= right[0.0][half]
    assert len(CLASSES) == 3
