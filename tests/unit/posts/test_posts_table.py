"""Posts in tables of all four kinds, and in a Hugging Face imagefolder."""

import json

import pytest

from mvsa_pipe.errors import DataError
from mvsa_pipe.posts import ReadOptions, read_posts

RECORDS = [
    {"id": "a1", "text": 'say "hi", ok', "image": "pics/1.jpg", "label": "positive"},
    {"id": "a2", "text": "line\nbreak", "image": "pics/gone.jpg", "label": "negative"},
    {"id": "a3", "text": "", "image": "", "label": "neutral"},
]


@pytest.fixture
def folder(tmp_path, jpeg):
    (tmp_path / "set" / "pics").mkdir(parents=True)
    (tmp_path / "set" / "pics" / "1.jpg").write_bytes(jpeg(1))
    return tmp_path / "set"


def write_table(folder, suffix, records, name="My Posts"):
    import pandas as pd

    path = folder / f"{name}{suffix}"
    frame = pd.DataFrame(records)
    match suffix:
        case ".csv":
            frame.to_csv(path, index=False)
        case ".tsv":
            frame.to_csv(path, index=False, sep="\t")
        case ".jsonl":
            path.write_text("".join(json.dumps(record) + "\n" for record in records))
        case ".parquet":
            frame.to_parquet(path)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_every_kind_of_table_gives_the_same_posts(folder, suffix):
    path = write_table(folder, suffix, RECORDS)
    by_file, by_folder = read_posts(path), read_posts(folder)
    assert by_file.protocol == by_folder.protocol == f"my-posts/3@{by_file.digest}"
    assert by_file.classes == ("negative", "neutral", "positive")
    assert [(p.id, p.text, p.image, p.label) for p in by_file.posts] == [
        ("a1", 'say "hi", ok', "pics/1.jpg", "positive"),
        ("a2", "line\nbreak", None, "negative"),
        ("a3", "", None, "neutral"),
    ]
    assert by_folder.posts == by_file.posts


def test_a_table_in_a_zip(folder, zipped):
    write_table(folder, ".csv", RECORDS)
    posts = read_posts(zipped(folder, "deep/"))
    assert posts.posts[0].image == "deep/pics/1.jpg"
    assert posts.storage.read(posts.posts[0].image).startswith(b"\xff\xd8")


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_numbers_and_nulls(folder, suffix):
    records = [
        {"id": 1, "text": None, "image": None, "label": 1},
        {"id": 2, "text": "x", "image": None, "label": 10},
        {"id": 3, "text": "x", "image": None, "label": 2},
    ]
    posts = read_posts(write_table(folder, suffix, records))
    assert [(p.id, p.text, p.label) for p in posts.posts] == [
        ("1", None, "1"),
        ("2", "x", "10"),
        ("3", "x", "2"),
    ]
    assert posts.classes == ("1", "2", "10")


def test_columns_named_by_options(folder):
    (folder / "t.csv").write_text("tweet,who,pic,mood\nhello,7,pics/1.jpg,sad\n")
    options = ReadOptions(
        id_column="who", text_column="tweet", image_column="pic", label_column="mood"
    )
    (post,) = read_posts(folder / "t.csv", options).posts
    assert (post.id, post.text, post.image, post.label) == ("7", "hello", "pics/1.jpg", "sad")


def test_a_missing_column_names_those_present(folder):
    (folder / "t.csv").write_text("id,body,image,label\n1,x,,positive\n")
    with pytest.raises(DataError, match=r"1 column is missing.*Expected text.*id, body, image, l"):
        read_posts(folder / "t.csv")


def test_labels_may_be_absent_only_for_prediction(folder):
    (folder / "t.csv").write_text("id,text,image\n1,x,pics/1.jpg\n")
    with pytest.raises(DataError, match=r"Expected label\."):
        read_posts(folder / "t.csv")
    posts = read_posts(folder / "t.csv", ReadOptions(require_labels=False))
    assert [p.label for p in posts.posts] == [None]
    assert posts.classes == ()
    (folder / "t.csv").write_text("id,text,image,label\n1,x,pics/1.jpg,\n2,y,,positive\n")
    with pytest.raises(DataError, match=r"t\.csv:2.*the label is empty"):
        read_posts(folder / "t.csv")
    posts = read_posts(folder / "t.csv", ReadOptions(require_labels=False))
    assert [p.label for p in posts.posts] == [None, "positive"]


