"""A head's run from end to end, and its record."""

import csv
import json
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import pytest
import torch

from mvsa_pipe.errors import ConfigError, RunError
from mvsa_pipe.metrics.scores import majority_reference
from mvsa_pipe.runs import open_run
from mvsa_pipe.runs.fit import refuse_early, run_head
from mvsa_pipe.runs.options import CacheChoice, DataChoice
from mvsa_pipe.runs.prepare import needs_of, prepare
from mvsa_pipe.runs.save_result import default_run_name, save_run
from mvsa_pipe.training.options import TrainingOptions

TRAINING = TrainingOptions(epochs=2, device="cpu")


@pytest.fixture
def experiment(workplace):
    assert Path.cwd() == workplace
    return prepare(DataChoice(), CacheChoice(), needs_of(["native-cat"]))


def test_scores_are_of_the_predictions(experiment):
    result = run_head(experiment, "native-cat", {}, TRAINING)
    for part in ("val", "test"):
        right = (result.labels[part] == result.predicted[part]).mean()
        assert result.record["scores"][part]["values"]["accuracy"] == pytest.approx(right)
        assert (result.probabilities[part].argmax(1) == result.predicted[part]).all()
    assert "train" not in result.scores


def test_test_labels_change_the_test_score_alone(experiment):
    """The whole training is blind to the test part, the score is not."""
    labels = experiment.training_data.labels.clone()
    labels[experiment.indices["test"]] = (labels[experiment.indices["test"]] + 1) % 3
    turned = replace(experiment, training_data=replace(experiment.training_data, labels=labels))
    one, other = (run_head(e, "native-cat", {}, TRAINING) for e in (experiment, turned))
    assert one.fitted.history == other.fitted.history
    states = [run.fitted.head.state_dict() for run in (one, other)]
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])
    assert one.record["scores"]["val"] == other.record["scores"]["val"]
    assert one.record["scores"]["test"] != other.record["scores"]["test"]


def test_reference_rows_come_from_training_labels(experiment):
    result = run_head(experiment, "native-cat", {}, TRAINING)
    train, test = (
        experiment.training_data.labels[experiment.indices[p]] for p in ("train", "test")
    )
    row = result.record["references"]["test"][0]
    assert row["values"] == majority_reference(train.numpy(), test.numpy(), 3).values


def test_the_record_says_everything(experiment):
    result = run_head(experiment, "native-cat", {"hidden": 16}, TRAINING)
    run = open_run(save_run(experiment, result, TRAINING, Path("runs")).path)
    assert run.config["training"]["epochs"] == 2
    assert run.config["head_options"]["hidden"] == 16
    assert run.config["protocol"] == run.metrics["protocol"] == experiment.protocol
    assert run.config["data"]["path"] == str(Path("data").resolve())
    for modality, (file,) in experiment.files.items():
        assert run.config["caches"][modality]["digest"] == file.header.fingerprint.digest
    assert run.config["versions"]["torch"] == metadata.version("torch")
    assert run.metrics["posts"] == experiment.sizes
    for key in ("seconds", "peak_memory_bytes", "device", "parameters", "seed"):
        assert key in run.metrics
    assert run.metrics == json.loads(json.dumps(result.record))


def test_the_run_lists_its_posts_and_predictions(experiment):
    result = run_head(experiment, "native-cat", {}, TRAINING)
    run = save_run(experiment, result, TRAINING, Path("runs"))
    assert {m.post_id: m.split for m in run.members()} == dict(experiment.split.parts)
    with (run.path / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["post_id"] for row in rows if row["split"] == "test"] == list(
        experiment.split.ids("test")
    )
    assert {row["split"] for row in rows} == {"val", "test"}
    labels = {post.id: post.label for post in experiment.posts.posts}
    assert all(row["label"] == labels[row["post_id"]] for row in rows)


def test_the_list_of_posts_serves_as_a_split(experiment):
    result = run_head(experiment, "native-cat", {}, TRAINING)
    run = save_run(experiment, result, TRAINING, Path("runs"))
    again = prepare(
        DataChoice(split=str(run.path / "split.csv")), CacheChoice(), needs_of(["text"])
    )
    assert dict(again.split.parts) == dict(experiment.split.parts)


def test_runs_without_a_name_never_clash(experiment, monkeypatch):
    """Two processes that found the same name free both keep their run."""
    result = run_head(experiment, "native-cat", {}, TRAINING)
    paths = [save_run(experiment, result, TRAINING, Path("runs")).path for _ in range(2)]
    wanted = default_run_name(experiment, "native-cat", (0,))
    assert [path.name for path in paths] == [wanted, f"{wanted}-2"]
    names = iter([wanted, "other"])
    monkeypatch.setattr("mvsa_pipe.runs.save_result.free_name", lambda *_: next(names))
    assert save_run(experiment, result, TRAINING, Path("runs")).path.name == "other"


def test_a_name_that_is_taken_is_an_error(experiment):
    result = run_head(experiment, "native-cat", {}, TRAINING)
    save_run(experiment, result, TRAINING, Path("runs"), "mine")
    with pytest.raises(RunError, match="exists already"):
        save_run(experiment, result, TRAINING, Path("runs"), "mine")


@pytest.mark.usefixtures("workplace")
def test_a_run_without_a_test_part_has_no_test_score():
    short = prepare(DataChoice(split="random-8:2"), CacheChoice(), needs_of(["native-cat"]))
    result = run_head(short, "native-cat", {}, TRAINING)
    assert list(result.record["scores"]) == ["val"]


def test_default_names_fit_any_disk(experiment):
    assert default_run_name(experiment, "ote", (3,)).endswith("-ote-tiny-text-tiny-image-seed3")
    assert default_run_name(experiment, "ote", (3, 4, 5)).endswith("-tiny-image-seeds3-5")


@pytest.mark.parametrize(
    ("options", "training"),
    [
        ({"no-such": "1"}, TRAINING),
        ({"hidden": "many"}, TRAINING),
        ({}, replace(TRAINING, device="gpu")),
    ],
)
def test_what_can_be_refused_is_refused_before_posts_are_read(options, training):
    with pytest.raises(ConfigError):
        refuse_early("native-cat", options, training)
