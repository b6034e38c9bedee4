"""Attention of trained heads: known where their weights are set by hand."""

import base64
import io
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from analysed_runs import copied
from PIL import Image

from mvsa_pipe.analysis import attention as attention_module
from mvsa_pipe.analysis.attended_post import SPECIAL, words_of
from mvsa_pipe.analysis.attention import attention
from mvsa_pipe.analysis.attention_measures import equal_answers, layers_of, measured
from mvsa_pipe.analysis.contest import contest_of_runs
from mvsa_pipe.analysis.finding import LinePlot, OverlayPlot
from mvsa_pipe.analysis.options import AttentionMapOptions
from mvsa_pipe.analysis.rescoring import rescored_entries
from mvsa_pipe.analysis.seen_picture import picture_below, seen_pictures
from mvsa_pipe.backbones import load_backbone
from mvsa_pipe.backbones.options import BackboneOptions
from mvsa_pipe.errors import RunError
from mvsa_pipe.progress import NO_PROGRESS
from mvsa_pipe.runs import open_run

OPTIONS = AttentionMapOptions(resamples=20, device="cpu")
SMALL = {"width": 16}


@pytest.fixture(scope="module")
def runs(pipeline, tmp_path_factory):
    made = copied(pipeline, tmp_path_factory.mktemp("attention"))
    return {
        "cmac": [made("cmac", seed=seed, options=SMALL, epochs=12) for seed in (0, 1)],
        "bottleneck": [made("bottleneck", options=SMALL)],
        "native-cat": [made("native-cat")],
    }


def rescored(runs):
    return rescored_entries(contest_of_runs(runs, at_least=1), OPTIONS, NO_PROGRESS)


@torch.no_grad()
def asking_nothing(run):
    """The run with queries of zero: its attention is uniform, whatever the post."""
    for layer in layers_of(run.model):
        layer.module.query.weight.zero_()
        layer.module.query.bias.zero_()
    vars(run).pop("unchanged", None)  # its answers before the change
    return run


def test_heads_side_by_side(runs):
    found = attention(
        [*runs["cmac"], *runs["bottleneck"], *runs["native-cat"]], OPTIONS, NO_PROGRESS
    )
    side = found.table("heads side by side")
    assert [row[0] for row in side.rows] == ["cmac", runs["bottleneck"][0].title]
    assert side.rows[0][1] == runs["cmac"][0].metrics["parameters"]
    layers = found.table("entropy of attention")
    assert [row[1] for row in layers.rows[:2]] == ["text → picture", "picture → text"]
    for row in layers.rows:
        assert 0 < row[3] <= row[2].value <= row[4] < 1 + 1e-6
    mass = found.table("where attention goes")
    shares = {}
    for head, layer, _, share, _ in mass.rows:
        shares[head, layer] = shares.get((head, layer), 0) + share.value
    assert list(shares.values()) == pytest.approx([1] * 4)
    assert any("left out: native-cat" in line for line in found.method)
    assert not any(isinstance(plot, OverlayPlot) for plot in found.plots)


def test_entropy_by_epoch_is_recorded_where_asked(pipeline, tmp_path):
    made = copied(pipeline, tmp_path)
    plain = made("cmac", options=SMALL)
    tracked = made("cmac", options=SMALL, track_attention=True)
    histories = plain.read_history(), tracked.read_history()
    added = {"attention_entropy/text to picture", "attention_entropy/picture to text"}
    for one, other in zip(*histories, strict=True):
        assert other.keys() - one.keys() == added
        assert {key: other[key] for key in one} == one  # no other number changes
        assert all(0 < other[key] <= 1 for key in added)
    found = attention([tracked], OPTIONS, NO_PROGRESS)
    (plot,) = [plot for plot in found.plots if isinstance(plot, LinePlot)]
    assert [len(line.y) for line in plot.series] == [len(histories[1])] * 2
    assert any(
        "--track-attention" in line for line in attention([plain], OPTIONS, NO_PROGRESS).method
    )


