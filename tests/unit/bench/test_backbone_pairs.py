"""Pairs of backbones in one bench: the same posts for all, and each what it is alone."""

from dataclasses import replace
from pathlib import Path

import pytest

from mvsa_pipe.backbones.options import BackboneOptions
from mvsa_pipe.benches import loaded
from mvsa_pipe.benches.options import BenchOptions
from mvsa_pipe.benches.run import run_bench
from mvsa_pipe.cache.fingerprint import StoredDtype
from mvsa_pipe.errors import ConfigError
from mvsa_pipe.extraction.extract import extract
from mvsa_pipe.extraction.options import BadPostPolicy, ExtractOptions
from mvsa_pipe.posts import read_posts
from mvsa_pipe.progress import NoProgress
from mvsa_pipe.runs.options import CacheChoice, DataChoice
from mvsa_pipe.runs.prepare import needs_of, prepare
from mvsa_pipe.training.options import TrainingOptions

TRAINING = TrainingOptions(epochs=2, device="cpu")
OPTIONS = BenchOptions(heads=("text", "native-cat"), seeds=2)


class Listening(NoProgress):
    def __init__(self):
        self.lines, self.total, self.done = [], 0, 0

    def start(self, _, total, *__, **___):
        self.total = total

    def expect(self, total):
        self.total = total

    def advance(self, count):
        self.done += count

    def say(self, line):
        self.lines.append(line)


def bench(caches, options=OPTIONS, progress=None, **where):
    return run_bench(DataChoice(), caches, options, TRAINING, progress or NoProgress(), **where)


def names(modality):
    files = sorted(Path("cache").glob(f"*/tiny-{modality}*.h5"))
    return [f"tiny-{modality}@{path.stem.split('-')[-2]}" for path in files]


@pytest.fixture
def texts(workplace):
    """The names of two text caches, whose texts are cut at different lengths."""
    backbone = BackboneOptions("tiny-text", max_tokens=5)
    extract(
        read_posts(workplace / "data"), backbone, ExtractOptions(cache=Path("cache")), NoProgress()
    )
    return names("text")


def test_every_pair_is_what_it_is_alone_and_found_again(texts, monkeypatch):
    both = CacheChoice(text=",".join(texts))
    screen = Listening()
    done = bench(both, progress=screen, runs=Path("runs"))
    assert screen.total == pytest.approx(screen.done) == 8
    assert [(row.pair, row.head) for row in done.rows] == [
        (pair, head) for pair in texts for head in OPTIONS.heads
    ]
    assert done.pairs == [{"text": "tiny-text", "image": "tiny-image"}] * 2
    assert done.backbones == {"text": "tiny-text", "image": "tiny-image"}
    for n, name in enumerate(texts):
        alone = bench(CacheChoice(text=name))
        assert all(row.pair == "" for row in alone.rows)
        own = done.rows[2 * n : 2 * n + 2]
        assert [row.mean for row in own] == [row.mean for row in alone.rows]
        assert [row.pair for row in done.ensembles[2 * n : 2 * n + 2]] == [name, name]
    ids = [{part: own.ids for part, own in run.predictions.items()} for run in done.runs]
    assert all(each == ids[0] for each in ids)
    monkeypatch.setattr(loaded, "try_run_heads", None)  # nothing is trained again
    assert [row.mean for row in bench(both, runs=Path("runs")).rows] == [
        row.mean for row in done.rows
    ]


def test_splits_and_settings_are_the_same_for_every_pair(texts):
    options = replace(OPTIONS, heads=("text",), resplit=True, vary=("dropout=0.1,0.3",))
    done = bench(CacheChoice(text=",".join(texts)), options)
    assert [(row.pair, row.setting) for row in done.rows] == [
        (pair, f"dropout={rate}") for pair in texts for rate in (0.1, 0.3)
    ]
    for first, second in zip(done.runs[:4], done.runs[4:], strict=True):
        assert first.metrics["protocol"] == second.metrics["protocol"]
        assert first.predictions["test"].ids == second.predictions["test"].ids


