"""Runs trained as one are what they would be alone."""

from dataclasses import replace

import pytest
import torch
from training_support import (
    ALONE,
    CLASSES,
    NAMES,
    OPTIONS,
    TOKENS,
    UNSTEADY,
    WIDTH,
    make_data,
    small,
    with_features,
)

from mvsa_pipe.features.batch import HIDDEN, FeatureSizes
from mvsa_pipe.features.joined import JoinedFeatures
from mvsa_pipe.heads import HEADS
from mvsa_pipe.heads.build import build_head
from mvsa_pipe.modality import Modality
from mvsa_pipe.training import fitting, stacking
from mvsa_pipe.training.fitting import fit_head, fit_heads
from mvsa_pipe.training.options import RunSpec
from mvsa_pipe.training.scoring import predict_logits
from mvsa_pipe.training.stacking import Alone, stack_shape, why_alone
from mvsa_pipe.training.state import TrainState

SPEC = RunSpec("any", OPTIONS)


def planned(name, data, options, head_options=None):
    """A small head with its data."""
    return data, RunSpec(name, options, small(name) | (head_options or {}))


def alone_as(data, spec):
    """The same run, trained alone."""
    return fit_head(spec.head, spec.head_options, data, spec.training)


def plans_of(name, data, **changes):
    """Three runs that differ in seed, learning rate, dropout and class weights."""
    options = replace(OPTIONS, epochs=5, patience=0, learning_rate=5e-3, **changes)
    known = HEADS.load(name).Options.__dataclass_fields__
    dropout = {"dropout": 0.2} if "dropout" in known else {}
    return [
        planned(name, data, options),
        planned(name, data, replace(options, seed=1, learning_rate=1e-2), dropout),
        planned(name, data, replace(options, seed=2, class_weights="balanced")),
    ]


@pytest.fixture
def stacked_everywhere(monkeypatch):
    """Lets heads that read tokens be stacked on a CPU too, as they are on a GPU."""
    monkeypatch.setattr(stacking, "HIDDEN", frozenset())


@pytest.mark.usefixtures("stacked_everywhere")
@pytest.mark.parametrize("name", NAMES)
def test_a_run_in_a_stack_is_the_run_alone(name):
    data = make_data()
    plans = plans_of(name, data)
    together = fit_heads(plans)
    for plan, stacked in zip(plans, together, strict=True):
        alone = alone_as(*plan)
        posts = torch.cat([data.train, data.val])
        one, other = (predict_logits(run.head, data.features, posts) for run in (alone, stacked))
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
        assert torch.equal(one.argmax(1), other.argmax(1))
        assert stacked.best == alone.best
        assert stacked.steps == alone.steps


# Options of training that draw, smooth or average, by themselves and together.
LATER = {
    "label_smoothing": {"label_smoothing": 0.2},
    "ema": {"ema": 0.9},
    "feature_noise": {"feature_noise": 0.5},
    "all": {"label_smoothing": 0.2, "ema": 0.8, "feature_noise": 0.3, "modality_dropout": 0.3},
}


@pytest.mark.usefixtures("stacked_everywhere")
@pytest.mark.parametrize("name", ["native-cat", "dual-attention", "cmac", "co-attention"])
@pytest.mark.parametrize("changes", LATER.values(), ids=LATER)
def test_options_of_a_run_are_its_own_in_a_stack(name, changes):
    """Two runs have the options, one has not, and one ends early on a split of its own."""
    data = make_data()
    fewer = replace(data, train=torch.arange(3, 48), val=torch.arange(50, 80))
    plans = [
        *plans_of(name, data, **changes)[1:],
        planned(name, data, replace(OPTIONS, learning_rate=5e-3)),
        planned(name, fewer, replace(OPTIONS, epochs=2, learning_rate=5e-3, **changes)),
    ]
    head = build_head(name, data.features.sizes, 0, small(name))
    assert stack_shape(TrainState(head, data, SPEC)) is not None
    for plan, stacked in zip(plans, fit_heads(plans), strict=True):
        alone = alone_as(*plan)
        posts = torch.cat([plan[0].train, plan[0].val])
        one, other = (predict_logits(run.head, data.features, posts) for run in (alone, stacked))
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
        assert torch.equal(one.argmax(1), other.argmax(1))
        assert stacked.best == alone.best
        for entry, own in zip(stacked.history, alone.history, strict=True):
            assert entry["train_loss"] == pytest.approx(own["train_loss"], rel=1e-5)


@pytest.mark.usefixtures("stacked_everywhere")
@pytest.mark.parametrize("name", ["native-cat", "dual-attention", "cmac", "co-attention"])
def test_runs_over_joined_backbones_are_stacked_alike(name):
    """Two backbones a modality, of which each has tokens and widths of its own."""
    first = make_data()
    second = with_features(
        first,
        **{
            field: 3.0 - 2.0 * getattr(first.features, field)[..., :5]
            for field in ("text_pooled", "image_pooled", "image_hidden")
        },
    ).features
    ragged = first.features.text_hidden
    second = replace(
        second,
        sizes=replace(second.sizes, text_width=5, image_width=5),
        text_hidden=replace(ragged, states=ragged.states[:, :5] ** 2),
    )
    sources = dict.fromkeys(Modality, (first.features, second))
    joined = JoinedFeatures(sources)
    sizes = joined.sizes
    assert sizes == FeatureSizes(WIDTH + 5, WIDTH + 5, 2 * TOKENS, len(CLASSES))
    data = replace(first, features=joined)
    plans = plans_of(name, data)
    plans.append(planned(name, data, replace(OPTIONS, feature_noise=0.5, learning_rate=5e-3)))
    head = build_head(name, sizes, 0, small(name))
    assert stack_shape(TrainState(head, data, SPEC)) is not None
    for plan, stacked in zip(plans, fit_heads(plans), strict=True):
        alone = alone_as(*plan)
        one, other = (predict_logits(run.head, joined, data.val) for run in (alone, stacked))
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
        assert stacked.best == alone.best


