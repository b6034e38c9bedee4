"""Lists of guid,tag, and Memotion."""

import csv

import pytest

from mvsa_pipe.errors import DataError
from mvsa_pipe.posts import ReadOptions, Task, read_posts
from mvsa_pipe.posts.readers.memotion import TASKS


@pytest.fixture
def guid_folder(tmp_path, jpeg):
    folder = tmp_path / "Lab 5"
    (folder / "data").mkdir(parents=True)
    (folder / "train.txt").write_text("guid,tag\n1,positive\n2,negative\r\n")
    for n in (1, 2, 3):
        (folder / "data" / f"{n}.txt").write_text(f"text {n}")
        (folder / "data" / f"{n}.jpg").write_bytes(jpeg(n))
    return folder


def test_a_guid_tag_list(guid_folder):
    posts = read_posts(guid_folder)
    assert (posts.name, posts.protocol) == ("lab-5", f"lab-5/2@{posts.digest}")
    assert [(p.id, p.text, p.label, p.image) for p in posts.posts] == [
        ("1", "text 1", "positive", "data/1.jpg"),
        ("2", "text 2", "negative", "data/2.jpg"),
    ]
    assert posts.notes == {}


def test_several_lists_and_null_tags(guid_folder):
    (guid_folder / "test_without_label.txt").write_text("guid,tag\n3,null\n")
    posts = read_posts(guid_folder)
    assert [(p.id, p.label) for p in posts.posts] == [
        ("3", None),
        ("1", "positive"),
        ("2", "negative"),
    ]
    assert posts.notes == {"unlabelled": 1}
    assert len(read_posts(guid_folder / "train.txt")) == 2
    with pytest.raises(DataError, match="No post has a label"):
        read_posts(guid_folder / "test_without_label.txt")
    unlabelled = read_posts(
        guid_folder / "test_without_label.txt", ReadOptions(require_labels=False)
    )
    assert [p.id for p in unlabelled.posts] == ["3"]


def test_bad_guid_tag_rows_are_all_named(guid_folder):
    (guid_folder / "train.txt").write_text("guid,tag\n1,joy\n2,negative,x\n3,neutral\n3,neutral\n")
    with pytest.raises(DataError) as caught:
        read_posts(guid_folder)
    message = str(caught.value)
    assert "3 rows cannot be used" in message
    assert "line 2: the tag 'joy'" in message
    assert "line 3: 3 comma-separated columns" in message
    assert "line 5: the id '3' already occurs in line 4" in message


def test_a_guid_in_two_lists_is_an_error(guid_folder):
    (guid_folder / "more.txt").write_text("guid,tag\n1,positive\n")
    with pytest.raises(DataError, match=r"train\.txt:2.*'1' is in another list"):
        read_posts(guid_folder)


def test_a_guid_in_two_parts_is_an_error(guid_folder):
    (guid_folder / "dev.txt").write_text("guid,tag\n1,positive\n")
    with pytest.raises(DataError, match=r"1 post occurs in two tables.*Found 1\."):
        read_posts(guid_folder)


COLUMNS = [
    "", "image_name", "text_ocr", "text_corrected", "humour", "sarcasm", "offensive",
    "motivational", "overall_sentiment",
]  # fmt: skip
MEMES = [
    ["0", "image_1.jpg", "OCR A", "text <b>A</b>,\nwith a line", "hilarious", "general",
     "not_offensive", "not_motivational", "very_positive"],
    ["1", "image_2.png", "OCR B", "", "not_funny", "not_sarcastic",
     "hateful_offensive", "motivational", "negative"],
    ["2", "image_3.jpeg", "", "", "funny", "twisted_meaning",
     "slight", "not_motivational", "neutral"],
]  # fmt: skip