def test_posts_that_one_pair_lacks_are_left_out_for_all(workplace):
    (first,) = names("image")
    (workplace / "data" / "data" / "7.jpg").write_bytes(b"no picture")
    extract(
        read_posts(workplace / "data"),
        BackboneOptions("tiny-image"),
        ExtractOptions(
            cache=Path("cache"), dtype=StoredDtype.FLOAT32, on_bad_post=BadPostPolicy.SKIP
        ),
        NoProgress(),
    )
    (second,) = set(names("image")) - {first}
    screen = Listening()
    options = replace(OPTIONS, heads=("native-cat",), seeds=1)
    done = bench(CacheChoice(image=f"{first},{second}"), options, screen)
    assert [run.metrics["left_out"] for run in done.runs] == [["7"], ["7"]]
    assert done.runs[0].predictions["test"].ids == done.runs[1].predictions["test"].ids
    assert sum("left out" in line for line in screen.lines) == 2


@pytest.mark.usefixtures("workplace")
def test_what_cannot_be_compared_is_refused(texts):
    several = CacheChoice(image="tiny-image,resnet50")
    with pytest.raises(ConfigError, match="--image names several backbones, but no head"):
        bench(several, replace(OPTIONS, heads=("text",)))
    with pytest.raises(ConfigError, match=r"several backbones to compare.*mvsa bench"):
        prepare(DataChoice(), several, needs_of(["native-cat"]))
    with pytest.raises(ConfigError, match=r"same caches under different names"):
        bench(CacheChoice(text=f"tiny-text,{texts[0]},{texts[1]}"))
    for name in ("tiny-image,", ",", "tiny-image,tiny-image", "tiny-image,a+a"):
        with pytest.raises(ConfigError, match="--image cannot be used"):
            CacheChoice(image=name)


@pytest.mark.usefixtures("workplace")
def test_heads_that_train_alone_are_named_with_the_reason():
    screen = Listening()
    heads = ("text", "logistic", "dual-attention", "cmac-faithful", "svm")
    bench(CacheChoice(), replace(OPTIONS, heads=heads), screen)
    (line,) = [line for line in screen.lines if "one by one" in line]
    assert line == (
        "trained one by one: heads set by a solver (logistic, svm); heads that read tokens, "
        "each of which uses a whole CPU core (dual-attention); heads whose predictions depend on "
        "their batch (cmac-faithful)"
    )
    silent = Listening()
    bench(CacheChoice(), replace(OPTIONS, heads=("text",)), silent)
    bench(CacheChoice(), replace(OPTIONS, heads=("logistic",), seeds=1), silent)
    assert not any("one by one" in line for line in silent.lines)
    asked = DataChoice(), CacheChoice(), replace(OPTIONS, heads=("logistic",), seeds=1)
    run_bench(*asked, replace(TRAINING, compiled=True), silent)
    assert "trained one by one, uncompiled: heads set by a solver (logistic)" in silent.lines


def test_a_head_of_one_modality_is_trained_once_for_all_pairs(texts):
    image = names("image")
    extract(
        read_posts(Path("data")),
        BackboneOptions("tiny-patches"),
        ExtractOptions(cache=Path("cache")),
        NoProgress(),
    )
    images = [*image, "tiny-patches"]
    screen = Listening()
    options = BenchOptions(heads=("text", "image", "native-cat"), seeds=2, blend=True)
    caches = CacheChoice(text=",".join(texts), image=",".join(images))
    done = bench(caches, options, progress=screen)
    pairs = [f"{text} + {image}" for text in texts for image in images]
    assert sorted((row.head, row.pair) for row in done.rows) == sorted(
        [("text", name) for name in texts]
        + [("image", name) for name in images]
        + [("native-cat", pair) for pair in pairs]
    )
    assert len(done.runs) == 2 * len(done.rows)
    assert screen.total == pytest.approx(screen.done) == 2 * len(done.rows)
    blends = {row.head: row for row in done.blends}
    assert {head: list(row.weights) for head, row in blends.items()} == {
        "text": texts,
        "image": images,
        "native-cat": pairs,
    }
    for row in done.blends:
        assert sum(row.weights.values()) == pytest.approx(1, abs=1e-3)
        assert row.seeds == 2
        assert row.pair == f"blend of {len(row.weights)}"
        assert row.mean.keys() == done.rows[0].mean.keys()


def test_one_pair_cannot_be_blended(texts):
    with pytest.raises(ConfigError, match="--text A,B or --image A,B"):
        bench(CacheChoice(text=texts[0]), BenchOptions(heads=("text",), blend=True))
