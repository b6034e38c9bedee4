"""The check finds what spoils results, and nothing else."""

import json
from dataclasses import replace

import pytest
from PIL import Image

from mvsa_pipe.posts import Split, random_split, read_posts
from mvsa_pipe.posts.check import check_posts
from mvsa_pipe.posts.storage.base import PICTURE_BYTES
from mvsa_pipe.progress import NoProgress

ROWS = [
    f"{n}\t{label},neutral" for n, label in enumerate(["positive", "neutral", "negative"] * 4, 1)
]


class Counted(NoProgress):
    """The units that each step has advanced by."""

    def __init__(self):
        self.steps, self.last = {}, ""

    def start(self, what, *_, **__):
        self.last = what
        self.steps[what] = 0

    def advance(self, count):
        self.steps[self.last] += count


@pytest.fixture
def folder(write_mvsa):
    return write_mvsa(ROWS)


def test_a_sound_data_set_has_no_spoilers(folder):
    posts = read_posts(folder)
    split = random_split(posts, (2, 1, 1))
    seen = Counted()
    report = check_posts(posts, split, seen)
    assert report.spoilers == ()
    assert report.n_posts == 12
    assert seen.steps == {"comparing pictures": 12, "decoding pictures": 12}
    assert report.tag == f"{posts.protocol}/random-2:1:1/seed-0"
    assert report.labels == {"negative": 4, "neutral": 4, "positive": 4}
    assert report.split_labels["train"] == {"negative": 2, "neutral": 2, "positive": 2}
    assert report.label_pairs == {
        "negative,neutral": 4, "neutral,neutral": 4, "positive,neutral": 4,
    }  # fmt: skip
    assert report.encodings == {"utf-8": 12}
    assert report.duplicates == ()


def test_the_report_is_json(folder):
    posts = read_posts(folder)
    record = check_posts(posts, random_split(posts, (2, 1, 1))).as_record()
    assert json.loads(json.dumps(record))["labels"] == record["labels"]


def test_each_broken_picture_is_named_for_what_it_is(folder, jpeg):
    data = folder / "data"
    (data / "1.jpg").unlink()
    (data / "2.jpg").write_bytes(b"")
    (data / "3.jpg").write_bytes(b"<html>gone</html>")
    (data / "4.jpg").write_bytes(jpeg(4)[:-40])
    (data / "5.jpg").write_bytes(
        b"GIF89a\x60\xea\x60\xea\0\0\0,\0\0\0\0\x60\xea\x60\xea\0\x02\x01\x44\0;"
    )
    Image.new("RGB", (3000, 1)).save(data / "6.jpg")
    report = check_posts(read_posts(folder))
    assert report.images == {
        "missing": ("1",),
        "zero-byte": ("2",),
        "not-an-image": ("3",),
        "truncated": ("4",),
        "oversized": ("5",),
        "narrow": ("6",),
    }
    assert len(report.spoilers) == 6
    assert report.spoilers[0] == "No picture: 1 post (1: data/1.jpg)."


def test_a_picture_that_went_after_reading_is_missing(folder):
    posts = read_posts(folder)
    (folder / "data" / "6.jpg").unlink()
    assert check_posts(posts).images["missing"] == ("6",)


def test_missing_texts_spoil_and_empty_ones_are_reported(folder):
    (folder / "data" / "1.txt").unlink()
    (folder / "data" / "2.txt").write_text(" \n")
    report = check_posts(read_posts(folder))
    assert (report.missing_texts, report.empty_texts) == (("1",), ("2",))
    assert report.spoilers == ("No text: 1 post (1).",)


def test_duplicates_are_reported_and_only_leakage_spoils(folder):
    data = folder / "data"
    (data / "1.txt").write_text("RT @a: the very same")
    (data / "2.txt").write_text("The very same")
    (data / "5.jpg").write_bytes((data / "4.jpg").read_bytes())
    (data / "8.txt").write_text((data / "7.txt").read_text())
    posts = read_posts(folder)
    assert check_posts(posts).spoilers == ()
    parts = dict.fromkeys((post.id for post in posts.posts), "train")
    together = check_posts(posts, Split(parts, "x"))
    assert together.duplicates == (("1", "2"), ("4", "5"), ("7", "8"))
    assert together.conflicting == (("1", "2"), ("4", "5"), ("7", "8"))
    assert together.spoilers == ()
    apart = check_posts(posts, Split({**parts, "2": "test", "5": "val", "8": "val"}, "x"))
    assert apart.leakage.texts == (("1", "2"), ("7", "8"))
    assert apart.leakage.images == (("4", "5"),)
    assert apart.leakage.test_ids == ("2",)
    assert apart.spoilers == (
        "Without a post in val: 2 classes (negative, positive).",
        "Without a post in test: 2 classes (negative, positive).",
        "A text that occurs in more than one part of the split: 2 texts (1+2, 7+8).",
        "A picture that occurs in more than one part of the split: 1 picture (4+5).",
        "Tested although train holds the same text or picture: 1 post (2).",
    )


