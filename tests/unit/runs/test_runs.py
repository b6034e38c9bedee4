"""Run folders: whole or absent, readable again, clear when they are not."""

import csv
import json
import os

import numpy as np
import pytest
from run_records import config_of

from mvsa_pipe.errors import ConfigError, RunError, StorageError
from mvsa_pipe.runs import (
    Member,
    RunContents,
    checked_run_name,
    free_name,
    open_run,
    predictions_of,
    refuse_taken,
    require_writable,
    split_table,
    write_run,
)

CLASSES = ("negative", "neutral", "positive, or so")
SHARES = np.array([[0.2, 0.5, 0.3], [0.7, 0.2, 0.1]], np.float32)
MEMBERS = [Member("1", "train", "neutral"), Member('a "b", c', "test", "negative")]
CONFIG = config_of(CLASSES) | {"note": "ümlaut"}
METRICS = {"protocol": CONFIG["protocol"], "score": 0.1 + 0.2}
FILES = {
    "config.json",
    "metrics.json",
    "history.jsonl",
    "head.safetensors",
    "predictions.csv",
    "split.csv",
}


def write(path, **changed):
    contents = {
        "config": CONFIG,
        "metrics": METRICS,
        "history": [{"epoch": 0}, {"epoch": 1}],
        "model": {"head.safetensors": b"weights"},
        "predictions": predictions_of(
            ["1", 'a "b", c'], ["val", "test"], ["neutral", "negative"], SHARES, CLASSES
        ),
        "split": split_table(MEMBERS),
    }
    return write_run(path, RunContents(**(contents | changed)))


