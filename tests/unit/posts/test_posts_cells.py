"""Typed cells of jsonl and parquet, and pictures inside parquet rows."""

import datetime as dt
import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pyarrow as pa
import pytest
from pyarrow import parquet

from mvsa_pipe.errors import ConfigError, DataError
from mvsa_pipe.posts import ReadOptions, read_posts
from mvsa_pipe.posts.check import check_posts


def write(path, **columns):
    count = len(next(iter(columns.values())))
    defaults = {
        "id": [str(at) for at in range(count)],
        "text": ["x"] * count,
        "image": pa.nulls(count, pa.string()),
        "label": ["a"] * count,
    }
    parquet.write_table(pa.table(defaults | columns), path, row_group_size=20)
    return path


def labels(path):
    return [post.label for post in read_posts(path).posts]


def test_empty_is_empty(tmp_path):
    path = write(tmp_path / "t.parquet", text=pa.array(["nan", None, "None"]))
    assert [post.text for post in read_posts(path).posts] == ["nan", None, "None"]
    path = write(tmp_path / "t.parquet", label=[0.0, float("nan"), 2.0])
    with pytest.raises(DataError, match="row 2: the label is empty"):
        read_posts(path)
    posts = read_posts(path, ReadOptions(require_labels=False))
    assert [post.label for post in posts.posts] == ["0", None, "2"]
    lines = ['{"id": 1, "text": NaN, "image": null, "label": 1.0}']
    (tmp_path / "t.jsonl").write_text("\n".join(lines))
    (post,) = read_posts(tmp_path / "t.jsonl").posts
    assert (post.id, post.text, post.image, post.label) == ("1", None, None, "1")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pa.array([1, 2], pa.int8()), ["1", "2"]),
        (pa.array([1.0, 2.0], pa.float32()), ["1", "2"]),
        (pa.array([True, False]), ["true", "false"]),
        (pa.array(["b", "a"]).dictionary_encode(), ["b", "a"]),
        (pa.array(["b", "a"], pa.large_string()), ["b", "a"]),
        (pa.array([Decimal("1.00"), Decimal(2)], pa.decimal128(5, 2)), ["1", "2"]),
    ],
)
def test_labels_of_a_plain_type(tmp_path, values, expected):
    assert labels(write(tmp_path / "t.parquet", label=values)) == expected


@pytest.mark.parametrize("column", ["id", "text", "label"])
@pytest.mark.parametrize(
    "values",
    [
        pa.array([[1], [2]]),
        pa.array([{"bytes": b"x"}, {"bytes": b"y"}]),
        pa.array([b"x", b"y"]),
        pa.array([dt.datetime(2020, 1, 1, tzinfo=dt.UTC)] * 2),
        pa.array([0.5, 1.5]),
        pa.array([float("inf")] * 2),
    ],
)
def test_other_types_are_refused_by_row_and_column(tmp_path, column, values):
    path = write(tmp_path / "t.parquet", **{column: values})
    with pytest.raises(DataError, match=f"row 1: column '{column}' holds"):
        read_posts(path)


@pytest.mark.parametrize("value", [[1], {"a": 1}, {"bytes": "x"}, 1.5, True, 1e300, 10**40])
@pytest.mark.parametrize("column", ["id", "text"])
def test_json_values_are_refused_by_line_and_column(tmp_path, column, value):
    record = {"id": "1", "text": "x", "image": None, "label": "a"} | {column: value}
    (tmp_path / "t.jsonl").write_text(json.dumps(record))
    with pytest.raises(DataError, match=rf"t\.jsonl:1\).*column '{column}' holds"):
        read_posts(tmp_path / "t.jsonl")


def test_ids_that_lost_their_digits_are_refused(tmp_path):
    path = write(tmp_path / "t.parquet", id=[1.2e18, 1.3e18])
    with pytest.raises(DataError, match="whose last digits were lost"):
        read_posts(path)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("[" * 100_000, "JSON nested too deeply|not JSON"),
        ('{"id": ' + "[" * 100_000 + "]" * 100_000 + "}", "nested too deeply"),
        ('{"id": ' + "1" * 10_000 + "}", "not JSON"),
        ('{"id": "1", "id": "2", "text": "x", "image": "", "label": "a"}', "'id' occurs twice"),
        (
            '{"id": 1, "text": "x", "image": "", "label": "a"}\n{"id": 2, "Text": ""}',
            "'Text', which other lines spell otherwise",
        ),
    ],
)
def test_hostile_json(tmp_path, line, fault):
    (tmp_path / "t.jsonl").write_text(line)
    with pytest.raises(DataError, match=fault):
        read_posts(tmp_path / "t.jsonl")


def test_only_asked_columns_are_looked_at(tmp_path):
    path = write(tmp_path / "t.parquet", text=["a", "b"], odd=pa.array([[1], None]))
    assert [post.text for post in read_posts(path).posts] == ["a", "b"]
    (tmp_path / "t.jsonl").write_text(
        '{"id": 1, "text": "x", "image": "", "label": "a", "odd": [1], "odd": {}}'
    )
    assert len(read_posts(tmp_path / "t.jsonl")) == 1


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_columns_match_but_for_capitals(tmp_path, suffix):
    import pandas as pd

    frame = pd.DataFrame([{"ID": "1", "Text": "x", "IMAGE": "", "Label": "a"}])
    path = tmp_path / f"t{suffix}"
    match suffix:
        case ".csv":
            frame.to_csv(path, index=False)
        case ".jsonl":
            frame.to_json(path, orient="records", lines=True)
        case ".parquet":
            frame.to_parquet(path)
    (post,) = read_posts(path).posts
    assert (post.id, post.text, post.image, post.label) == ("1", "x", None, "a")