def test_duplicates_that_mostly_conflict_spoil(tmp_path):
    """The same text about several targets: labels depend on what is not read."""
    rows = [f"{n},same {n // 2},,{'ab'[n % 2]}" for n in range(10)]
    rows += [f"{n},other {n},,a" for n in range(10, 40)]
    path = tmp_path / "posts.csv"
    path.write_text("\n".join(["id,text,image,label", *rows]))
    (finding,) = [line for line in check_posts(read_posts(path)).spoilers if "label" in line]
    assert finding.startswith("The same text or picture under different labels")
    assert "5 groups" in finding


def test_what_stands_in_no_part_or_not_in_train_is_told_apart(folder):
    data = folder / "data"
    for n in (2, 3, 5):
        (data / f"{n}.txt").write_text((data / f"{n - 1 if n != 3 else 1}.txt").read_text())
    posts = read_posts(folder)
    parts = dict.fromkeys((post.id for post in posts.posts), "train") | {"4": "val", "5": "test"}
    del parts["2"], parts["3"]
    report = check_posts(posts, Split(parts, "x"))
    assert report.duplicates == (("1", "2", "3"), ("4", "5"))
    assert report.leakage.texts == (("4", "5"),)
    assert report.leakage.test_ids == ()


def test_a_class_too_small_spoils(write_mvsa):
    report = check_posts(read_posts(write_mvsa(["1\tpositive,neutral", "2\tpositive,neutral"])))
    assert report.spoilers == (
        "Only one class, so there is nothing to classify: 1 class (positive).",
        "Fewer than two posts, so it cannot be divided: 2 classes (negative: 0, neutral: 0).",
        "Fewer than three posts, so absent from val or test: 1 class (positive: 2).",
    )


def spoilers_of(post_set, listed, **changes):
    """What the labels of posts without pictures give, but for the pictures."""
    posts = replace(post_set(listed, classes=tuple(sorted(set(listed)))), **changes)
    return [s for s in check_posts(posts).spoilers if not s.startswith("No picture")]


SIX = [word for word in ("positive", "negative") for _ in range(6)]


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (["positive"] * 12, ["Only one class, so there is nothing to classify: 1 class"]),
        (["NA", "None", "yes"] * 4, ["named like a missing value: 2 classes (NA, None)"]),
        (["NaN", "n/a", "<NA>", "Null", "yes"] * 3, ["named like a missing value: 4 classes"]),
        (["1", "1.0", "01", "2"] * 3, ["the same number: 1 class ('01' = '1' = '1.0')"]),
        (["+1", "1", "-1"] * 3, ["the same number: 1 class ('+1' = '1')"]),
        (["0,5", "0.5", "2"] * 3, ["the same number: 1 class ('0,5' = '0.5')"]),
        (
            ["very bad", "very_bad", "'very bad'", "good"] * 3,
            ['differ only in blanks, hyphens or quotes: 1 class ("\'very bad\'" = \'very bad\''],
        ),
        ([f"{n / 8}" for n in range(12)] * 3, ["Fractions on a scale for classes"]),
        (
            [f"label {n}" for n in range(12)] + ["label 0"] * 6,
            ["More classes than half the posts", "Fewer than two posts", ],
        ),
        (["yes", "no"] * 3 + ["rare"] * 2, ["Fewer than three posts, so absent from val or test"]),
        (SIX, []),
        (["-1", "0", "1"] * 3, []),
        ([f"{n / 2}" for n in range(1, 11)] * 3, []),
        ([f"{n}.0" for n in range(12)] * 3, []),
        ([str(n) for n in range(12)] * 3, []),
        (["+", "-"] * 3, []),
        (["😀", "😡"] * 3, []),
        (["very bad", "bad", "not-bad"] * 3, []),
        ([str(10**60), str(10**60 + 1)] * 3, []),
    ],
)  # fmt: skip
def test_doubtful_labels(post_set, labels, words):
    found = spoilers_of(post_set, labels)
    assert len(found) == len(words)
    assert all(expected in sentence for expected, sentence in zip(words, found, strict=True))