def test_lines_are_counted_as_an_editor_counts_them(folder):
    (folder / "t.csv").write_text(
        'id,text,image,label\n1,"two\nlines",,positive\n\n2,x,positive\n1,x,,neutral\n,x,,neutral\n'
    )
    with pytest.raises(DataError) as caught:
        read_posts(folder / "t.csv")
    assert "line 5: 3 cells, where the header has 4" in str(caught.value)
    (folder / "t.csv").write_text(
        'id,text,image,label\n1,"two\nlines",,positive\n1,x,,neutral\n,x,,neutral\n'
    )
    with pytest.raises(DataError) as caught:
        read_posts(folder / "t.csv")
    assert "line 4: the id '1' already occurs in line 2" in str(caught.value)
    assert "line 5: the id is empty" in str(caught.value)


def test_a_quote_never_closed_does_not_swallow_the_rest(folder):
    (folder / "t.csv").write_text('id,text,image,label\n1,"oh no,,positive\n2,x,,neutral\n')
    assert [post.text for post in read_posts(folder / "t.csv").posts] == ['"oh no', "x"]
    with pytest.raises(DataError, match=r"t\.csv:2.*the rows from here on are unread"):
        read_posts(folder / "t.csv", ReadOptions(quoting="minimal"))


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("", "the file is empty"),
        ("id,text,image,text,label\n", "header more than once.*Expected one column 'text'"),
    ],
)
def test_bad_csv_headers(folder, content, fault):
    (folder / "t.csv").write_text(content)
    with pytest.raises(DataError, match=fault):
        read_posts(folder / "t.csv")


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("", "the file is empty"),
        ('{"id": 1', "line 1: not JSON"),
        ("[1, 2]\n", "line 1: list, where an object"),
        (
            '{"id": "1", "text": "\\ud83d", "image": "", "label": "x"}\n',
            "an unpaired surrogate",
        ),
        ('{"id": "a\\nb", "text": "", "image": "", "label": "x"}\n', "control character"),
    ],
)
def test_bad_jsonl(folder, content, fault):
    (folder / "t.jsonl").write_text(content)
    with pytest.raises(DataError, match=fault):
        read_posts(folder / "t.jsonl")


def test_a_line_separator_inside_json_is_no_new_line(folder):
    (folder / "t.jsonl").write_text(
        '{"id": "1", "text": "a\u2028b", "image": "", "label": "x"}\n', encoding="utf-8"
    )
    assert read_posts(folder / "t.jsonl").posts[0].text == "a\u2028b"


def test_a_parquet_file_that_is_none(folder):
    (folder / "t.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(DataError, match="parquet file cannot be read"):
        read_posts(folder / "t.parquet")


@pytest.mark.parametrize(
    "image", ["/etc/passwd.jpg", "../1.jpg", "pics/../../1.jpg", "C:\\1.jpg", "..\\1.jpg"]
)
def test_pictures_outside_the_folder_are_refused(folder, image):
    (folder / "t.csv").write_text(f"id,text,image,label\n1,x,{image},positive\n")
    with pytest.raises(DataError, match="is not in the table's folder"):
        read_posts(folder / "t.csv")


def test_pictures_are_never_fetched(folder):
    (folder / "t.csv").write_text("id,text,image,label\n1,x,http://x.org/1.jpg,positive\n")
    with pytest.raises(DataError, match="never fetched"):
        read_posts(folder / "t.csv")


@pytest.mark.parametrize("image", ["./pics/1.jpg", "pics/../pics/1.jpg", "pics\\1.jpg"])
def test_ways_to_write_a_path_inside(folder, image):
    (folder / "t.csv").write_text(f"id,text,image,label\n1,x,{image},positive\n")
    assert read_posts(folder / "t.csv").posts[0].image == "pics/1.jpg"


def test_two_tables_in_a_folder_are_not_guessed_between(folder):
    write_table(folder, ".csv", RECORDS, "a")
    write_table(folder, ".csv", RECORDS, "b")
    with pytest.raises(DataError, match=r"a\.csv, b\.csv"):
        read_posts(folder)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_imagefolder(folder, suffix):
    records = [
        {"file_name": "pics/1.jpg", "text": "one", "label": "cat"},
        {"file_name": "pics/2.jpg", "text": "two", "label": "dog"},
    ]
    write_table(folder, suffix, records, "metadata")
    posts = read_posts(folder)
    assert posts.name == "set"
    assert [(p.id, p.image, p.label) for p in posts.posts] == [
        ("pics/1.jpg", "pics/1.jpg", "cat"),
        ("pics/2.jpg", None, "dog"),
    ]
    assert posts.classes == ("cat", "dog")


def test_encoding_of_a_table_is_recorded(folder):
    (folder / "t.csv").write_bytes(b"\xef\xbb\xbfid,text,image,label\n1,caf\xc3\xa9,,x\n")
    (post,) = read_posts(folder / "t.csv").posts
    assert (post.id, post.text, post.encoding) == ("1", "café", "utf-8-sig")
