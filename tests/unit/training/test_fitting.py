"""Training: reproducible, blind to the test part, at its best epoch, clear when it cannot go on."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch.nn import functional as F
from training_support import OPTIONS, N, make_data, with_features

from mvsa_pipe.baselines.logistic import Logistic
from mvsa_pipe.errors import ConfigError, MvsaError, SplitError
from mvsa_pipe.heads.build import build_head
from mvsa_pipe.metrics.score_table import Score
from mvsa_pipe.training.fitting import fit_head
from mvsa_pipe.training.options import Schedule
from mvsa_pipe.training.scoring import predict_logits, predict_probabilities

SMALL = {
    "native-cat": {"hidden": 16},
    "ote": {"hidden": 16, "width": 8, "n_attn": 2, "feedforward": 8},
    "dual-attention": {"hidden": 16, "width": 8, "n_attn": 2},
}
HEADS = sorted(SMALL)


@pytest.fixture
def data():
    return make_data()


def state_of(fitted):
    return {name: value.clone() for name, value in fitted.head.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def fit(name, data, options=OPTIONS):
    return fit_head(name, SMALL.get(name, {}), data, options)


@pytest.mark.parametrize("name", HEADS)
def test_the_same_seed_gives_the_same_numbers(name, data):
    first, second = fit(name, data), fit(name, make_data())
    assert same(state_of(first), state_of(second))
    assert first.history == second.history


@pytest.mark.parametrize("name", HEADS)
def test_another_seed_gives_others(name, data):
    one, other = fit(name, data), fit(name, data, replace(OPTIONS, seed=1))
    assert not same(state_of(one), state_of(other))


@pytest.mark.parametrize("name", HEADS)
def test_what_ran_beside_changes_nothing(name, data):
    alone = fit(name, data)
    torch.manual_seed(1234)
    torch.rand(17)
    np.random.seed(9)  # noqa: NPY002
    fit("ote", data, replace(OPTIONS, seed=5))
    assert same(state_of(fit(name, data)), state_of(alone))


def test_training_leaves_the_global_generators_alone(data):
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    fit("dual-attention", data)
    assert torch.equal(torch.rand(4), expected)


@pytest.mark.parametrize("name", HEADS)
def test_the_test_part_is_never_looked_at(name, data):
    """Features and labels behind the training and validation posts are garbage: nothing changes."""
    blind = state_of(fit(name, data))
    spoiled = with_features(
        data,
        **{
            field: torch.cat([values[:N], torch.full_like(values[N:], torch.nan)])
            for field in ("text_pooled", "image_pooled", "image_hidden")
            for values in [getattr(data.features, field)]
        },
    )
    text = data.features.text_hidden
    states = text.states.clone()
    states[int(text.offsets[N]) :] = torch.nan
    spoiled = with_features(spoiled, text_hidden=replace(text, states=states))
    spoiled = replace(spoiled, labels=torch.cat([data.labels[:N], data.labels[N:] - 99]))
    assert same(state_of(fit(name, spoiled)), blind)


@pytest.mark.parametrize("name", HEADS)
def test_validation_selects_and_is_not_trained_on(name, data):
    """Other validation labels may pick another epoch, but every epoch trained the same."""
    one = fit(name, data)
    turned = data.labels.clone()
    turned[data.val] = (turned[data.val] + 1) % 3
    other = fit(name, replace(data, labels=turned))
    losses = [[entry.get("train_loss") for entry in run.history] for run in (one, other)]
    assert losses[0] == losses[1]
    scores = [[entry["val_f1_macro"] for entry in run.history] for run in (one, other)]
    assert scores[0] != scores[1]


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("select", [Score.F1_MACRO, Score.ACCURACY])
def test_the_head_is_left_as_at_its_best(name, select, data):
    options = replace(OPTIONS, epochs=8, select=select, learning_rate=5e-2, patience=0)
    fitted = fit(name, data, options)
    key = f"val_{select.value}"
    best = max(fitted.history, key=lambda entry: (entry[key], -entry["val_loss"]))
    assert fitted.history[fitted.best] == best
    logits = predict_logits(fitted.head, data.features, data.val)
    labels = data.labels[data.val]
    assert float(F.cross_entropy(logits, labels)) == pytest.approx(best["val_loss"], rel=1e-6)
    accuracy = float((logits.argmax(1) == labels).float().mean())
    assert accuracy == pytest.approx(best["val_accuracy"])
    assert not fitted.head.training


def test_patience_ends_training(data):
    options = replace(OPTIONS, epochs=40, patience=2, learning_rate=5e-2)
    fitted = fit("native-cat", data, options)
    assert len(fitted.history) == fitted.best + 1 + 2 < 40
    assert fitted.steps == len(fitted.history) * 4  # 60 posts in batches of 16
    patient = fit("native-cat", data, replace(options, epochs=12, patience=0))
    assert len(patient.history) == 12


def test_a_loss_that_is_not_finite_ends_in_a_clear_error(data):
    spoiled = with_features(data, text_pooled=data.features.text_pooled * 1e30)
    options = replace(OPTIONS, learning_rate=1e20, clip_norm=0.0)
    with pytest.raises(MvsaError, match=r"diverged.*--learning-rate"):
        fit("native-cat", spoiled, options)


@pytest.mark.parametrize("part", ["train", "val"])
def test_an_empty_part_is_refused(part, data):
    with pytest.raises(SplitError, match="--split"):
        fit("native-cat", replace(data, **{part: torch.arange(0)}))


def test_class_weights_move_the_decision():
    data = make_data(signal=0.0)
    options = replace(OPTIONS, epochs=1, batch_size=4)  # one epoch: nothing to pick
    plain = fit("native-cat", data, options)
    weighted = replace(options, class_weights="negative=50,neutral=1,positive=1")
    heavy = fit("native-cat", data, weighted)
    shares = [
        (predict_probabilities(run.head, data.features, data.val).argmax(1) == 0).mean()
        for run in (plain, heavy)
    ]
    assert shares[1] > shares[0] + 0.2


def test_balanced_weights_are_computed_from_training_posts_alone(data):
    uneven = replace(data, train=torch.cat([torch.arange(0, 60, 3), torch.tensor([1, 2, 4])]))
    counts = torch.bincount(uneven.labels[uneven.train]).tolist()
    total = sum(counts)
    explicit = ",".join(
        f"{name}={total / (3 * count)!r}"
        for name, count in zip(uneven.classes, counts, strict=True)
    )
    balanced = fit("native-cat", uneven, replace(OPTIONS, class_weights="balanced"))
    named = fit("native-cat", uneven, replace(OPTIONS, class_weights=explicit))
    assert same(state_of(balanced), state_of(named))


def test_unknown_classes_in_weights_are_refused(data):
    with pytest.raises(ConfigError, match="--class-weights"):
        fit("native-cat", data, replace(OPTIONS, class_weights="good=1"))


def test_the_schedule_is_used(data):
    runs = [fit("native-cat", data, replace(OPTIONS, schedule=name)) for name in Schedule]
    assert not same(state_of(runs[0]), state_of(runs[1]))


def test_centring_frees_training_from_where_features_lie(data):
    far = with_features(data, text_pooled=data.features.text_pooled + 50 * torch.arange(6.0))
    losses = {
        centre: [
            [entry["train_loss"] for entry in fit("native-cat", posts, options).history]
            for posts in (data, far)
        ]
        for centre in (True, False)
        for options in [replace(OPTIONS, centre=centre)]
    }
    assert losses[True][0] == pytest.approx(losses[True][1], rel=1e-3)
    assert losses[False][0] != pytest.approx(losses[False][1], rel=0.1)


def test_centring_reads_training_posts_alone(data):
    """Validation posts far away move neither the mean nor the training."""
    text = data.features.text_pooled.clone()
    text[data.val] += 100
    one, other = (
        fit("native-cat", data),
        fit("native-cat", with_features(data, text_pooled=text)),
    )
    losses = [[entry["train_loss"] for entry in run.history] for run in (one, other)]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("centre_tokens", [True, False])
def test_centred_tokens_free_training_from_where_tokens_lie(data, centre_tokens):
    width = data.features.image_hidden.shape[-1]
    far = with_features(
        data, image_hidden=data.features.image_hidden + 50 * torch.arange(float(width))
    )
    options = replace(OPTIONS, centre_tokens=centre_tokens)
    near, moved = (
        [entry["train_loss"] for entry in fit("dual-attention", posts, options).history]
        for posts in (data, far)
    )
    assert (near == pytest.approx(moved, rel=1e-3)) is centre_tokens


def test_logistic_is_scikit_learns_at_the_strength_that_validation_picks(data):
    fitted = fit("logistic", data)
    both = torch.cat([data.features.text_pooled, data.features.image_pooled], 1).numpy()
    train, val = data.train.numpy(), data.val.numpy()
    mean, std = both[train].mean(0), both[train].std(0)
    inputs, labels = (both - mean) / std, data.labels.numpy()
    accuracies = []
    for strength in Logistic.strengths:
        model = LogisticRegression(C=strength, max_iter=20_000)
        model.fit(inputs[train], labels[train])
        accuracies.append(model.score(inputs[val], labels[val]))
    assert [entry["val_accuracy"] for entry in fitted.history] == pytest.approx(accuracies)
    assert [entry["strength"] for entry in fitted.history] == list(Logistic.strengths)
    chosen = LogisticRegression(C=Logistic.strengths[fitted.best], max_iter=20_000)
    chosen.fit(inputs[train], labels[train])
    ours = predict_probabilities(fitted.head, data.features, data.val)
    assert ours == pytest.approx(chosen.predict_proba(inputs[val]), abs=1e-3)


def test_probabilities_are_shares_in_the_order_asked_for(data):
    fitted = fit("dual-attention", data)
    order = torch.tensor([70, 3, 88])
    shares = predict_probabilities(fitted.head, data.features, order)
    assert shares.sum(axis=1) == pytest.approx(np.ones(3))
    alone = [
        predict_probabilities(fitted.head, data.features, order[k : k + 1])[0] for k in range(3)
    ]
    assert shares == pytest.approx(np.stack(alone), abs=1e-5)


def test_a_built_head_keeps_its_weights_whatever_the_global_seed():
    sizes = make_data().features.sizes
    torch.manual_seed(0)
    one = build_head("ote", sizes, 4, SMALL["ote"]).state_dict()
    torch.manual_seed(1)
    assert same(one, build_head("ote", sizes, 4, SMALL["ote"]).state_dict())
