"""Option dataclasses from keywords."""

from pathlib import Path

import numpy as np
import pytest

from mvsa_pipe.api.keywords import build, names_of, refuse_unknown
from mvsa_pipe.errors import ConfigError
from mvsa_pipe.extraction.options import ExtractOptions
from mvsa_pipe.heads import HEADS
from mvsa_pipe.layers import LayerMix
from mvsa_pipe.runs.options import CacheChoice
from mvsa_pipe.training.options import TrainingOptions


def test_strings_numbers_and_lists_become_what_a_field_declares():
    made = build(TrainingOptions, {"epochs": np.int64(3), "warmup": 0, "schedule": "constant"})
    assert (made.epochs, type(made.epochs), made.warmup) == (3, int, 0.0)
    assert made == TrainingOptions(epochs=3, warmup=0.0, schedule=made.schedule)
    assert build(ExtractOptions, {"cache": "~/x"}).cache == Path("~/x").expanduser()
    assert build(TrainingOptions, {"epochs": None}) == TrainingOptions()


def test_fields_of_nested_dataclasses_are_keywords_too():
    assert {"layer_mix", "image_grid", "text"} <= {*names_of(CacheChoice)}
    assert build(CacheChoice, {"layer_mix": "mean"}).features.layer_mix is LayerMix.MEAN


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"epochs": 2.5}, "epochs cannot be used. Expected a whole number"),
        ({"epochs": True}, "a whole number"),
        ({"centre": 1}, "True or False"),
        ({"learning_rate": "fast"}, "a number"),
        ({"select": "f1"}, "one of accuracy"),
        ({"epoch": 2}, "did you mean epochs"),
        ({"learning_rate": float("nan")}, "learning-rate cannot be used"),
    ],
)
def test_what_a_field_cannot_take_is_refused(given, says):
    with pytest.raises(ConfigError, match=says):
        build(TrainingOptions, given)


def test_a_path_is_a_text_or_a_path():
    with pytest.raises(ConfigError, match="a path, as a text or a Path"):
        build(ExtractOptions, {"cache": 3})


def test_unknown_keywords_are_told_with_near_ones():
    with pytest.raises(ConfigError, match="did you mean cache"):
        refuse_unknown({"cach": 1}, ["cache", "device"])


@pytest.mark.parametrize("row", HEADS, ids=lambda row: row.name)
def test_no_head_has_an_option_of_the_name_of_one_of_training(row):
    """``fit`` and ``FusionClassifier`` take both as keywords."""
    assert not {*names_of(HEADS.load(row.name).Options)} & {*names_of(TrainingOptions)}
