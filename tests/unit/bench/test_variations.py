"""What --vary says, and what it refuses."""

import pytest

from mvsa_pipe.benches.variations import settings_of
from mvsa_pipe.errors import ConfigError
from mvsa_pipe.training.options import TrainingOptions

TRAINING = TrainingOptions(epochs=3)


def test_nothing_varied_is_one_setting():
    (only,) = settings_of([], TRAINING)
    assert (only.training, only.head_options, only.label) == (TRAINING, {}, "")


def test_settings_are_the_product_of_all_values():
    found = settings_of(["learning-rate=1e-3,1e-4", "dropout=0.1,0.5"], TRAINING)
    assert [(s.training.learning_rate, s.head_options["dropout"]) for s in found] == [
        (1e-3, "0.1"),
        (1e-3, "0.5"),
        (1e-4, "0.1"),
        (1e-4, "0.5"),
    ]
    assert found[1].label == "learning_rate=1e-3, dropout=0.5"
    assert all(s.training.epochs == 3 for s in found)


def test_a_value_typed_twice_counts_once():
    assert len(settings_of(["epochs=2,2,3"], TRAINING)) == 2


def test_a_value_in_two_spellings_counts_once_as_the_first():
    found = settings_of(["learning-rate=1e-3,1e-2,0.001", "dropout=.5,0.1,0.50"], TRAINING)
    assert [s.label for s in found] == [
        f"learning_rate={rate}, dropout={share}"
        for rate in ("1e-3", "1e-2")
        for share in (".5", "0.1")
    ]


def test_closed_sets_and_truths_are_parsed():
    first, second = settings_of(["schedule=cosine,constant", "centre=no"], TRAINING)
    assert (first.training.schedule, second.training.schedule) == ("cosine", "constant")
    assert first.training.centre is False


@pytest.mark.parametrize(
    ("vary", "message"),
    [
        (["epochs"], "name=value"),
        (["=3"], "name=value"),
        (["epochs=2,,3"], "name=value"),
        (["epochs="], "name=value"),
        (['class_weights="a=1,b=2'], "name=value"),
        (["epochs=two"], "whole number"),
        (["epochs=0"], "--epochs"),
        (["schedule=steep"], "cosine"),
        (["seed=1,2"], "--seeds"),
        (["epochs=2", "epochs=3"], "twice"),
    ],
)
def test_what_cannot_be_used_is_said(vary, message):
    with pytest.raises(ConfigError, match=message):
        settings_of(vary, TRAINING)


def test_a_value_that_holds_commas_stands_in_quotes():
    every = settings_of(['class_weights=none,"negative=2,positive=1"'], TrainingOptions())
    assert [one.training.class_weights for one in every] == ["none", "negative=2,positive=1"]
