"""Short labels of runs: all different, made of what differs."""

import json

import pytest
from run_records import config_of

from mvsa_pipe.analysis.run_labels import run_labels
from mvsa_pipe.runs import Run

LONG = "mvsa-single-{}-hf-text-minilm-l6-torchvision-squeezenet1_0-seed0"


@pytest.fixture
def run(tmp_path):
    """A run of a long name, whose configuration differs in some entries."""

    def made(number, **changed):
        config = config_of(("a", "b"))
        training = config["training"] | changed.pop("training", {})
        config |= {"caches": {}, "training": training} | changed
        return Run(tmp_path / LONG.format(number), json.loads(json.dumps(config)), {})

    return made


def test_short_names_of_folders_are_labels(tmp_path, run):
    runs = [Run(tmp_path / name, run(0).config, {}) for name in ("mine", "other")]
    assert run_labels(runs) == ["mine", "other"]


def test_folders_of_one_name_are_told_apart_by_what_differs(tmp_path, run):
    runs = [Run(tmp_path / at / "mine", run(0, head=at).config, {}) for at in ("basic", "gated")]
    assert run_labels(runs) == ["basic", "gated"]


def test_heads_and_seeds_that_differ_are_the_label(run):
    runs = [
        run(n, head=head, training={"seed": seed})
        for n, (head, seed) in enumerate([("basic", 0), ("basic", 1), ("gated", 0)])
    ]
    assert run_labels(runs) == ["basic, seed 0", "basic, seed 1", "gated, seed 0"]


def test_options_of_heads_are_compared_between_runs_of_one_head(run):
    runs = [
        run(0, head="basic", head_options={"hidden": 8, "dropout": 0.5}),
        run(1, head="basic", head_options={"hidden": 16, "dropout": 0.5}),
        run(2, head="gated", head_options={"width": 3}),
    ]
    assert run_labels(runs) == ["basic, hidden 8", "basic, hidden 16", "gated"]


def test_training_options_and_fine_tuning_are_named(run):
    rate = {"learning_rate": 0.001, "centre": False}
    runs = [
        run(0, training={"learning_rate": 0.01, "centre": True}),
        run(1, training=rate, finetune={}),
    ]
    assert run_labels(runs) == [
        "learning rate 0.01, centre",
        "fine-tuned, learning rate 0.001, no centre",
    ]


def test_runs_of_the_same_settings_are_numbered(run):
    assert run_labels([run(0), run(1)]) == ["run 1", "run 2"]
    labels = run_labels([run(0, head="basic"), run(1, head="basic"), run(2, head="gated")])
    assert labels == ["basic run 1", "basic run 2", "gated"]
