"""NaN and infinity are refused wherever they come in, and never become a class."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from feature_caches import fingerprint, rows
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from safetensors.torch import load_file, save, save_file

from mvsa_pipe.backbones.options import BackboneOptions
from mvsa_pipe.backbones.tiny import TinyText
from mvsa_pipe.backbones.weights import fill
from mvsa_pipe.cache import part_files, reading
from mvsa_pipe.cache.fingerprint import StoredDtype
from mvsa_pipe.cache.finite import _BLOCK, all_finite, not_finite
from mvsa_pipe.cache.folder import CacheFolder
from mvsa_pipe.cache.reading import NotFiniteRowsError
from mvsa_pipe.cache.writer import open_writer
from mvsa_pipe.errors import BackboneError, CacheError, DataError, RunError
from mvsa_pipe.extraction.extract import extract
from mvsa_pipe.extraction.options import ExtractOptions
from mvsa_pipe.features.batch import FeatureSizes, Field
from mvsa_pipe.features.load import load
from mvsa_pipe.features.resident import ResidentFeatures
from mvsa_pipe.features.source import batch_of
from mvsa_pipe.heads import HEADS
from mvsa_pipe.heads.build import build_head
from mvsa_pipe.modality import Modality
from mvsa_pipe.posts import read_posts
from mvsa_pipe.progress import NoProgress
from mvsa_pipe.runs.fit import run_head
from mvsa_pipe.runs.inference import load_head
from mvsa_pipe.runs.options import CacheChoice, DataChoice
from mvsa_pipe.runs.prepare import needs_of, prepare
from mvsa_pipe.runs.save_result import save_run
from mvsa_pipe.training.options import TrainingOptions
from mvsa_pipe.training.scoring import predict_probabilities

ODD = (np.nan, np.inf, -np.inf)
TRAINING = TrainingOptions(epochs=1, device="cpu")
BASELINES = ("logistic", "svm", "boosting")


@given(st.sampled_from(["f2", "f4", "f8"]).flatmap(lambda kind: arrays(kind, st.integers(1, 9))))
def test_bits_tell_what_numpy_tells(values):
    assert all_finite(values) == bool(np.isfinite(values).all())


@pytest.mark.parametrize("place", [0, _BLOCK - 1, _BLOCK, 2 * _BLOCK])
@pytest.mark.parametrize("odd", ODD)
def test_every_number_is_looked_at(place, odd):
    values = np.full(2 * _BLOCK + 1, 65_504, np.float16)
    assert all_finite(values)
    values[place] = odd
    assert not all_finite(values)
    assert not_finite(values, [0, _BLOCK, 2 * _BLOCK, 2 * _BLOCK + 1]) == [place // _BLOCK]


def cached(root: Path, part: str, odd: float, modality: Modality = Modality.TEXT):
    """Posts a, b and c, of which b has a feature that is no number."""
    values = rows("abc", modality)
    at = values.bounds() if part == "hidden" else values.places()
    getattr(values, part)[at[1]].flat[1] = odd
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(part_files, "require_finite_rows", lambda *_: None)  # as others write
        patch.setattr(reading, "not_finite", lambda *_: [])
        with open_writer(CacheFolder(root), "set", fingerprint(modality)) as writer:
            writer.commit(values)
            return writer.finish("abc", {})


@pytest.mark.parametrize("part", ["pooled", "hidden"])
@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("modality", list(Modality))
def test_a_cache_hands_out_numbers_alone(tmp_path, part, odd, modality):
    file = cached(tmp_path, part, odd, modality)
    assert file.damaged_posts() == ["b"]
    needs = [Field(f"{modality}_{part}")]
    with pytest.raises(NotFiniteRowsError, match=r"NaN or infinite.*set.*1 damaged posts: b\..*"):
        load({modality: [file]}, "abc", needs, 3)
    assert load({modality: [file]}, "ac", needs, 3).post_ids == ("a", "c")


def test_streamed_features_are_numbers_too(tmp_path):
    files = {Modality.TEXT: [cached(tmp_path, "hidden", np.nan)]}
    features = load(files, "abc", [Field.TEXT_HIDDEN], 3, limit_bytes=1.0)
    with pytest.raises(NotFiniteRowsError, match="posts: b"):
        list(features.batches([torch.arange(3)], [Field.TEXT_HIDDEN]))


@pytest.mark.parametrize("dtype", list(StoredDtype))
@pytest.mark.parametrize("odd", [*ODD, 1e5])
def test_an_extraction_writes_numbers_alone(workplace, monkeypatch, dtype, odd):
    """1e5 is a number of float32, and infinity in float16."""
    honest = TinyText.encode

    def spoilt(self, ids, mask):
        encoded = honest(self, ids, mask)
        longest = int(mask.sum(dim=1).argmax())
        if mask.sum() > mask.shape[0] * 2 and mask.shape[1] == spoilt.longest:
            encoded.hidden[longest, 0, 0] = odd
        return encoded

    posts = read_posts(workplace / "data")
    posts = replace(posts, posts=posts.posts[:9])
    backbone = BackboneOptions("tiny-text")
    options = ExtractOptions(cache=Path("new"), dtype=dtype, precision="float32", batch_size=1)
    done = extract(posts, backbone, replace(options, cache=Path("whole")), NoProgress()).file
    lengths = np.diff(done.header.offsets)
    spoilt.longest = int(lengths.max())
    hit = done.header.ids[int(lengths.argmax())]
    monkeypatch.setattr(TinyText, "encode", spoilt)
    if odd == 1e5 and dtype is StoredDtype.FLOAT32:
        assert len(extract(posts, backbone, options, NoProgress()).file.header.ids) == 9
        return
    with pytest.raises(CacheError, match=f"tiny-text are not finite in {dtype}") as caught:
        extract(posts, backbone, options, NoProgress())
    assert caught.value.found == f"1 posts: {hit}"
    assert ("--dtype float32" in str(caught.value)) == (dtype is StoredDtype.FLOAT16)
    assert not list(Path("new").rglob("*.h5"))


SIZES = FeatureSizes(6, 5, 4, 3)


def checkpoint(name, **options):
    head = build_head(name, SIZES, 0, options)
    config = {
        "head": name,
        "head_options": asdict(head.options),
        "sizes": asdict(SIZES),
        "training": {"seed": 0},
    }
    return config, {key: value.clone() for key, value in head.state_dict().items()}


def reload(config, state):
    return HEADS.load(config["head"]).load(config, save(state), "here", torch.device("cpu"))


@pytest.mark.parametrize("name", [n for n in HEADS.names if n not in BASELINES])
@pytest.mark.parametrize("odd", ODD)
def test_weights_that_are_no_numbers_are_refused(name, odd):
    config, state = checkpoint(name)
    assert reload(config, state).sizes == SIZES
    key = next(key for key, value in state.items() if value.is_floating_point() and value.numel())
    state[key].view(-1)[0] = odd
    with pytest.raises(RunError, match=r"weights that are not finite \(here\).*NaN"):
        reload(config, state)


@pytest.mark.parametrize(
    ("field", "value"),
    [("text_width", 10**6), ("image_width", 7), ("classes", 4), ("text_layers", [[2, 6]])],
)
def test_sizes_that_a_checkpoint_has_not_are_refused_before_memory_is_taken(field, value):
    config, state = checkpoint("cmac")
    config["sizes"] |= {field: value}
    with pytest.raises(RunError, match=r"does not fit head 'cmac'.* for \["):
        reload(config, state)


def test_more_members_than_a_checkpoint_has_are_refused():
    config, state = checkpoint("text")
    config["seeds"] = list(range(10_000))
    member = {f"members.0.{key}": value for key, value in state.items()}
    with pytest.raises(RunError, match="1 members for 10000 seeds"):
        reload(config, member)
    with pytest.raises(RunError, match="of no member of an ensemble"):
        reload(config, state)


@pytest.mark.parametrize("odd", ODD)
def test_logits_that_are_no_numbers_are_no_predictions(odd):
    head = build_head("text", SIZES, 0)
    vectors = torch.randn(5, 6)
    features = ResidentFeatures(tuple("abcde"), SIZES, text_pooled=vectors)
    assert predict_probabilities(head, features, torch.tensor([4, 1])).shape == (2, 3)
    vectors[1, 0] = odd
    with pytest.raises(RunError, match=r"Logits of 1 posts are not finite.*posts b\."):
        predict_probabilities(head, features, torch.tensor([4, 1]))


def test_backbones_of_no_numbers_are_refused():
    module = torch.nn.Linear(2, 2)
    state = {key: value.clone() for key, value in module.state_dict().items()}
    fill(module, state, Path("good"))
    state["weight"][0, 0] = torch.nan
    with pytest.raises(BackboneError, match=r"NaN or infinite \(bad\)\. Found weight"):
        fill(module, state, Path("bad"))


@pytest.mark.parametrize("odd", [*ODD, 1e16])
@pytest.mark.parametrize("name", BASELINES)
def test_baselines_have_no_answer_for_features_that_are_no_numbers(name, odd):
    labels, vectors = np.arange(12) % 3, torch.randn(12, 6)
    features = ResidentFeatures(
        tuple("abcdefghijkl"), SIZES, text_pooled=vectors, image_pooled=torch.randn(12, 5)
    )
    baseline = build_head(name, SIZES, 0)
    batch = batch_of(features, torch.arange(12), baseline.needs)
    fitted = next(baseline.fit(baseline.frame(batch), labels))
    assert predict_probabilities(fitted, features, torch.tensor([4, 1])).shape == (2, 3)
    vectors[1, 0] = odd
    with pytest.raises(RunError, match=r"Logits of 1 posts are not finite.*posts b\."):
        predict_probabilities(fitted, features, torch.tensor([4, 1]))
    spoilt = batch_of(features, torch.arange(12), baseline.needs)
    with pytest.raises(DataError, match="too large for a solver"):
        next(baseline.fit(baseline.frame(spoilt), labels))


@pytest.mark.usefixtures("workplace")
def test_a_run_whose_checkpoint_is_no_numbers_is_not_asked():
    head = "native-cat"
    experiment = prepare(DataChoice(), CacheChoice(), needs_of([head]))
    run = save_run(experiment, run_head(experiment, head, {}, TRAINING), TRAINING, Path("runs"))
    path = run.path / "head.safetensors"
    state = load_file(path)
    state["text_pooled_mean"].view(-1)[0] = torch.nan
    save_file(state, path)
    with pytest.raises(RunError, match="weights that are not finite"):
        load_head(run, "cpu", NoProgress())
    assert json.loads((run.path / "metrics.json").read_text())


@pytest.mark.parametrize("content", [b"", b"\x00" * 40, None])
def test_a_damaged_checkpoint_is_an_error(content):
    config, state = checkpoint("text")
    data = save(state)[:-5] if content is None else content
    with pytest.raises(RunError, match=r"checkpoint is damaged \(here\).*mvsa fit"):
        HEADS.load("text").load(config, data, "here", torch.device("cpu"))
