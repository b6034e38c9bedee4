"""With frozen backbones a fine-tuning is the fit: losses, scores and predictions to 1e-5.

Single numbers differ in their last bits, as matrix products of other batches add up otherwise.
"""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from run_records import assert_like_scores

from mvsa_pipe.errors import ConfigError
from mvsa_pipe.finetune.options import LiveChoice, TuningOptions
from mvsa_pipe.runs import Run
from mvsa_pipe.runs.options import CacheChoice, DataChoice
from mvsa_pipe.training.options import TrainingOptions

TOLERANCE = 1e-5
TRAINING = TrainingOptions(epochs=2, batch_size=16, device="cpu")


def history(run: Run) -> list[dict[str, float]]:
    lines = (run.path / "history.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def predictions(run: Run) -> tuple[list[list[str]], np.ndarray]:
    with (run.path / "predictions.csv").open(newline="") as file:
        rows = list(csv.reader(file))[1:]
    return [row[:4] for row in rows], np.array([[float(x) for x in row[4:]] for row in rows])


def assert_alike(tuned: Run, fitted: Run) -> None:
    for own, other in zip(history(tuned), history(fitted), strict=True):
        assert own == pytest.approx(other, abs=TOLERANCE)
    (rows, shares), (other_rows, other_shares) = predictions(tuned), predictions(fitted)
    assert rows == other_rows
    np.testing.assert_allclose(shares, other_shares, atol=TOLERANCE)
    assert_like_scores(tuned.metrics["scores"], fitted.metrics["scores"])
    assert tuned.metrics["selected"]["epoch"] == fitted.metrics["selected"]["epoch"]
    assert tuned.metrics["steps"] == fitted.metrics["steps"]


# pooled vectors with dropout and centring; tokens of both; a published defect; one half alone
@pytest.mark.parametrize("head", ["native-cat", "dual-attention", "cmac-faithful", "image"])
def test_frozen_backbones_give_what_the_cache_gives(fit, tune, head):
    assert_alike(tune(head), fit(head))


def test_so_do_backbones_of_which_nothing_is_unfrozen(fit, tune):
    run = tune("gated", tuning=TuningOptions(unfreeze="none"))
    assert run.metrics["parameters_trained"]["text"] == 0
    assert_alike(run, fit("gated"))


def test_smoothed_labels_and_averaged_weights_are_those_of_fit(fit, tune):
    training = replace(TRAINING, label_smoothing=0.2, ema=0.8, class_weights="balanced")
    run = tune(training=training)
    assert_alike(run, fit(training=training))
    assert history(run)[1]["val_loss"] != history(tune())[1]["val_loss"]
    assert run.config["training"]["ema"] == 0.8


def test_tuned_backbones_are_averaged_too(tune):
    tuning = TuningOptions(text_learning_rate=1e-3)
    plain, averaged = (
        tune(training=replace(TRAINING, ema=ema), tuning=tuning) for ema in (0.0, 0.8)
    )
    losses = [[entry["train_loss"] for entry in history(run)] for run in (plain, averaged)]
    assert losses[0] == losses[1]
    files = [(run.path / "text.safetensors").read_bytes() for run in (plain, averaged)]
    assert files[0] != files[1]


def test_noise_on_features_is_of_caches_alone(tune):
    with pytest.raises(ConfigError, match=r"--feature-noise only supports .* cached features"):
        tune(training=replace(TRAINING, feature_noise=0.1))


def test_trained_backbones_give_something_else(fit, tune):
    """Or the tests above would pass whatever was trained."""
    tuned, fitted = tune(tuning=TuningOptions(text_learning_rate=1e-3)), fit()
    assert history(tuned)[1]["train_loss"] != pytest.approx(
        history(fitted)[1]["train_loss"], abs=1e-3
    )


SHARED = Path(__file__).parents[4] / "shared"
MINILM = SHARED / "weights" / "minilm-l6"
SQUEEZENET = SHARED / "weights" / "squeezenet1_0.safetensors"
POSTS = SHARED / "data" / "MVSA_Single_dev.zip"


@pytest.mark.skipif(
    not all(path.exists() for path in (MINILM, SQUEEZENET, POSTS)),
    reason=f"real weights and posts are not at {SHARED}",
)
def test_real_backbones_on_real_posts_too(fit, tune, tmp_path):
    """MiniLM and SqueezeNet on the first 24 posts, cut to a table."""
    from mvsa_pipe.backbones.options import BackboneOptions
    from mvsa_pipe.cache.fingerprint import StoredDtype
    from mvsa_pipe.extraction.extract import extract_all
    from mvsa_pipe.extraction.options import ExtractOptions
    from mvsa_pipe.posts import read_posts
    from mvsa_pipe.progress import NoProgress

    posts = read_posts(POSTS)
    kept = posts.posts[:24]
    lines = []
    for post in kept:
        name = f"{post.id}.jpg"
        (tmp_path / name).write_bytes(posts.storage.read(post.image))
        lines.append({"id": post.id, "text": post.text, "image": name, "label": post.label})
    table = tmp_path / "few.jsonl"
    table.write_text("\n".join(json.dumps(line) for line in lines) + "\n")
    cache = tmp_path / "cache"
    how = ExtractOptions(cache=cache, device="cpu", precision="float32", dtype=StoredDtype.FLOAT32)
    backbones = [
        BackboneOptions(f"hf-text:{MINILM}"),
        BackboneOptions("torchvision:squeezenet1_0", str(SQUEEZENET)),
    ]
    extract_all(read_posts(table), backbones, how, NoProgress())
    where = DataChoice(path=table, split="random-6:2:2")
    tuned = tune("cmac", data=where, choice=LiveChoice(CacheChoice(cache)))
    assert_alike(tuned, fit("cmac", data=where, cache=cache))
