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
from safetensors.torch import load_file, save_file

from mvsa_pipe.backbones.options import BackboneOptions
from mvsa_pipe.backbones.tiny import TinyText
from mvsa_pipe.backbones.weights import fill
from mvsa_pipe.cache import parts, reading
from mvsa_pipe.cache.fingerprint import StoredDtype
from mvsa_pipe.cache.finite import _BLOCK, all_finite, not_finite
from mvsa_pipe.cache.folder import CacheFolder
from mvsa_pipe.cache.reading import NotFiniteRowsError
from mvsa_pipe.cache.writer import open_writer
from mvsa_pipe.errors import BackboneError, CacheError, DataError, RunError
from mvsa_pipe.experiment.options import CacheChoice, DataChoice
from mvsa_pipe.experiment.prepare import needs_of, prepare
from mvsa_pipe.experiment.run import run_head
from mvsa_pipe.experiment.saving import save_run
from mvsa_pipe.extraction.extract import extract
from mvsa_pipe.extraction.options import ExtractOptions
from mvsa_pipe.features import FeatureSizes, Field
from mvsa_pipe.heads import HEADS
from mvsa_pipe.heads.building import build_head
from mvsa_pipe.heads.recorded import load_recorded
from mvsa_pipe.heads.solving import require_bounded
from mvsa_pipe.inference.loading import load_head
from mvsa_pipe.modality import Modality
from mvsa_pipe.posts import read_posts
from mvsa_pipe.progress import Silence
from mvsa_pipe.resident import ResidentFeatures, load_resident
from mvsa_pipe.streamed import load_or_stream
from mvsa_pipe.training.options import TrainingOptions
from mvsa_pipe.training.scoring import predict_probabilities

ODD = (np.nan, np.inf, -np.inf)
TRAINING = TrainingOptions(epochs=1, device="cpu")


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
        patch.setattr(parts, "require_finite", lambda *_: None)  # as others write
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
        load_resident({modality: file}, "abc", needs, 3)
    assert len(load_resident({modality: file}, "ac", needs, 3)) == 2


def test_streamed_features_are_numbers_too(tmp_path):
    files = {Modality.TEXT: [cached(tmp_path, "hidden", np.nan)]}
    features = load_or_stream(files, "abc", [Field.TEXT_HIDDEN], 3, 0, limit_bytes=1.0)
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
    done = extract(posts, backbone, replace(options, cache=Path("whole")), Silence()).file
    lengths = np.diff(done.header.offsets)
    spoilt.longest = int(lengths.max())
    hit = done.header.ids[int(lengths.argmax())]
    monkeypatch.setattr(TinyText, "encode", spoilt)
    if odd == 1e5 and dtype is StoredDtype.FLOAT32:
        assert len(extract(posts, backbone, options, Silence()).file.header.ids) == 9
        return
    with pytest.raises(CacheError, match=f"tiny-text are not finite in {dtype}") as caught:
        extract(posts, backbone, options, Silence())
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


@pytest.mark.parametrize("name", HEADS.names)
@pytest.mark.parametrize("odd", ODD)
def test_weights_that_are_no_numbers_are_refused(name, odd):
    config, state = checkpoint(name)
    assert load_recorded(config, state, "here").sizes == SIZES
    key = next(key for key, value in state.items() if value.is_floating_point() and value.numel())
    state[key].view(-1)[0] = odd
    with pytest.raises(RunError, match=r"weights that no training leaves \(here\).*NaN"):
        load_recorded(config, state, "here")


def test_infinity_is_a_threshold_but_nan_is_none():
    config, state = checkpoint("boosting", depth=1)
    state["features"] = torch.zeros(2, 3, 1, dtype=torch.int64)
    state["thresholds"] = torch.full((2, 3, 1), torch.inf)
    state["leaves"] = torch.zeros(2, 3, 2)
    load_recorded(config, state, "here")
    state["thresholds"][1, 2, 0] = torch.nan
    with pytest.raises(RunError, match="thresholds"):
        load_recorded(config, state, "here")
    state["thresholds"][1, 2, 0] = 0.0
    for wrong in (-1, 11):
        state["features"][1, 2, 0] = wrong
        with pytest.raises(RunError, match="features, which names others than the 11"):
            load_recorded(config, state, "here")


@pytest.mark.parametrize(
    ("field", "value"),
    [("text_width", 10**6), ("image_width", 7), ("classes", 4), ("text_layers", [[2, 6]])],
)
def test_sizes_that_a_checkpoint_has_not_are_refused_before_memory_is_taken(field, value):
    config, state = checkpoint("cmac")
    config["sizes"] |= {field: value}
    with pytest.raises(RunError, match=r"does not fit head 'cmac'.* for \["):
        load_recorded(config, state, "here")


def test_more_members_than_a_checkpoint_has_are_refused():
    config, state = checkpoint("text")
    config["seeds"] = list(range(10_000))
    member = {f"members.0.{key}": value for key, value in state.items()}
    with pytest.raises(RunError, match="1 members for 10000 seeds"):
        load_recorded(config, member, "here")
    with pytest.raises(RunError, match="of no member of an ensemble"):
        load_recorded(config, state, "here")


@pytest.mark.parametrize("odd", ODD)
def test_logits_that_are_no_numbers_are_no_predictions(odd):
    head = build_head("text", SIZES, 0)
    vectors = torch.randn(5, 6)
    features = ResidentFeatures(tuple("abcde"), SIZES, text_pooled=vectors)
    assert predict_probabilities(head, features, torch.tensor([4, 1])).shape == (2, 3)
    vectors[1, 0] = odd
    with pytest.raises(RunError, match=r"no finite answer for 1 posts.*posts b\."):
        predict_probabilities(head, features, torch.tensor([4, 1]))


def test_backbones_of_no_numbers_are_refused():
    module = torch.nn.Linear(2, 2)
    state = {key: value.clone() for key, value in module.state_dict().items()}
    fill(module, state, Path("good"))
    state["weight"][0, 0] = torch.nan
    with pytest.raises(BackboneError, match=r"NaN or infinite \(bad\)\. Found weight"):
        fill(module, state, Path("bad"))


@pytest.mark.parametrize("values", [[np.nan], [np.inf], [1e16]])
def test_solvers_refuse_what_they_cannot_square(values):
    require_bounded(np.array([[-1e15, 1.0]]))
    with pytest.raises(DataError, match="too large for a solver"):
        require_bounded(np.array([values]))


@pytest.mark.usefixtures("workplace")
@pytest.mark.parametrize("head", ["native-cat", "boosting"])
def test_a_run_whose_checkpoint_is_no_numbers_is_not_asked(head):
    experiment = prepare(DataChoice(), CacheChoice(), needs_of([head]))
    run = save_run(experiment, run_head(experiment, head, {}, TRAINING), TRAINING, Path("runs"))
    path = run.path / "head.safetensors"
    state = load_file(path)
    state["leaves" if head == "boosting" else "text_pooled_mean"].view(-1)[0] = torch.nan
    save_file(state, path)
    with pytest.raises(RunError, match="weights that no training leaves"):
        load_head(run, "cpu")
    assert json.loads((run.path / "metrics.json").read_text())
