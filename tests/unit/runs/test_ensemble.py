"""One run of several seeds: what it averages, what it records, and what it refuses."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mvsa_pipe.errors import ConfigError
from mvsa_pipe.heads import HEADS
from mvsa_pipe.runs import open_run
from mvsa_pipe.runs.ensemble import refuse_copies, run_ensemble
from mvsa_pipe.runs.fit import run_head
from mvsa_pipe.runs.options import CacheChoice, DataChoice, SeedChoice
from mvsa_pipe.runs.prepare import needs_of, prepare
from mvsa_pipe.runs.save_result import save_run
from mvsa_pipe.training.options import TrainingOptions

TRAINING = TrainingOptions(epochs=2, device="cpu", seed=4)
SEEDS = (4, 5, 6)


@pytest.fixture
def experiment(workplace):
    assert Path.cwd() == workplace
    return prepare(DataChoice(), CacheChoice(), needs_of(["native-cat"]))


def test_probabilities_are_the_mean_over_runs_trained_alone(experiment):
    ensemble = run_ensemble(experiment, "native-cat", {}, TRAINING, SEEDS)
    alone = [run_head(experiment, "native-cat", {}, replace(TRAINING, seed=seed)) for seed in SEEDS]
    for part in ("val", "test"):
        mean = np.mean([run.probabilities[part] for run in alone], axis=0)
        np.testing.assert_allclose(ensemble.probabilities[part], mean, atol=1e-6)
        assert (ensemble.predicted[part] == mean.argmax(1)).all()
        right = (mean.argmax(1) == ensemble.labels[part]).mean()
        assert ensemble.record["scores"][part]["values"]["accuracy"] == pytest.approx(right)
    for ours, theirs in zip(ensemble.record["selected"], alone, strict=True):
        # trained together, sums inside products may add up in another order
        assert ours == pytest.approx(theirs.record["selected"], abs=1e-5)
    assert ensemble.record["steps"] == sum(run.record["steps"] for run in alone)
    assert ensemble.record["parameters"] == sum(run.record["parameters"] for run in alone)


def test_the_run_says_what_it_is_made_of(experiment):
    result = run_ensemble(experiment, "native-cat", {"hidden": 16}, TRAINING, SEEDS)
    run = open_run(save_run(experiment, result, TRAINING, Path("runs")).path)
    assert run.path.name.endswith("-native-cat-tiny-text-tiny-image-seeds4-6")
    assert run.title == "native-cat × 3 seeds"
    assert run.config["seeds"] == run.metrics["seeds"] == [4, 5, 6]
    assert run.config["head_options"]["hidden"] == 16
    assert [member["seed"] for member in run.metrics["members"]] == [4, 5, 6]
    lines = (run.path / "history.jsonl").read_text().splitlines()
    entries = [json.loads(line) for line in lines]
    assert [(entry["seed"], entry["epoch"]) for entry in entries] == [
        (seed, epoch) for seed in SEEDS for epoch in (0, 1)
    ]
    names = {name.split(".")[1] for name in load_file(run.path / "head.safetensors")}
    assert names == {"0", "1", "2"}


def test_test_labels_move_the_test_score_alone(experiment):
    labels = experiment.training_data.labels.clone()
    labels[experiment.indices["test"]] = (labels[experiment.indices["test"]] + 1) % 3
    turned = replace(experiment, training_data=replace(experiment.training_data, labels=labels))
    one, other = (run_ensemble(e, "native-cat", {}, TRAINING, SEEDS) for e in (experiment, turned))
    states = [run.fitted.head.state_dict() for run in (one, other)]
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])
    assert one.record["scores"]["val"] == other.record["scores"]["val"]
    assert one.record["scores"]["test"] != other.record["scores"]["test"]


@pytest.mark.parametrize("name", HEADS.names)
def test_copies_are_not_averaged(name):
    seeds = SeedChoice(seeds=2, ensemble=True)
    if name in ("logistic", "svm"):
        with pytest.raises(ConfigError, match="pointless"):
            refuse_copies(name, seeds)
        refuse_copies(name, SeedChoice(seeds=2))
    else:
        refuse_copies(name, seeds)


@pytest.mark.parametrize(
    "fields", [{"seeds": 0}, {"seeds": -2, "ensemble": True}, {"ensemble": True}]
)
def test_a_choice_without_sense_is_refused(fields):
    with pytest.raises(ConfigError, match=r"--seeds|--ensemble"):
        SeedChoice(**fields)


def test_seeds_are_counted_up():
    assert SeedChoice(seeds=3).counted_from(7) == (7, 8, 9)
