"""Posts, labels, pictures and splits that are wrong: one paragraph, exit code 2, nothing lost."""

import json
import re
import shutil
import zipfile
from pathlib import Path

import pytest

EXTRACT = ("extract", "--partner", "none", "--backbone")
FIT = ("fit", "--head", "native-cat", "--epochs", "1")


def edit(change, path="data/labelResultAll.txt"):
    """Rewrites the label list by its lines, the header included."""
    lines = Path(path).read_text().splitlines()
    Path(path).write_text("\n".join(change(lines)) + "\n")


def add_row(row):
    return lambda lines: [*lines, row]


def new_posts(*rows, header="id,text,image,label", name="new.csv"):
    Path(name).write_text("\n".join([header, *rows]) + "\n")
    return name


@pytest.mark.parametrize("verb", [(*EXTRACT, "tiny-text"), FIT, ("data", "check")])
@pytest.mark.usefixtures("place")
def test_nothing_at_the_path(refused, verb):
    where = ["nowhere"] if verb[0] == "data" else ["--data", "nowhere"]
    text = refused(*verb, *where)
    assert "nothing at this path (nowhere)" in text
    assert "Next: " in text


@pytest.mark.usefixtures("place")
def test_an_empty_folder(refused):
    Path("empty").mkdir()
    text = refused(*EXTRACT, "tiny-text", "--data", "empty")
    assert "This folder is empty (empty)" in text
    assert "--data PATH" in text


@pytest.mark.usefixtures("place")
def test_a_folder_of_something_else(refused):
    Path("other").mkdir()
    Path("other/notes.md").write_text("hello")
    text = refused(*FIT, "--data", "other")
    assert "no known layout" in text
    assert "notes.md" in text
    assert "--format" in text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (add_row("1\tpositive,positive"), ["'1'", "already"]),
        (add_row("777\thappy,positive"), ["happy"]),
        (add_row("777\tpositive"), ["777|line 102"]),
        (add_row("777\tpositive,neutral\tpositive,neutral"), ["line 102"]),
        (lambda lines: [line.split("\t")[0] for line in lines], ["line 2|layout"]),
        (lambda lines: lines[:1], ["no post|without rows|empty"]),
    ],
    ids=["duplicate", "unknown label", "narrow row", "wide row", "missing column", "no rows"],
)
@pytest.mark.usefixtures("place")
def test_a_label_list_that_is_wrong(refused, change, words):
    edit(change)
    text = refused(*FIT)
    for word in words:
        assert re.search(word, text), text
    assert "labelResultAll.txt" in text or "data" in text


@pytest.mark.parametrize(
    ("rows", "header", "words"),
    [
        (["1,a,,pos", "1,b,,neg"], "id,text,image,label", "'1' already occurs in line 2"),
        (["1,a,pos"], "id,text,label", "1 column is missing.*Expected image"),
        (["1,a,,pos,more"], "id,text,image,label", "line 2: 5 cells"),
        (["1,a,,", "2,b,,neg"], "id,text,image,label", "line 2: the label is empty"),
        (["1,a,,Good", "2,b,,good"], "id,text,image,label", "'good' in line 3 beside"),
        (["1,a,../../etc/x.jpg,pos"], "id,text,image,label", "is not in the table's folder"),
        (['1,"never, closed,,pos'], "id,text,image,label", "line 2: unexpected end"),
    ],
    ids=["duplicate", "column", "width", "unlabelled", "case", "outside", "quote"],
)
@pytest.mark.usefixtures("place")
def test_a_table_that_is_wrong(refused, rows, header, words):
    text = refused(*FIT, "--data", new_posts(*rows, header=header))
    assert re.search(words, text), text
    assert "new.csv" in text
    assert "Next: " in text


@pytest.mark.usefixtures("place")
def test_every_bad_row_is_named_at_once(refused):
    rows = [f"{n},text,," for n in range(30)]
    text = refused(*FIT, "--data", new_posts(*rows))
    assert "30 rows cannot be used" in text
    assert "and 20 more" in text


def zipped(name="data.zip", **added):
    with zipfile.ZipFile(name, "w") as archive:
        for path in sorted(Path("data").rglob("*")):
            if path.is_file():
                archive.write(path)
        for entry, content in added.items():
            archive.writestr(entry.replace("__", "../"), content)
    return Path(name)


@pytest.mark.usefixtures("place")
def test_a_zip_is_read_in_place_if_it_is_whole(mvsa, refused):
    whole = zipped()
    assert mvsa(*EXTRACT, "tiny-text", "--data", whole).exit_code == 0
    whole.write_bytes(whole.read_bytes()[:-2000])
    text = refused(*EXTRACT, "tiny-text", "--data", whole)
    assert "cut short (data.zip)" in text
    assert "unzip -t" in text


@pytest.mark.usefixtures("place")
def test_a_zip_that_leaves_its_folder(refused):
    text = refused(*EXTRACT, "tiny-text", "--data", zipped(__evil="x"))
    assert "../evil" in text


@pytest.mark.usefixtures("place")
def test_a_zip_with_a_damaged_entry(refused):
    path = zipped()
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        entry = archive.getinfo("data/data/9.jpg")
    at = entry.header_offset + 30 + len(entry.filename) + 200
    data[at : at + 50] = bytes(50)
    path.write_bytes(data)
    text = refused(*EXTRACT, "tiny-image", "--data", path, "--cache", "new", keeps=False)
    assert re.search(r"1 posts.*\b9: ", text), text