@pytest.fixture
def write_memotion(tmp_path, jpeg):
    def write(memes=MEMES, columns=COLUMNS):
        folder = tmp_path / "memotion_dataset_7k"
        (folder / "images").mkdir(parents=True, exist_ok=True)
        with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as out:
            csv.writer(out).writerows([columns, *memes])
        for n, meme in enumerate(memes[:2]):
            (folder / "images" / meme[1]).write_bytes(jpeg(n))
        return folder

    return write


def test_memotion(write_memotion):
    posts = read_posts(write_memotion().parent)
    assert (posts.name, posts.protocol) == ("memotion", f"memotion/3@{posts.digest}")
    assert [(p.id, p.text, p.label) for p in posts.posts] == [
        ("image_1", "text <b>A</b>,\nwith a line", "positive"),
        ("image_2", "OCR B", "negative"),
        ("image_3", "", "neutral"),
    ]
    assert posts.posts[1].image == "memotion_dataset_7k/images/image_2.png"
    assert posts.posts[2].image is None
    assert posts.notes == {
        "text-corrected-empty-took-text-ocr": 1,
        "both-texts-empty": 1,
        "columns without a name, ignored": 1,
        "rows with separator comma": 3,
        "rows with quoting minimal": 3,
    }


def test_memes_are_found_under_near_names(write_memotion):
    folder = write_memotion()
    (name,) = (folder / "images").glob("image_2.*")
    name.rename(name.with_suffix(".PNG"))
    posts = read_posts(folder)
    assert posts.posts[1].image == "images/image_2.PNG"
    assert posts.posts[2].sought == f"images/{MEMES[2][1]}"
    assert posts.notes["pictures-found-by-near-name"] == 1


@pytest.mark.parametrize(
    ("task", "labels", "classes"),
    [
        ("humour", ["funny", "not-funny", "funny"], ("not-funny", "funny")),
        ("sarcasm", ["sarcastic", "not-sarcastic", "sarcastic"], ("not-sarcastic", "sarcastic")),
        ("offensive", ["not-offensive", "offensive", "offensive"], ("not-offensive", "offensive")),
        (
            "motivational",
            ["not-motivational", "motivational", "not-motivational"],
            ("not-motivational", "motivational"),
        ),
        (
            "humour-intensity",
            ["hilarious", "not-funny", "funny"],
            ("not-funny", "funny", "very-funny", "hilarious"),
        ),
        (
            "sarcasm-intensity",
            ["general", "not-sarcastic", "twisted-meaning"],
            ("not-sarcastic", "general", "twisted-meaning", "very-twisted"),
        ),
        (
            "offensive-intensity",
            ["not-offensive", "hateful-offensive", "slight"],
            ("not-offensive", "slight", "very-offensive", "hateful-offensive"),
        ),
    ],
)
def test_memotion_tasks(write_memotion, task, labels, classes):
    posts = read_posts(write_memotion(), ReadOptions(task=task))
    assert [p.label for p in posts.posts] == labels
    assert posts.classes == classes
    assert posts.protocol == f"memotion/3@{posts.digest}/{task}"


def test_every_task_has_its_labels():
    assert set(TASKS) == set(Task)


def test_memotion_faults(write_memotion):
    bad = [*MEMES[0][:-1], "meh"]
    with pytest.raises(
        DataError, match=r"line 2: overall_sentiment 'meh', which is none of very_n"
    ):
        read_posts(write_memotion([bad]))
    with pytest.raises(DataError, match=r"line 5: the id 'image_1' already occurs in line 2"):
        read_posts(write_memotion([MEMES[0], MEMES[1], MEMES[0]]))
    with pytest.raises(DataError, match=r"'\.\./image_1\.jpg' is not a plain file name"):
        read_posts(write_memotion([["0", "../image_1.jpg", *MEMES[0][2:]]]))
    with pytest.raises(DataError, match=r"1 column is missing.*overall_sentiment.*Found columns"):
        read_posts(write_memotion([row[:-1] for row in MEMES], COLUMNS[:-1]))