def test_one_of_several_columns_of_a_name_is_named_by_its_number(tmp_path):
    path = tmp_path / "t.tsv"
    path.write_text("id\ttext\ttext\timage\tlabel\n1\tfirst\tsecond\t\ta\n")
    for number, text in ((1, "first"), (2, "second")):
        options = ReadOptions(text_column=f"text[{number}]")
        assert read_posts(path, options).posts[0].text == text
    with pytest.raises(DataError, match=r"text\[1\]"):
        read_posts(path)
    with pytest.raises(DataError, match=r"missing.*text\[3\]"):
        read_posts(path, ReadOptions(text_column="text[3]"))


def test_an_exact_name_comes_first_and_doubt_is_refused(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("id,Text,text,image,label\n1,no,yes,,a\n")
    assert read_posts(path).posts[0].text == "yes"
    path.write_text("id,Text,TEXT,image,label\n1,no,yes,,a\n")
    with pytest.raises(DataError, match=r"more than once.*'text'"):
        read_posts(path)
    with pytest.raises(DataError, match="are the same"):
        read_posts(path, ReadOptions(text_column="Text", label_column="iD"))
    path.write_text("id,text,image,label,note,note,\n1,yes,,a,b,c,d\n")
    assert read_posts(path).posts[0].text == "yes"


@pytest.mark.parametrize(
    "options", [{"separator": ","}, {"quoting": "none"}, {"encoding": "utf-8"}]
)
def test_options_that_a_parquet_table_lacks(tmp_path, options):
    with pytest.raises(ConfigError, match="has no"):
        read_posts(write(tmp_path / "t.parquet", text=["x"]), ReadOptions(**options))


def test_more_text_than_a_post_has(tmp_path):
    path = write(tmp_path / "t.parquet", text=["x" * (2**20 + 1)])
    with pytest.raises(DataError, match="row 1: column 'text' holds 1,048,577 char"):
        read_posts(path)


@pytest.fixture
def pictures(jpeg):
    return [jpeg(seed) for seed in range(50)]


@pytest.mark.parametrize("packed", ["struct", "bytes"])
def test_pictures_in_rows(tmp_path, pictures, packed, zipped):
    cells = pictures
    if packed == "struct":
        cells = [{"bytes": data, "path": f"{at}.jpg"} for at, data in enumerate(pictures)]
    (tmp_path / "set").mkdir()
    path = write(tmp_path / "set" / "t.parquet", image=pa.array(cells))
    for where in (path, zipped(tmp_path / "set", "deep/")):
        posts = read_posts(where)
        names = [post.image for post in posts.posts]
        assert names[16].endswith("t.parquet#row-17")
        assert [posts.storage.read(name) for name in names] == pictures
        assert [posts.storage.read(name) for name in names[::-7]] == pictures[::-7]
        assert all(posts.storage.has(name) for name in names)
        assert not posts.storage.has(names[0].replace("row-1", "row-51"))
        assert posts.storage.size(names[3]) == len(pictures[3])
        assert posts.storage.stamp(names[3]) != posts.storage.stamp(names[4])
        copy = pickle.loads(pickle.dumps(posts.storage))
        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(copy.read, names * 3)) == pictures * 3
    assert not check_posts(posts).images["missing"]


def test_rows_with_and_without_a_picture(tmp_path, pictures, jpeg):
    (tmp_path / "1.jpg").write_bytes(jpeg(1))
    cells = [{"bytes": pictures[0], "path": None}, {"bytes": None, "path": "1.jpg"}, None]
    posts = read_posts(write(tmp_path / "t.parquet", image=pa.array(cells)))
    first, second, third = (post.image for post in posts.posts)
    assert (second, third) == ("1.jpg", None)
    assert posts.storage.read(first) == pictures[0]
    assert posts.storage.read(second) == jpeg(1)
    with pytest.raises(DataError, match="contains no picture"):
        posts.storage.read("t.parquet#row-3")


def test_a_picture_of_a_row_that_is_too_large(tmp_path):
    posts = read_posts(write(tmp_path / "t.parquet", image=pa.array([b"x" * 11])))
    with pytest.raises(DataError, match="at most 10 bytes"):
        posts.storage.read(posts.posts[0].image, 10)


def test_parquet_bombs_are_refused_by_what_they_say_of_themselves(tmp_path):
    path = tmp_path / "bomb.parquet"
    parquet.write_table(pa.table(dict.fromkeys(["id", "text"], pa.nulls(10_000_001))), path)
    with pytest.raises(DataError, match="more rows than a data set"):
        read_posts(path)
    table = pa.table({"id": ["1"], "text": ["x"], "image": [b"\0" * 2**27], "label": ["a"]})
    parquet.write_table(table, path, compression="zstd")
    assert path.stat().st_size < 2**16
    with pytest.raises(DataError, match="compressed too much"):
        read_posts(path)
    # a dictionary names the same long text in each row
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * 1_000), pa.array(["x" * 2**20]))
    with pytest.raises(DataError, match="at most 4,096 are plausible"):
        read_posts(write(tmp_path / "dictionary.parquet", id=texts))


def test_more_keys_than_columns(tmp_path):
    (tmp_path / "t.jsonl").write_text(json.dumps({f"k{at}": 1 for at in range(10_001)}))
    with pytest.raises(DataError, match="more than 10,000 keys"):
        read_posts(tmp_path / "t.jsonl")


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_a_line_that_no_post_fills_is_refused(tmp_path, suffix):
    path = tmp_path / f"t{suffix}"
    keys = ", ".join(f'"k{n}": 1' for n in range(800_000))
    path.write_text("id,text,image,label\n" + "{" + keys + "}")
    with pytest.raises(DataError, match=r":2.*too long for a post|too long for a post.*:2"):
        read_posts(path)
