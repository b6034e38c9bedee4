"""Data sets that share a file's name, and posts that changed since a run was made."""

import json
import shutil
from pathlib import Path

import pytest

from mvsa_pipe.posts.synthetic.config import SyntheticConfig
from mvsa_pipe.posts.synthetic.write import write_synthetic

BACKBONES = ("--backbone", "tiny-text", "--backbone", "tiny-image")
LABELS = ("negative", "neutral", "positive")


def write_table(folder: Path, pictures: Path, label_shift: int, text: str) -> Path:
    """Thirty posts with ids 0 to 29 in a table called train.csv."""
    folder.mkdir()
    rows = []
    for k in range(30):
        shutil.copy(sorted(pictures.glob("*.jpg"))[k], folder / f"{k}.jpg")
        rows.append(f"{k},{text} {k},{k}.jpg,{LABELS[(k + label_shift) % 3]}")
    table = folder / "train.csv"
    table.write_text("\n".join(["id,text,image,label", *rows]) + "\n", encoding="utf-8")
    return table


@pytest.fixture
def tables(tmp_path, monkeypatch):
    """Two tables of one name; nothing but ids is the same."""
    monkeypatch.chdir(tmp_path)
    write_synthetic(Path("pictures"), SyntheticConfig(posts=60, image_px=32))
    pictures = Path("pictures/data")
    first = write_table(tmp_path / "first", pictures, 0, "first words")
    for path in sorted(pictures.glob("*.jpg"))[:30]:
        path.unlink()
    return first, write_table(tmp_path / "second", pictures, 1, "other words")


def test_two_tables_of_one_name_are_two_data_sets(tables, mvsa, refused):
    first, second = tables
    for table in (first, second):
        assert mvsa("extract", "--data", table, *BACKBONES).exit_code == 0
    for table in (first, second):  # by turns, and nothing was lost
        result = mvsa("extract", "--data", table, *BACKBONES)
        assert result.stdout.count(": 0 extracted, 30 already cached") == 2
    fit = ("fit", "--head", "native-cat", "--epochs", "1", "--name")
    for name, table in (("a", first), ("b", second)):  # the newest caches are not those of a
        result = mvsa(*fit, name, "--data", table)
        assert result.exit_code == 0, result.output
    tags = [json.loads(Path(f"runs/{n}/metrics.json").read_text())["protocol"] for n in "ab"]
    assert all(tag.startswith("train/30@") for tag in tags)
    assert tags[0] != tags[1]
    assert "protocols differ" in refused("compare", "runs/a", "runs/b", keeps=False)
    said = refused("evaluate", "runs/a", "--data", second, "--split", "test", keeps=False)
    assert "not those of the run's part" in said
    result = mvsa("evaluate", "runs/a", "--data", second, "--json")
    record = json.loads(result.stdout)
    assert record["part"] == "all"
    assert record["scores"]["posts"] == 30
    assert record["protocol"].partition("/random")[0] != tags[0].partition("/random")[0]


def test_an_edited_label_is_no_part_of_a_run(tables, mvsa, refused):
    first, _ = tables
    assert mvsa("extract", "--data", first, *BACKBONES).exit_code == 0
    fit = ("fit", "--data", first, "--head", "text", "--epochs", "1", "--name", "run")
    assert mvsa(*fit).exit_code == 0
    assert mvsa("evaluate", "runs/run").exit_code == 0
    text = first.read_text()
    for label, other in (("negative", "neutral"), ("positive", "neutral")):
        text = text.replace(label, other)
    first.write_text(text)
    said = refused("evaluate", "runs/run", keeps=False)
    assert "posts have another label now" in said
    assert "--split all" in said


@pytest.mark.parametrize("name", ["../../out", "/tmp/out", "a/b", "x" * 300])
def test_a_marker_leads_nowhere(tables, refused, name):
    first, _ = tables
    (first.parent / "mvsa.json").write_text(json.dumps({"name": name}))
    said = refused("extract", "--data", first, *BACKBONES)
    assert "data set's name cannot be used" in said


@pytest.mark.parametrize("name", ["x" * 300, "../out", "a\ud800"])
def test_a_run_name_that_no_folder_can_have(place, refused, name):  # noqa: ARG001
    said = refused("fit", "--data", "data", "--head", "text", "--name", name)
    assert "--name cannot be used" in said