def folds(**parts):
    Path("fold").mkdir()
    for name, ids in parts.items():
        Path(f"fold/{name}.txt").write_text("".join(f"{post_id}\n" for post_id in ids))
    return "fold"


ALL = [str(n) for n in range(1, 101)]


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"train": [*ALL[:80], "9999"], "val": ALL[80:]}, "1 id that the data set lacks: 9999"),
        ({"train": ALL[:81], "val": ALL[80:]}, "1 id in two parts: 81"),
        ({"train": ALL[:80], "val": ALL[80:99]}, "1 id of the data set in no part: 100"),
        ({"train": [*ALL[:80], "1"], "val": ALL[80:]}, "listed twice in one part: 1"),
        ({"train": ALL}, "no list of the part val"),
    ],
    ids=["unknown", "two parts", "no part", "twice", "no val"],
)
@pytest.mark.usefixtures("place")
def test_a_split_that_does_not_fit(refused, parts, words):
    text = refused(*FIT, "--split", folds(**parts))
    assert words in text
    assert "fold" in text


@pytest.mark.usefixtures("place")
def test_a_validation_part_that_is_empty(refused):
    text = refused(*FIT, "--split", folds(train=ALL, val=[]))
    assert re.search("validation|val", text), text
    assert "--split" in text


@pytest.mark.parametrize("split", ["nonsense", "random-8", "random-0:1:1", "random-a:b"])
@pytest.mark.usefixtures("place")
def test_a_split_that_is_none(refused, split):
    text = refused(*FIT, "--split", split)
    assert "split" in text
    assert "random-8:1:1" in text


@pytest.mark.usefixtures("place")
def test_a_class_with_fewer_than_two_posts(refused, mvsa):
    rows = [f"{n},text {n},data/data/{n}.jpg,{'pos' if n % 2 else 'neg'}" for n in range(1, 31)]
    table = new_posts(*rows, "31,text,data/data/31.jpg,rare")
    for name in ("tiny-text", "tiny-image"):
        assert mvsa(*EXTRACT, name, "--data", table).exit_code == 0
    text = refused(*FIT, "--data", table)
    assert "rare: 1" in text
    assert "at least two posts in each class" in text


@pytest.mark.usefixtures("place")
def test_names_and_paths_that_are_unusual_work(mvsa):
    """Spaces, brackets, umlauts, Windows line ends, capitals, leading zeros, commas in ids."""
    folder = Path("sp ace/dätä [/x]")
    folder.mkdir(parents=True)
    rows = []
    for n in range(1, 41):
        post_id = f"{n:03d}" if n <= 20 else str(n - 20)
        image = f"Bild {n} ü.JPG"
        shutil.copy(f"data/data/{n}.jpg", folder / image)
        rows.append(
            f'"{post_id}, [/b]","text {n} gööd 😀",{image},{"Very Good" if n % 2 else "[red]BAD"}'
        )
    text = "\r\n".join(["id,text,image,label", *rows]) + "\r\n"
    (folder / "posts.csv").write_bytes(text.encode())
    where = ["--data", folder, "--cache", "ca che"]
    for name in ("tiny-text", "tiny-image"):
        result = mvsa(*EXTRACT, name, *where)
        assert result.exit_code == 0, result.output
        assert "40 extracted" in result.stdout
    fit = mvsa(*FIT, *where, "--runs", "läufe [/r]", "--name", "lauf [1]")
    assert fit.exit_code == 0, fit.output
    assert "→ [red]BAD" in fit.stdout
    assert "run: läufe [/r]/lauf [1]" in fit.stdout
    again = mvsa("evaluate", "läufe [/r]/lauf [1]", "--cache", "ca che", "--json")
    metrics = json.loads(Path("läufe [/r]/lauf [1]/metrics.json").read_text())
    assert json.loads(again.stdout)["scores"] == metrics["scores"]["test"]
    shown = mvsa("predict", "läufe [/r]/lauf [1]", "--data", folder, "--cache", "ca che")
    assert "001, [/b]" in shown.stdout
    assert mvsa("data", "check", folder, "--split", "random-8:1:1").exit_code in (0, 1)


@pytest.mark.usefixtures("place")
def test_two_data_sets_of_one_name_never_mix(refused, mvsa):
    for folder, offset in (("one", 0), ("two", 40)):
        Path(folder).mkdir()
        rows = []
        for n in range(1, 41):
            shutil.copy(f"data/data/{n + offset}.jpg", f"{folder}/{n}.jpg")
            rows.append(f"{n},{folder} {n},{n}.jpg,{'pos' if n % 2 else 'neg'}")
        new_posts(*rows, name=f"{folder}/posts.csv")
    for name in ("tiny-text", "tiny-image"):
        assert mvsa(*EXTRACT, name, "--data", "one").exit_code == 0
    text = refused(*FIT, "--data", "two")
    assert "mvsa extract --data two" in text
    for name in ("tiny-text", "tiny-image"):
        assert mvsa(*EXTRACT, name, "--data", "two").exit_code == 0
    assert mvsa(*FIT, "--data", "two").exit_code == 0
    assert mvsa(*FIT, "--data", "one").exit_code == 0
