"""``mvsa data check`` and ``--split`` from outside."""

import json
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

CLASSES = ("negative", "neutral", "positive")


def picture(number):
    buffer = BytesIO()
    Image.new("RGB", (16 + number % 5, 16), (number, 99, 255 - number)).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture
def table(tmp_path, monkeypatch):
    """Writes ``NAME.csv`` with a post for each label, and its pictures, in the working folder."""
    monkeypatch.chdir(tmp_path)

    def write(name, labels, first=0):
        path = Path(f"{name}.csv")
        path.parent.mkdir(exist_ok=True)
        rows = ["id,text,image,label"]
        for n, label in enumerate(labels, start=first):
            (path.parent / f"{n}.jpg").write_bytes(picture(n))
            rows.append(f"{n},words of {n},{n}.jpg,{label}")
        path.write_text("\n".join(rows) + "\n")
        return path

    return write


def test_a_published_split_is_checked_and_named(mvsa, table):
    table("set/train", CLASSES * 4)
    table("set/test", CLASSES[:2] * 2, first=50)
    result = mvsa("data", "check", "set", "--json")
    record = json.loads(result.stdout)
    assert record["tag"].endswith("/published+val-random-9:1:0/seed-0")
    assert record["absent_classes"] == {"train": [], "val": [], "test": ["positive"]}
    assert record["spoilers"] == ["Without a post in test: 1 class (positive)."]
    assert result.exit_code == 1
    drawn = mvsa("data", "check", "set", "--split", "random-6:2:2")
    assert "/random-6:2:2/seed-0" in drawn.stdout
    assert "is not used: --split published" in drawn.stderr
    assert drawn.exit_code == 0


def test_what_spoils_is_shown_and_in_the_record(mvsa, table):
    path = table("posts", ["1", "1.0", "None"] * 4)
    shown = mvsa("data", "check", path)
    record = json.loads(mvsa("data", "check", path, "--json").stdout)
    assert shown.exit_code == 1
    assert "no faults that spoil results" not in shown.stdout
    assert len(record["doubtful_labels"]) == len(record["spoilers"]) == 2
    assert mvsa("data", "check", table("sound", CLASSES * 3)).exit_code == 0


@pytest.mark.parametrize("seed", ["-1", "4294967296", "1" * 40])
@pytest.mark.parametrize("split", [[], ["--split", "random-8:2"]])
def test_seeds_out_of_bounds(refused, table, seed, split):
    table("posts", CLASSES * 4)
    for verb in (["data", "check", "posts.csv"], ["fit", "--data", "posts.csv", "--head", "text"]):
        drawn = split or ["--split", "random-8:1:1"]
        text = refused(*verb, *drawn, "--split-seed", seed)
        assert "0 to 4294967295" in text


def test_a_split_that_is_not_published(refused, table):
    text = refused("data", "check", table("posts", CLASSES * 4), "--split", "published")
    assert "has no published split" in text


def test_folds_of_line_numbers(mvsa, refused, table):
    path = table("posts", CLASSES * 4)
    numbers = {"negative": 2, "neutral": 0, "positive": 1}
    (path.parent / "folds").mkdir()
    rows = [f"{11 - n},{numbers[CLASSES[(11 - n) % 3]]},0,0" for n in range(12)]
    Path("folds/valid_pairlist.txt").write_text("\n".join(rows))
    Path("folds/splits").mkdir()
    for fold in (1, 2):
        for part, lines in {"train": range(6), "val": range(6, 9), "test": range(9, 12)}.items():
            text = "".join(f"{(n + fold) % 12}\n" for n in lines)
            Path(f"folds/splits/{part}_{fold}.txt").write_text(text)
    record = json.loads(mvsa("data", "check", path, "--split", "folds:2", "--json").stdout)
    assert record["tag"].endswith("/folds/fold-2")
    assert record["split_labels"]["test"] == {"negative": 1, "neutral": 1, "positive": 1}
    assert "one of 1, 2" in refused("data", "check", path, "--split", "folds")
    Path("folds/valid_pairlist.txt").unlink()
    assert "line numbers" in refused("data", "check", path, "--split", "folds/splits:1")
