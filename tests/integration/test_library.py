"""The library from outside, as a notebook uses it, beside the command line on the same posts."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mvsa_pipe as mv
from mvsa_pipe.errors import (
    CacheError,
    ConfigError,
    DataError,
    MvsaError,
    RunError,
    UnknownNameError,
)
from mvsa_pipe.export import load_exported
from mvsa_pipe.features.batch import POOLED, Field

TINY = ["tiny-text", "tiny-image"]
# What differs between two runs of the same work.
CLOCKS = {"seconds", "scoring_seconds", "peak_memory_bytes", "written", "energy_joules"}


@pytest.fixture(scope="module")
def opened(pipeline):
    posts = mv.read_posts(str(pipeline / "data"))
    caches = mv.extract(posts, TINY, cache=str(pipeline / "cache"))
    return mv.load(posts, caches, split="random-8:1:1")


@pytest.fixture(scope="module")
def run(opened, tmp_path_factory):
    return mv.fit(opened, "native-cat", epochs=2, runs=tmp_path_factory.mktemp("runs"))


def settled(path, name):
    record = json.loads((path / name).read_text())
    return {key: value for key, value in record.items() if key not in CLOCKS}


def test_importing_the_package_imports_nothing_heavy():
    script = (
        "import sys, mvsa_pipe\n"
        "assert 'bench' in dir(mvsa_pipe)\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not {"numpy", "torch", "pandas", "rich", "PIL"} & set(done.stdout.split())


def test_every_public_name_can_be_had_and_no_room_has_its_name():
    for name in mv.__all__:
        assert getattr(mv, name) is getattr(mv, name)
    rooms = {path.stem for path in Path(mv.__file__).parent.iterdir()}
    assert not rooms & set(mv.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        mv.nothing  # noqa: B018


@pytest.mark.usefixtures("workplace")
def test_the_ten_lines():
    posts = mv.read_posts("data")
    caches = mv.extract(posts, TINY)
    data = mv.load(posts, caches, split="random-8:1:1")
    run = mv.fit(data, "dual-attention", seed=0, epochs=1)
    assert "f1_macro" in run.scores["test"].to_frame()["score"].tolist()
    answer = run.predict(texts=["What a day!"], images=["data/data/1.jpg"])
    assert answer.to_frame()["prediction"].isin(posts.classes).all()
    table = mv.bench(data, heads=["basic", "gated"], seeds=2, epochs=1)
    found = mv.compare(run, *table.runs)
    assert len(found.to_frame()) == 5
    assert found.verdict
    assert table.to_frame()["head"].tolist() == ["basic", "gated"]
    assert " leads with " in table.verdict[0]


@pytest.mark.usefixtures("workplace")
def test_a_fit_is_that_of_the_command_line_digit_for_digit(mvsa):
    words = ["--epochs", "2", "--seed", "3", "--name", "typed", "--set", "hidden=16"]
    assert mvsa("fit", "--head", "native-cat", *words).exit_code == 0
    posts = mv.read_posts("data")
    data = mv.load(posts)
    run = mv.fit(data, "native-cat", seed=3, epochs=2, name="called", hidden=16)
    typed, called = Path("runs/typed"), run.path
    for name in ("predictions.csv", "split.csv", "history.jsonl", "head.safetensors"):
        assert (typed / name).read_bytes() == (called / name).read_bytes(), name
    for name in ("metrics.json", "config.json"):
        assert settled(typed, name) == settled(called, name)


@pytest.mark.usefixtures("workplace")
def test_a_bench_finds_the_runs_of_the_command_line(mvsa):
    words = ["--head", "basic", "--seeds", "2", "--epochs", "1"]
    assert mvsa("bench", *words).exit_code == 0
    before = {path: path.stat().st_mtime_ns for path in Path("runs").glob("*/metrics.json")}
    data = mv.load(mv.read_posts("data"), split="auto")
    table = mv.bench(data, ["basic"], seeds=2, epochs=1)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert {run.path for run in table.runs} == {path.parent for path in before}


def test_data_answers_for_itself(opened):
    assert opened.parts == {"train": 80, "val": 10, "test": 10}
    assert opened.to_frame()["train"].sum() == 80
    assert "80 train, 10 val, 10 test" in repr(opened)
    text, image, labels = opened.arrays("val")
    assert text.shape[0] == image.shape[0] == len(labels) == 10
    assert set(labels) <= set(opened.posts.classes)
    assert len(opened.arrays()[2]) == 100
    assert opened.features("text_hidden").sizes.text_width == text.shape[1]
    report = opened.check()
    assert report.tag == opened.protocol
    assert "nothing here would spoil" in report._repr_html_()
    with pytest.raises(ConfigError, match="part cannot be used"):
        opened.arrays("dev")
    with pytest.raises(ConfigError, match="no such feature"):
        opened.features("words")


def test_features_are_read_once_for_heads_of_one_kind(opened):
    first = opened.experiment(Field)
    assert opened.experiment(POOLED) is first
    alone = opened.experiment({Field.TEXT_POOLED})
    assert [modality.value for modality in alone.files] == ["text"]


def test_a_run_answers_for_itself(run, opened):
    assert "native-cat" in repr(run)
    assert len(repr(run).splitlines()) == 1
    assert repr(run.scores["test"]).startswith("<Scores of 10 posts: accuracy")
    assert run.scores["test"]["accuracy"] == run.metrics["scores"]["test"]["values"]["accuracy"]
    assert run.history.to_frame()["epoch"].tolist() == [0, 1]
    frame = run.predictions().to_frame()
    assert frame["split"].tolist() == ["val"] * 10 + ["test"] * 10
    assert frame["p_negative"].between(0, 1).all()
    assert "<table>" in run._repr_html_()
    again = run.evaluate(opened.posts, cache=opened.caches.folder)
    assert again.scores == run.scores["test"]
    assert mv.evaluate(str(run.path), cache=opened.caches.folder).scores == again.scores
    assert mv.open_run(run.path) == run


def test_a_run_predicts_pictures_in_any_form(run, pipeline):
    path = pipeline / "data" / "data" / "1.jpg"
    picture = Image.open(path).convert("RGB")
    forms = [path, str(path), picture, np.asarray(picture), path.read_bytes()]
    answer = run.predict(texts=["fine"] * len(forms), images=forms)
    shares = {tuple(row.probabilities) for row in answer.predictions}
    assert len(answer.predictions) == 5
    assert np.ptp([*shares], axis=0).max() < 1e-5


def test_nothing_is_written_where_no_terminal_is(run, opened, capfd):
    mv.evaluate(run, cache=opened.caches.folder)
    assert capfd.readouterr() == ("", "")


def test_a_run_is_exported(run, tmp_path):
    done = run.export(str(tmp_path / "out"), onnx=False)
    assert "head.safetensors" in done.files
    assert load_exported(tmp_path / "out").classes == ("negative", "neutral", "positive")


def test_posts_that_cannot_be_read_are_told_beside_the_others(run, tmp_path):
    (tmp_path / "no.jpg").write_text("no picture")
    answer = run.predict(texts=["a", "b"], images=[tmp_path / "no.jpg", Image.new("RGB", (40, 40))])
    assert [row.post_id for row in answer.predictions] == ["2"]
    assert answer.faults == {"1": "A file is no picture"}
    assert "post 1: A file is no picture" in repr(answer)


def test_features_as_tensors_are_those_of_a_new_cache(pipeline, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    posts = mv.read_posts(pipeline / "data")
    some = posts.posts[:8]
    batch = mv.extract(
        texts=[post.text for post in some],
        images=[pipeline / "data" / str(post.image) for post in some],
        backbones=TINY,
    )
    assert list(tmp_path.iterdir()) == []
    assert batch.text_pooled.shape == (8, 384)
    assert batch.text_hidden.shape[:2] == batch.text_mask.shape
    data = mv.load(posts, pipeline / "cache")
    text, image, _ = data.arrays()
    places = [data.features().post_ids.index(post.id) for post in some]
    assert np.abs(batch.text_pooled.numpy() - text[places]).max() < 2e-3  # float16, other padding
    assert np.abs(batch.image_pooled.numpy() - image[places]).max() < 2e-3


def test_pooled_vectors_alone_serve_heads_that_read_no_tokens(pipeline, tmp_path):
    posts = mv.read_posts(pipeline / "data")
    caches = mv.extract(posts, TINY, keep="pooled", cache=tmp_path / "cache")
    data = mv.load(posts, caches)
    run = mv.fit(data, "native-cat", epochs=1, runs=tmp_path / "runs")
    assert run.scores["test"] is not None
    with pytest.raises(CacheError, match=r"Head 'cmac' reads hidden states.*--keep all"):
        mv.fit(data, "cmac", epochs=1, runs=tmp_path / "runs")
    table = mv.bench(data, ["native-cat"], seeds=1, epochs=1, runs=tmp_path / "runs")
    assert len(table.runs) == 1
    batch = mv.extract(texts=["so", "good"], backbones=["tiny-text"], keep="pooled")
    assert batch.text_hidden is None
    assert batch.text_pooled.shape == (2, 384)
    with pytest.raises(ConfigError, match="--keep pooled keeps no hidden states"):
        mv.extract(texts=["so"], backbones=["tiny-text"], keep="pooled", layers="last4")


def refusals(opened, run):
    """Calls that are refused, and what the message must say."""
    return [
        (lambda: mv.fit(opened, "dual-atention"), UnknownNameError, "dual-attention"),
        (lambda: mv.fit(opened, "basic", epoch=3), ConfigError, "did you mean epochs"),
        (lambda: mv.fit(opened, "basic", epochs=0), ConfigError, "from 1 to"),
        (lambda: mv.fit(opened, "basic", epochs="3"), ConfigError, "a whole number"),
        (lambda: mv.fit(opened, "basic", seed=True), ConfigError, "a whole number"),
        (lambda: mv.fit(opened, "basic", seeds=3), ConfigError, "ensemble=True"),
        (lambda: mv.fit(opened, "basic", schedule="linear"), ConfigError, "cosine, constant"),
        (lambda: mv.fit(opened, "basic", width="wide"), ConfigError, "width"),
        (lambda: mv.fit(opened, 3), ConfigError, "head cannot be used"),
        (lambda: mv.bench(opened, ["basic"], width=3), ConfigError, "no option 'width'"),
        (lambda: mv.bench(opened, ["nope"]), UnknownNameError, "nope"),
        (lambda: mv.compare(run), ConfigError, "two different runs"),
        (lambda: mv.compare(run, 5), ConfigError, "a run, or its folder"),
        (lambda: mv.open_run("nowhere"), RunError, "no run here"),
        (lambda: mv.read_posts("nowhere"), DataError, "nothing at this path"),
        (lambda: mv.read_posts(5), ConfigError, "a path"),
        (lambda: mv.read_posts(".", labels="both"), ConfigError, "consolidated"),
        (lambda: mv.extract(opened.posts, []), ConfigError, "no backbone"),
        (lambda: mv.extract(opened.posts, ["brt"]), UnknownNameError, "bert"),
        (lambda: mv.extract(backbones=["bert"]), ConfigError, "neither"),
        (lambda: mv.extract(texts="one", backbones=["bert"]), ConfigError, "a list"),
        (lambda: mv.extract(opened.posts, ["bert"], tokens=3), ConfigError, "max_tokens"),
        (lambda: mv.load(opened.posts, folder="x"), ConfigError, "no option 'folder'"),
        (lambda: mv.load(opened.posts, ["resnet50", "dinov2"]), ConfigError, "image="),
        (lambda: mv.load(opened.posts, split="sometimes"), MvsaError, "names no split"),
        (lambda: run.predict(), ConfigError, "Nothing to predict"),
        (lambda: run.predict(texts=["a"]), ConfigError, "image of a post"),
        (lambda: run.predict(texts=["a"], images=["x", "y"]), ConfigError, "one entry a post"),
        (lambda: run.predict(texts=[0.5], images=["x"]), DataError, "the number 0.5"),
        (lambda: run.evaluate(part="dev"), MvsaError, "not a part"),
    ]


@pytest.mark.parametrize("number", range(30))
def test_what_cannot_be_done_is_told_in_one_paragraph(opened, run, number, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call, kind, says = refusals(opened, run)[number]
    with pytest.raises(kind, match=says) as caught:
        call()
    assert "\n" not in str(caught.value)
