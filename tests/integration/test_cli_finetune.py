"""``mvsa finetune`` from outside: every option does what it says, or is refused in a paragraph."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from feature_caches import fingerprint, rows
from run_records import assert_like_scores
from typer.testing import CliRunner

from mvsa_pipe.cache.folder import CacheFolder
from mvsa_pipe.cache.writer import open_writer
from mvsa_pipe.cli.app import app
from mvsa_pipe.export import load_exported
from mvsa_pipe.modality import Modality
from mvsa_pipe.posts import read_posts
from mvsa_pipe.posts.contents import contents_of
from mvsa_pipe.posts.synthetic.config import SyntheticConfig
from mvsa_pipe.posts.synthetic.write import write_synthetic
from mvsa_pipe.training.step import Trainer

TOLERANCE = 1e-5
ON = ["--split", "random-6:2:2", "--device", "cpu"]
FIT = ["fit", "--head", "native-cat", "--epochs", "3", "--learning-rate", "5e-3", *ON]
TUNE = ["finetune", "--head", "native-cat", "--epochs", "1", "--batch-size", "8", *ON]
# whatever else is drawn at random differs with how a batch is cut
NO_DROPOUT = ["--backbone-dropout", "0", "--set", "dropout=0"]


@pytest.fixture(scope="session")
def tuned(tmp_path_factory) -> Path:
    """40 posts, their caches, a run ``fitted``, and one of its text backbone tuned, ``tuned``."""
    root = tmp_path_factory.mktemp("tuned") / "workplace"
    write_synthetic(root / "data", SyntheticConfig(posts=40, image_px=32))
    places = ["--data", root / "data", "--cache", root / "cache"]
    runs = ["--runs", root / "runs"]
    text_alone = ["--text-learning-rate", "1e-3", "--image-learning-rate", "0"]
    for command in (
        ["extract", "--backbone", "tiny-text", "--backbone", "tiny-image", "--device", "cpu"],
        [*FIT, *runs, "--name", "fitted"],
        [*TUNE, *runs, "--name", "tuned", *text_alone],
    ):
        result = CliRunner().invoke(app, [str(word) for word in [*command, *places]])
        assert result.exit_code == 0, result.output
    return root


@pytest.fixture(autouse=True)
def home(tuned, tmp_path, monkeypatch) -> None:
    """A copy of all that, as the working directory."""
    root = tmp_path / "workplace"
    shutil.copytree(tuned, root)
    monkeypatch.chdir(root)


@pytest.fixture
def done(mvsa):
    """A command that must succeed; its result."""

    def run(*words):
        result = mvsa(*words)
        assert result.exit_code == 0, result.output
        return result

    return run


def config(name):
    return json.loads(Path("runs", name, "config.json").read_text())


def metrics(name):
    return json.loads(Path("runs", name, "metrics.json").read_text())


def losses(name):
    lines = Path("runs", name, "history.jsonl").read_text().splitlines()
    return [v for e in map(json.loads, lines) for v in (e["train_loss"], e["val_loss"])]


def test_a_tuned_run_is_evaluated_predicted_compared_and_exported(done):
    again = json.loads(done("evaluate", "runs/tuned", "--json").stdout)
    assert again["scores"] == metrics("tuned")["scores"]["test"]
    assert metrics("tuned")["energy_joules"] is None  # a CPU has no counter
    post = ["--text", "good day", "--image", "data/data/1.jpg"]
    (said,) = json.loads(done("predict", "runs/tuned", *post, "--json").stdout)["predictions"]
    table = done("compare", "runs/tuned", "runs/fitted").stdout
    assert "tuned (native-cat)" in " ".join(table.split())
    done("export", "runs/tuned", "--output", "out", "--no-onnx")
    shares = load_exported("out").predict_proba(["good day"], ["data/data/1.jpg"])[0]
    assert shares.tolist() == pytest.approx(said["probabilities"], abs=1e-5)


def test_what_tuned_backbones_say_is_cached_and_read_only_when_named(done, refused):
    done("extract", "--from", "runs/tuned")
    done(*FIT, "--name", "plain")
    done(*FIT, "--text", "tiny-text~tuned", "--name", "over-tuned")
    assert metrics("plain")["backbones"] == {"text": "tiny-text", "image": "tiny-image"}
    assert metrics("over-tuned")["backbones"]["text"] == "tiny-text~tuned"
    assert losses("plain") == losses("fitted") != losses("over-tuned")
    # and a tuned backbone can be tuned on, as long as its weights are there
    done(*TUNE, "--text", "tiny-text~tuned", "--image-learning-rate", "0", "--name", "twice")
    done("evaluate", "runs/twice")
    Path("runs/tuned/text.safetensors").unlink()
    said = refused(*TUNE, "--text", "tiny-text~tuned", keeps=False)  # digests are kept
    assert "text.safetensors" in said
    said = refused("evaluate", "runs/tuned", keeps=False)
    assert "no checkpoint of its text backbone" in said


def test_batches_in_parts_and_layers_computed_twice_change_nothing(done):
    done(*TUNE, *NO_DROPOUT, "--name", "whole")
    done(*TUNE, *NO_DROPOUT, "--name", "parts", "--micro-batch", "3", "--checkpointing")
    assert losses("parts") == pytest.approx(losses("whole"), abs=TOLERANCE)


def test_a_preset_counts_but_for_what_is_named(done):
    words = ["finetune", "--head", "text", "--epochs", "1", *ON, "--name", "preset"]
    done(*words, "--preset", "2412.03625", "--text-learning-rate", "1e-4")
    training, tuning = config("preset")["training"], config("preset")["finetune"]
    assert (training["epochs"], training["batch_size"], training["weight_decay"]) == (1, 16, 0.0)
    assert training["learning_rate"] == tuning["image_learning_rate"] == 3e-5
    assert tuning["text_learning_rate"] == 1e-4


def test_a_fitted_head_is_where_training_starts(done):
    words = ["finetune", "--from", "runs/fitted", "--epochs", "1", *ON, "--unfreeze", "none"]
    done(*words, "--learning-rate", "1e-9", "--name", "on")
    assert losses("on")[1] == pytest.approx(metrics("fitted")["selected"]["val_loss"], abs=1e-3)
    assert config("on")["finetune"]["from"] == str(Path("runs/fitted").resolve())


@pytest.mark.skipif(find_spec("peft") is None, reason="peft is not installed")
def test_adapters_are_merged_into_what_is_saved(done, refused):
    words = [*TUNE, "--lora", "--lora-rank", "2", "--text-learning-rate", "1e-3"]
    assert "it has no attention with linear layers" in refused(*words, keeps=False)
    done(*words, "--image-learning-rate", "0", "--name", "lora")
    assert metrics("lora")["parameters_trained"]["text"] == 2 * 2 * 2 * (384 + 384)
    done("evaluate", "runs/lora")


def test_bfloat16_and_augmentation(done):
    words = ["finetune", "--epochs", "1", *ON]
    done(*words, "--head", "text", "--precision", "bfloat16", "--name", "bfloat16")
    done("evaluate", "runs/bfloat16")
    done(*words, "--head", "image", "--augment", "--name", "augmented")
    done(*words, "--head", "image", "--name", "as-they-are")
    assert losses("augmented") != losses("as-they-are")


def test_two_processes_give_the_run_of_one(done):
    words = [*TUNE, *NO_DROPOUT, "--batch-size", "23"]  # unequal shares, and an empty one
    done(*words, "--name", "one")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command = [*launcher, "--standalone", "-m", "mvsa_pipe", *words, "--name", "two"]
    alone = {**os.environ, "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=alone)
    assert ended.returncode == 0, ended.stderr
    assert losses("two") == pytest.approx(losses("one"), abs=TOLERANCE)
    assert_like_scores(metrics("two")["scores"], metrics("one")["scores"])
    assert not list(Path("runs").glob(".tuning-*"))


def test_an_interrupted_run_is_thrown_away_when_told(done, mvsa, monkeypatch):
    whole = Trainer.move
    with monkeypatch.context() as patch:
        calls = []

        def move(trainer):
            calls.append(trainer)
            if len(calls) == 4:  # in the second epoch of three steps each
                raise KeyboardInterrupt
            whole(trainer)

        patch.setattr(Trainer, "move", move)
        assert mvsa(*TUNE, "--epochs", "2", "--name", "again").exit_code == 130
    assert list(Path("runs").glob(".tuning-*"))
    done(*TUNE, "--epochs", "2", "--name", "again", "--restart")
    assert metrics("again")["resumed_after_epochs"] == 0


def test_memory_that_does_not_suffice_is_told_with_what_to_lower(refused, monkeypatch):
    def fail(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(Trainer, "accumulate", fail)
    said = refused(*TUNE, keeps=False)
    assert "needs more memory" in said
    assert "lower --micro-batch" in said


def test_a_cache_whose_backbone_is_gone_says_how_to_name_it(refused):
    posts = read_posts(Path("data"))
    note = {"name": "hf-text:gone", "weights": None, "pooling": None}
    note |= {"max_tokens": 128, "decode": "exact"}
    ids = [post.id for post in posts.posts]
    with open_writer(CacheFolder(Path("cache")), posts.name, fingerprint()) as writer:
        digests = [content.digest for content in contents_of(posts, Modality.TEXT)[0]]
        writer.commit(replace(rows(ids, Modality.TEXT), digests=digests))
        writer.finish(ids, {"backbone": note})
    said = refused(*TUNE, "--text", "small")
    assert "weights are not available" in said
    assert "--text NAME --weights NAME=PATH" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "No head was named"),
        (["--head", "native-cat", "--preset", "1"], "No preset is named '1'"),
        (["--head", "logistic"], "no gradient reaches a backbone"),
        (
            ["--head", "native-cat", "--text", "tiny-text+bert"],
            "one per modality can be tuned",
        ),
        (["--from", "runs/tuned"], "fine-tuned already"),
        (["--from", "runs/fitted", "--head", "text"], "Expected --head native-cat or none"),
        (["--from", "runs/fitted", "--split-seed", "1"], "validation or test posts were in"),
    ],
)
def test_what_cannot_be_tuned_is_refused(refused, words, said):
    assert said in refused("finetune", *ON, *words, keeps=False)  # digests of posts are kept


def test_runs_that_training_cannot_start_from(done, refused):
    done(*FIT, "--seeds", "2", "--ensemble", "--name", "ensemble")
    assert "starts from one head" in refused("finetune", "--from", "runs/ensemble", *ON)
    Path("runs/fitted/head.safetensors").unlink()
    assert "This run has no checkpoint" in refused("finetune", "--from", "runs/fitted", *ON)