def test_a_run_reads_as_it_was_written(tmp_path):
    written = write(tmp_path / "runs" / "one")
    run = open_run(tmp_path / "runs" / "one")
    assert {path.name for path in run.path.iterdir()} == FILES
    assert run.config == written.config
    assert run.metrics == METRICS
    assert run.members() == MEMBERS
    assert run.checkpoint("head.safetensors") == b"weights"
    lines = (run.path / "history.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [0, 1]


def test_predictions_are_a_plain_table(tmp_path):
    path = write(tmp_path / "one").path / "predictions.csv"
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[1]["post_id"] == 'a "b", c'
    assert [row["prediction"] for row in rows] == ["neutral", "negative"]
    assert [float(row["p_positive, or so"]) for row in rows] == pytest.approx([0.3, 0.1])


def test_others_may_read_a_run(tmp_path):
    assert write(tmp_path / "one").path.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("call", ["mkdir", "rename", "fsync"])
def test_a_run_is_whole_or_absent(tmp_path, monkeypatch, call):
    def refuse(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    runs = tmp_path / "runs"
    runs.mkdir()
    if call == "fsync":
        monkeypatch.setattr(os, "fsync", refuse)
    elif call == "mkdir":
        monkeypatch.setattr("pathlib.Path.mkdir", refuse)
    else:
        monkeypatch.setattr("pathlib.Path.rename", refuse)
    with pytest.raises(StorageError, match=r"disk is full"):
        write(runs / "one")
    assert list(runs.iterdir()) == []


def test_an_interrupted_write_leaves_nothing(tmp_path):
    def history():
        yield {"epoch": 0}
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "one", history=history())
    assert list(tmp_path.iterdir()) == []


def test_a_name_is_never_taken_twice(tmp_path):
    write(tmp_path / "one")
    before = (tmp_path / "one" / "metrics.json").read_bytes()
    with pytest.raises(RunError, match=r"exists already.*--name"):
        write(tmp_path / "one", metrics={})
    with pytest.raises(RunError):
        refuse_taken(tmp_path / "one")
    assert (tmp_path / "one" / "metrics.json").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_who_comes_second_at_the_same_moment_is_refused(tmp_path, monkeypatch):
    """The other process puts its run there after this one looked."""
    monkeypatch.setattr("mvsa_pipe.runs.writing.refuse_taken", lambda _: None)
    write(tmp_path / "one")
    with pytest.raises(RunError, match=r"exists already"):
        write(tmp_path / "one", metrics={})
    assert open_run(tmp_path / "one").metrics
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_free_names_count_up(tmp_path):
    assert free_name(tmp_path, "a") == "a"
    for taken, following in (("a", "a-2"), ("a-2", "a-3")):
        (tmp_path / taken).mkdir()
        assert free_name(tmp_path, "a") == following


@pytest.mark.parametrize("name", ["", " ", ".", "..", ".hidden", "a/b", "../a", "/a", "a\\b"])
def test_a_run_cannot_be_named_as_a_path(name):
    with pytest.raises(ConfigError, match=r"--name"):
        checked_run_name(name)


def test_a_run_may_have_any_other_name():
    assert checked_run_name("mein Lauf [1], 50 %") == "mein Lauf [1], 50 %"


def test_a_folder_that_cannot_be_written_is_found_out_at_once(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        require_writable(tmp_path / "file")
    require_writable(tmp_path / "new" / "folder")
    assert list((tmp_path / "new" / "folder").iterdir()) == []


def test_a_missing_checkpoint_is_named(tmp_path):
    run = write(tmp_path / "one")
    (run.path / "head.safetensors").unlink()
    with pytest.raises(RunError, match=r"no checkpoint.*head\.safetensors.*mvsa fit"):
        open_run(run.path).checkpoint("head.safetensors")


@pytest.mark.parametrize("name", ["config.json", "metrics.json"])
@pytest.mark.parametrize(
    "content", ["", "{", "[1]", "\ud800", "[" * 100_000, '{"schema": NaN}', None]
)
def test_damaged_json_is_an_error(tmp_path, name, content):
    path = write(tmp_path / "one").path / name
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content.encode("utf-8", "surrogatepass"))
    with pytest.raises(RunError, match=name):
        open_run(tmp_path / "one")


@pytest.mark.parametrize("content", ["", "id,label\n1,a\n", 'id,split,label\n"1,a,b\n', None])
def test_a_damaged_list_of_posts_is_an_error(tmp_path, content):
    path = write(tmp_path / "one").path / "split.csv"
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
    with pytest.raises(RunError, match=r"split\.csv"):
        open_run(tmp_path / "one").members()


def test_another_layout_is_refused(tmp_path):
    path = write(tmp_path / "one").path / "config.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"schema": 1', '"schema": 99'))
    with pytest.raises(RunError, match=r"schema 1.*99"):
        open_run(tmp_path / "one")


@pytest.mark.parametrize("place", ["nowhere", "", "file"])
def test_where_no_run_is_the_runs_nearby_are_named(tmp_path, place):
    write(tmp_path / "runs" / "one")
    (tmp_path / "runs" / "file").write_text("")
    with pytest.raises(RunError, match=r"no run here.*one"):
        open_run(tmp_path / "runs" / place)


@pytest.mark.parametrize(
    ("way", "value"),
    [
        (("sizes", "text_width"), 10**9),
        (("sizes", "width"), 4),
        (("sizes", "classes"), 4),
        (("data", "classes"), ["a", "a", "b"]),
        (("data", "read"), {"columns": "x"}),
        (("data", "read"), {"id_column": 5}),
        (("training", "seed"), -1),
        (("head_options", "hidden"), [4]),
        (("caches",), {"sound": {}}),
        (("caches",), {"text": {"fingerprint": "{"}}),
        (("seeds",), []),
        (("image_grid",), 1.5),
        (("layer_mix",), "some"),
    ],
)
def test_a_configuration_of_another_shape_is_refused(tmp_path, way, value):
    path = write(tmp_path / "one").path / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    *outer, last = way
    holder = config
    for key in outer:
        holder = holder[key]
    holder[last] = value
    path.write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(
        RunError, match=r"config\.json does not have the expected content \(.*config\.json\)"
    ):
        open_run(tmp_path / "one")