def test_a_part_that_lacks_a_class(folder):
    posts = read_posts(folder)
    parts = {post.id: "train" if post.label != "neutral" else "val" for post in posts.posts}
    report = check_posts(posts, Split(parts, "x"))
    assert report.absent_classes == {"train": ("neutral",), "val": ("negative", "positive")}
    assert report.spoilers == (
        "Without a post in train: 1 class (neutral).",
        "Without a post in val: 2 classes (negative, positive).",
    )


def test_what_a_reader_guessed_spoils(post_set):
    report = check_posts(replace(post_set(SIX), findings=("The encoding is a guess.",)))
    assert report.guesses == ("The encoding is a guess.",)
    assert report.spoilers[0] == "The encoding is a guess."


@pytest.mark.parametrize(
    ("post_id", "odd"),
    [
        ("a b", False), ("IMG (1).jpg", False), ("ünï", False), ("a\u00a0b", True),
        ("a\u200bb", True), ("\x85", True), ("a  b", True), (" a", True), ("a\u202eb", True),
    ],
)  # fmt: skip
def test_odd_ids(post_set, post_id, odd):
    posts = post_set(SIX, classes=("negative", "positive"))
    posts = replace(posts, posts=(replace(posts.posts[0], id=post_id), *posts.posts[1:]))
    report = check_posts(posts)
    assert report.odd_ids == ((post_id,) if odd else ())
    assert report.spaced_ids == ((post_id,) if " " in post_id and not odd else ())
    sentence = f"An id with invisible characters or odd blanks: 1 post ({post_id!r})."
    assert (sentence in report.spoilers) == odd


def shared_picture(write_mvsa, n_posts, text_of, n_others=20):
    """Posts of which the first share a picture."""
    total = n_posts + n_others
    names = ("positive", "negative", "neutral")
    rows = [f"{n}\t{names[n % 3]},neutral" for n in range(1, total + 1)]
    folder = write_mvsa(rows)
    for n in range(1, n_posts + 1):
        (folder / "data" / f"{n}.jpg").write_bytes((folder / "data" / "1.jpg").read_bytes())
        (folder / "data" / f"{n}.txt").write_text(text_of(n))
    return read_posts(folder)


def test_a_picture_that_stands_in_for_others_makes_no_duplicates(write_mvsa):
    posts = shared_picture(write_mvsa, 12, lambda n: f"words of {n}")
    split = random_split(posts, (1, 1, 1))
    assert len({split.parts[str(n)] for n in range(1, 13)}) > 1
    report = check_posts(posts, split)
    assert report.stand_ins == {"data/1.jpg": tuple(str(n) for n in range(1, 13))}
    assert report.duplicates == report.leakage.images == ()
    (sentence,) = (s for s in report.spoilers if "placeholder" in s)
    assert sentence.endswith("1 picture (data/1.jpg: 12 posts).")
    assert json.loads(json.dumps(report.as_record()))["stand_ins"]["data/1.jpg"][0] == "1"


@pytest.mark.parametrize(
    ("n_posts", "text_of"),
    [(10, lambda n: f"words of {n}"), (20, lambda _: "spam"), (20, lambda n: f"spam {n % 10}")],
    ids=["few", "one text", "ten texts"],
)
def test_a_picture_of_few_posts_or_few_texts_makes_duplicates(write_mvsa, n_posts, text_of):
    posts = shared_picture(write_mvsa, n_posts, text_of)
    report = check_posts(posts)
    assert report.stand_ins == {}
    assert [len(group) for group in report.duplicates] == [n_posts]


def test_posts_without_labels_do_not_count_as_small_classes(folder):
    posts = read_posts(folder)
    bare = replace(posts, posts=tuple(replace(post, label=None) for post in posts.posts))
    report = check_posts(bare)
    assert report.n_unlabelled == 12
    assert report.spoilers == ()


def test_real_posts_divided_without_regard_to_duplicates_leak(shared_folder):
    posts = read_posts(shared_folder / "data" / "MVSA_Single_dev.zip")
    careless = random_split(posts, groups=range(len(posts)))
    # A few posts only: decoding all pictures takes seconds.
    few = replace(posts, posts=posts.posts[:300])
    report = check_posts(few, careless)
    assert report.images == dict.fromkeys(report.images, ())
    assert check_posts(few, random_split(posts)).leakage.texts == ()


@pytest.mark.parametrize("packed", [False, True])
def test_a_picture_of_too_many_bytes_is_too_large(folder, zipped, packed):
    with (folder / "data" / "2.jpg").open("wb") as out:
        out.truncate(PICTURE_BYTES + 1)
    report = check_posts(read_posts(zipped(folder) if packed else folder))
    assert report.images["oversized"] == ("2",)