@pytest.mark.usefixtures("stacked_everywhere")
def test_all_heads_are_stacked_but_those_that_padding_or_rounding_would_change():
    data = make_data()
    keys = {
        name: stack_shape(
            TrainState(build_head(name, data.features.sizes, 0, small(name)), data, SPEC)
        )
        for name in NAMES
    }
    assert {name for name, key in keys.items() if key is None} == ALONE
    for name in UNSTEADY:
        head = build_head(name, data.features.sizes, 0, small(name))
        assert why_alone(head, data, compiled=True) is Alone.ROUNDING


@pytest.mark.parametrize("name", NAMES)
def test_on_a_cpu_pooled_heads_alone_are_stacked(name):
    data = make_data()
    head = build_head(name, data.features.sizes, 0, small(name))
    key = stack_shape(TrainState(head, data, SPEC))
    assert (key is None) == bool(head.needs & HIDDEN)


def test_runs_end_one_by_one_and_stay_what_they_would_be_alone():
    """Patience ends them at different epochs; the rest of the stack goes on untouched."""
    data = make_data()
    options = replace(OPTIONS, epochs=30, patience=2, learning_rate=3e-2)
    plans = [planned("basic", data, replace(options, seed=seed)) for seed in range(5)]
    together = fit_heads(plans)
    lengths = [len(run.history) for run in together]
    assert len(set(lengths)) > 1
    for plan, stacked in zip(plans, together, strict=True):
        alone = alone_as(*plan)
        assert len(alone.history) == len(stacked.history)
        for one, other in zip(alone.history, stacked.history, strict=True):
            assert one["train_loss"] == pytest.approx(other["train_loss"], rel=1e-4)


def test_runs_on_splits_of_their_own_share_a_stack():
    """Other posts, fewer of them, and so fewer steps an epoch."""
    data = make_data()
    fewer = replace(data, train=torch.arange(3, 48), val=torch.arange(50, 80))
    plans = [
        planned("gated", part, replace(OPTIONS, seed=seed))
        for seed, part in enumerate([data, fewer])
    ]
    for plan, stacked in zip(plans, fit_heads(plans), strict=True):
        alone = alone_as(*plan)
        logits = [predict_logits(run.head, data.features, plan[0].val) for run in (alone, stacked)]
        torch.testing.assert_close(*logits, rtol=1e-5, atol=1e-5)


def test_no_clipping_is_no_clipping():
    data = make_data()
    plans = [planned("native-cat", data, replace(OPTIONS, clip_norm=norm)) for norm in (0.0, 0.05)]
    runs = fit_heads(plans)
    for plan, stacked in zip(plans, runs, strict=True):
        alone = alone_as(*plan)
        for name, value in alone.head.state_dict().items():
            torch.testing.assert_close(value, stacked.head.state_dict()[name], rtol=1e-5, atol=1e-5)
    different = [run.head.state_dict()["classifier.layers.1.weight"] for run in runs]
    assert not torch.allclose(*different)


def test_heads_of_several_shapes_are_several_stacks():
    data = make_data()
    plans = [planned("text", data, OPTIONS, {"hidden": hidden}) for hidden in (8, 12, 8)]
    runs = fit_heads(plans)
    assert [run.head.options.hidden for run in runs] == [8, 12, 8]
    assert all(len(run.history) == OPTIONS.epochs for run in runs)


def test_whoever_waits_can_end_the_training():
    data = make_data()

    class EnoughError(Exception):
        pass

    def on_step():
        raise EnoughError

    for name in ("text", "dual-attention"):
        plans = [planned(name, data, replace(OPTIONS, seed=s)) for s in range(2)]
        with pytest.raises(EnoughError):
            fit_heads(plans, on_step)


def test_a_baseline_that_no_seed_decides_is_fitted_once(monkeypatch):
    data = make_data()
    made = []
    honest = fitting.fit_baseline
    monkeypatch.setattr(fitting, "fit_baseline", lambda *w: made.append(w) or honest(*w))
    other = replace(data, train=torch.arange(10, 60))
    plans = [(data, RunSpec("logistic", replace(OPTIONS, seed=seed))) for seed in range(3)]
    plans.append((other, RunSpec("logistic", OPTIONS)))
    plans.append((data, RunSpec("logistic", replace(OPTIONS, class_weights="balanced"))))
    runs = fit_heads(plans)
    assert len(made) == 3
    assert runs[0] is runs[1] is runs[2]
    assert len({id(run) for run in runs}) == 3
