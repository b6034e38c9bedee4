"""Runs scored again on changed features: every kind of head, by the same code as in training."""

import shutil

import numpy as np
import pytest
import torch
from analysed_runs import copied
from safetensors.torch import load_file, save_file

from mvsa_pipe.analysis.contest import contest_of_runs
from mvsa_pipe.analysis.options import Replacement, RescoringOptions
from mvsa_pipe.analysis.rescoring import rescored_entries
from mvsa_pipe.backbones.options import BackboneOptions
from mvsa_pipe.cache.folder import CacheFolder
from mvsa_pipe.errors import CacheError, RunError
from mvsa_pipe.extraction.extract import extract
from mvsa_pipe.extraction.options import ExtractOptions
from mvsa_pipe.layers import LayerMix, Layers
from mvsa_pipe.modality import Modality
from mvsa_pipe.posts import read_posts
from mvsa_pipe.progress import NoProgress
from mvsa_pipe.runs import open_run

OPTIONS = RescoringOptions(device="cpu")
TEXT, IMAGE = Modality.TEXT, Modality.IMAGE


@pytest.fixture(scope="module")
def make(pipeline, tmp_path_factory):
    maker = copied(pipeline, tmp_path_factory.mktemp("rescored"))
    posts = read_posts(maker.root / "data")
    options = ExtractOptions(cache=maker.root / "cache")
    extract(posts, BackboneOptions("tiny-text", layers=Layers.LAST4), options, NoProgress())
    return maker


def both_texts(make):
    """The text backbone twice: with one layer, and with four."""
    files = CacheFolder(make.root / "cache").fitting(
        read_posts(make.root / "data").name, TEXT, "tiny-text"
    )
    return "+".join(f"tiny-text@{file.header.fingerprint.digest[:8]}" for file in files)


@pytest.fixture(scope="module")
def runs(make):
    """A run of every kind."""
    return {
        "pooled": make("native-cat"),
        "text alone": make("text"),
        "tokens": make("co-attention"),
        "depends on its batch": make("ote-faithful"),
        "mixes layers": make("co-attention", mix=LayerMix.LEARNED, seed=1),
        "baseline": make("logistic"),
        "reads terms": make("logistic", options={"terms": 50}),
        "ensemble": make("native-cat", seeds=(3, 4)),
        "joined backbones": make("co-attention", text=both_texts(make)),
    }


def opened(runs, options=OPTIONS):
    entries = rescored_entries(contest_of_runs(runs, at_least=1), options, NoProgress())
    return [run for entry in entries for run in entry.runs]


def test_unchanged_features_give_the_recorded_predictions(runs):
    for run in opened(list(runs.values())):
        recorded = [row for row in run.run.predictions() if row.split == "test"]
        shares = np.array([row.probabilities for row in recorded])
        np.testing.assert_allclose(run.answers().shares, shares, atol=2e-6)


def test_a_constant_modality_says_nothing(runs):
    """Of a text head without text, and of any head without both, all posts are alike."""
    for run in opened([r for k, r in runs.items() if k != "depends on its batch"]):
        for replacement in Replacement:
            nothing = run.answers(run.inputs_without([TEXT, IMAGE], replacement))
            assert np.ptp(nothing.shares, axis=0).max() <= 2e-6
    (text,) = opened([runs["text alone"]])
    assert text.modalities == (TEXT,)
    assert (text.without(IMAGE).shares == text.answers().shares).all()
    assert np.ptp(text.without(TEXT).shares, axis=0).max() <= 2e-6


def test_exchanged_posts_bring_their_text_with_its_mask_and_terms(runs):
    """Both modalities in one order are the same posts in another order."""
    for run in opened([r for k, r in runs.items() if k != "depends on its batch"]):
        order = np.random.default_rng(0).permutation(run.inputs.posts)
        moved = run.inputs.exchanged(TEXT, order).exchanged(IMAGE, order)
        np.testing.assert_allclose(
            run.answers(moved).shares, run.answers().shares[order], atol=2e-6
        )


def test_means_are_those_of_the_training_posts(runs, make):
    (run,) = opened([runs["tokens"]])
    data = make.experiment("co-attention").training_data
    (text,) = run.constants(TEXT, Replacement.MEAN)
    (image,) = run.constants(IMAGE, Replacement.MEAN)
    (batch,) = data.features.batches([data.train], run.model.needs)
    real = batch.text_hidden[batch.text_mask].float()
    for ours, theirs in [
        (text.pooled, batch.text_pooled.float().mean(0)),
        (text.hidden, real.mean(0)),
        (image.pooled, batch.image_pooled.float().mean(0)),
        (image.hidden, batch.image_hidden.float().mean(0)),
    ]:
        torch.testing.assert_close(ours.float(), theirs, atol=2e-3, rtol=2e-3)
    assert text.tokens == int(batch.text_mask.sum(1).median())


def test_mapped_numbers_reach_the_head(runs):
    for run in opened([runs["tokens"], runs["mixes layers"], runs["baseline"]]):
        same = run.answers(run.inputs.mapped(TEXT, lambda _, values: values))
        assert (same.shares == run.answers().shares).all()
        other = run.answers(run.inputs.mapped(TEXT, lambda _, values: -values))
        assert (other.shares != run.answers().shares).any()


def test_runs_share_what_they_read(runs):
    tokens, pooled = opened([runs["tokens"], runs["pooled"]])
    (one,), (other,) = (run.inputs.features.sources[TEXT] for run in (tokens, pooled))
    assert one is other


def test_caches_are_found_elsewhere_or_named_as_missing(runs, make, tmp_path):
    shutil.copytree(make.root / "cache", tmp_path / "copy")
    (run,) = opened([runs["pooled"]], RescoringOptions(cache=tmp_path / "copy", device="cpu"))
    assert len(run.answers().labels) == 10
    with pytest.raises(CacheError, match="not cached") as refused:
        opened([runs["pooled"]], RescoringOptions(cache=tmp_path / "none", device="cpu"))
    assert "--cache names the folder" in str(refused.value.hint)


def test_a_checkpoint_that_gives_other_predictions_is_refused(runs, tmp_path):
    shutil.copytree(runs["pooled"].path, tmp_path / "run")
    path = tmp_path / "run" / "head.safetensors"
    weights = {name: -value for name, value in load_file(path).items()}
    save_file(weights, path)
    with pytest.raises(RunError, match="do not give its recorded predictions"):
        opened([open_run(tmp_path / "run")])
