"""Published splits in every shape, and what does not fit."""

import json

import pytest

from mvsa_pipe.errors import SplitError
from mvsa_pipe.posts import parse_split
from mvsa_pipe.posts.splits.split_files import read_split

PARTS = {"train": ["0", "1", "2"], "val": ["3"], "test": ["4", "5"]}


@pytest.fixture
def posts(post_set):
    return post_set(["positive", "negative", "neutral"] * 2)


def write_lists(folder, write, names=("train.txt", "dev.txt", "test.txt")):
    folder.mkdir(parents=True)
    for name, ids in zip(names, PARTS.values(), strict=True):
        (folder / name).write_text(write(ids))
    return folder


def plain(ids):
    return "\n".join(ids) + "\n"


WRITERS = {
    "ids": (plain, ".txt"),
    "crlf": (lambda ids: "\r\n".join(ids) + "\r\n\r\n", ".txt"),
    "header": (lambda ids: "id\n" + plain(ids), ".csv"),
    "guid-tag": (lambda ids: "guid,tag\n" + "".join(f"{i},null\n" for i in ids), ".txt"),
    "json-ids": (lambda ids: json.dumps([int(i) for i in ids]), ".json"),
    "clmlf": (lambda ids: json.dumps([{"id": int(i), "emotion": "x"} for i in ids]), ".json"),
    "jsonl": (lambda ids: "".join(json.dumps({"id": i}) + "\n" for i in ids), ".jsonl"),
    "tsv": (lambda ids: "id\tlabel\n" + "".join(f"{i}\tpositive\n" for i in ids), ".tsv"),
}


@pytest.mark.parametrize("shape", WRITERS)
@pytest.mark.parametrize("val", ["dev", "val", "valid"])
def test_a_folder_of_lists(tmp_path, posts, shape, val):
    write, suffix = WRITERS[shape]
    names = [f"{name}{suffix}" for name in ("train", val, "test")]
    folder = write_lists(tmp_path / "3200-800-511", write, names)
    (folder / "README.md").write_text("x")
    split = read_split(folder, posts)
    assert {part: list(split.ids(part)) for part in PARTS} == PARTS
    assert split.tag == "3200-800-511"
    assert parse_split(str(folder), posts) == split


TABLES = {
    "s.csv": "id,split\n" + "".join(f"{i},{p}\n" for p, ids in PARTS.items() for i in ids),
    "s.tsv": "x\tid\tsplit\n" + "".join(f"0\t{i}\t{p}\n" for p, ids in PARTS.items() for i in ids),
    "s.json": json.dumps(PARTS),
    "s.jsonl": "".join(
        json.dumps({"id": i, "split": p}) + "\n" for p, ids in PARTS.items() for i in ids
    ),
}


@pytest.mark.parametrize("name", TABLES)
def test_one_file_of_ids_and_parts(tmp_path, posts, name):
    (tmp_path / name).write_text(TABLES[name])
    split = read_split(tmp_path / name, posts)
    assert {part: list(split.ids(part)) for part in PARTS} == PARTS
    assert split.tag == "s"


@pytest.mark.parametrize("fold", ["3", "fold3", "fold-03", "Fold_3"])
def test_a_published_fold(tmp_path, posts, fold):
    folder = write_lists(tmp_path / "fair10" / fold, plain)
    assert read_split(folder, posts).tag == "fair10/fold-3"
    with pytest.raises(SplitError, match=r"contains folds.*one of 3\..*fair10:3"):
        read_split(tmp_path / "fair10", posts)


def test_no_test_list_is_fine(tmp_path, post_set):
    folder = write_lists(tmp_path / "s", plain)
    (folder / "test.txt").unlink()
    split = read_split(folder, post_set(["positive"] * 4))
    assert split.sizes() == {"train": 3, "val": 1, "test": 0}


def test_every_fault_is_counted_and_named_at_once(tmp_path, posts):
    folder = tmp_path / "s"
    folder.mkdir()
    (folder / "train.txt").write_text("0\n1\n1\n99\n98\n")
    (folder / "val.txt").write_text("0\n3\n")
    with pytest.raises(SplitError) as caught:
        read_split(folder, posts)
    message = str(caught.value)
    assert "2 ids that the data set lacks: 99, 98" in message
    assert "1 id in two parts: 0" in message
    assert "1 id listed twice in one part: 1" in message
    assert "3 ids of the data set in no part: 2, 4, 5" in message


def test_many_ids_are_named_up_to_ten(tmp_path, posts):
    folder = write_lists(tmp_path / "s", plain)
    with (folder / "train.txt").open("a") as out:
        out.write("".join(f"{n}\n" for n in range(1000, 1500)))
    with pytest.raises(SplitError, match=r"500 ids that.*1009 and 490 more"):
        read_split(folder, posts)


def test_posts_without_a_label_may_stand_in_no_part(tmp_path, post_set):
    folder = write_lists(tmp_path / "s", plain)
    split = read_split(folder, post_set([*["positive"] * 6, None]))
    assert len(split.parts) == 6


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("s.csv", "id,split\n0,train\n1,nowhere\n", "an unknown one"),
        ("s.csv", "id,part2\n0,train\n", "names no part"),
        ("s.csv", "name,split\n0,train\n", "no id column"),
        ("s.csv", "id,split\n0,train,x\n", "3 cells, where the header has 2.*UTF-8"),
        ("s.json", "{", "cannot be read"),
        ("s.json", "3", "has no id"),
        ("s.json", '{"train": [{"name": 1}]}', "has no id"),
        ("s.json", '{"train": [[1]]}', "has no id"),
    ],
)
def test_files_that_are_no_split(tmp_path, posts, name, content, fault):
    (tmp_path / name).write_text(content)
    with pytest.raises(SplitError, match=fault) as caught:
        read_split(tmp_path / name, posts)
    assert name in str(caught.value)


def test_two_lists_of_one_part_are_not_guessed_between(tmp_path, posts):
    folder = write_lists(tmp_path / "s", plain)
    (folder / "val.txt").write_text("3\n")
    with pytest.raises(SplitError, match=r"Two files list the part val.*dev\.txt and val\.txt"):
        read_split(folder, posts)


def test_a_path_with_nothing_there(tmp_path, posts):
    with pytest.raises(SplitError, match="no split at this path"):
        read_split(tmp_path / "none", posts)