def test_attention_without_questions_is_flat_and_equal(runs):
    (entry,) = rescored(runs["cmac"][:1])
    run = asking_nothing(entry.runs[0])
    for layer in measured(run):
        assert layer.entropy == pytest.approx(1)
    equal, plain = equal_answers(run), run.answers()
    assert equal.probabilities == pytest.approx(plain.probabilities, abs=1e-5)
    head = attention_module._attended(entry, attention_module.Resampler(len(run.labels), OPTIONS))
    verdict = attention_module._verdict(head, OPTIONS.flat)
    assert "attention is flat (entropy 1.00 to 1.00" in verdict
    assert "[+0.0, +0.0]: its weights do not matter." in verdict


def test_a_head_that_reads_one_modality_is_told(runs):
    (entry,) = rescored(runs["cmac"][1:])
    run = asking_nothing(entry.runs[0])
    with torch.no_grad():
        for parameter in run.model.vote_image.parameters():
            parameter.zero_()
    head = attention_module._attended(entry, attention_module.Resampler(len(run.labels), OPTIONS))
    assert head.same["image"] == 1
    assert "One modality carries all: text." in attention_module._verdict(head, OPTIONS.flat)


def test_maps_of_a_post(runs):
    post = contest_of_runs(runs["cmac"], at_least=1).folds[0].ids[0]
    found = attention(runs["cmac"][:1], replace(OPTIONS, post=post), NO_PROGRESS)
    to_image, to_text = [plot for plot in found.plots if isinstance(plot, OverlayPlot)]
    assert (to_image.words, to_text.patches) == ([], [])
    assert np.sum(to_image.patches) == pytest.approx(1)
    assert sum(weight for _, weight in to_text.words) == pytest.approx(1)
    text = (runs["cmac"][0].path.parents[1] / "data" / "data" / f"{post}.txt").read_text("utf-8")
    assert [word for word, _ in to_text.words] == [*text.split(), SPECIAL]
    assert found.table(f"post {post}").rows[1][2]


def test_a_post_that_is_not_compared_is_refused(runs):
    with pytest.raises(RunError, match="not among the compared posts"):
        attention(runs["cmac"], replace(OPTIONS, post="no-such"), NO_PROGRESS)


def test_a_head_without_attention_names_those_that_have_it(runs):
    with pytest.raises(RunError, match="cmac, hstec, self-attention, dual-attention, co-attention"):
        attention(runs["native-cat"], OPTIONS, NO_PROGRESS)


def test_words_have_the_weights_of_their_tokens():
    text = "so hap-py :)"
    spans = [(0, 0), (0, 2), (3, 6), (6, 7), (7, 9), (10, 12), (0, 0)]
    weights = [0.1, 0.2, 0.1, 0.1, 0.2, 0.25, 0.05]
    found = dict(words_of(text, spans, weights))
    assert found == pytest.approx({"so": 0.2, "hap-py": 0.4, ":)": 0.25, SPECIAL: 0.15})


def test_a_token_of_two_words_is_shared():
    assert words_of("a b", [(0, 3)], [1.0]) == [("a", 0.5), ("b", 0.5)]


def test_pictures_of_a_post_are_what_the_backbone_saw(runs, tmp_path):
    post = contest_of_runs(runs["cmac"], at_least=1).folds[0].ids[0]
    found = attention(runs["cmac"][:1], replace(OPTIONS, post=post), NO_PROGRESS)
    overlay = next(plot for plot in found.plots if isinstance(plot, OverlayPlot) and plot.patches)
    pictures = seen_pictures([found], runs["cmac"])
    uri = picture_below(overlay, pictures)
    folder = runs["cmac"][0].path.parents[1] / "data" / "data"
    with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as shown:
        own = np.asarray(shown)
    backbone = load_backbone(BackboneOptions("tiny-image"))
    with Image.open(folder / f"{post}.jpg") as picture:
        np.testing.assert_array_equal(own, backbone.prepare(picture.convert("RGB")))
    assert picture_below(found.plots[0], pictures) == ""
    assert seen_pictures([found], runs["bottleneck"]) == {}  # a run that the report is not about
    moved = open_run(shutil.copytree(runs["cmac"][0].path, tmp_path / "moved"))
    assert picture_below(overlay, seen_pictures([found], [moved])) == uri


def test_a_record_holds_no_picture(runs):
    post = contest_of_runs(runs["cmac"], at_least=1).folds[0].ids[0]
    found = attention(runs["cmac"][:1], replace(OPTIONS, post=post), NO_PROGRESS)
    assert "base64" not in json.dumps(found.as_record())
