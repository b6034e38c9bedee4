"""Detection, and what is said when nothing can be read."""

import json

import pytest

from mvsa_pipe.errors import ConfigError, DataError, UnknownNameError
from mvsa_pipe.posts import FORMATS, LabelRule, ReadOptions, Task, read_posts


def test_every_row_of_the_table_loads_a_reader():
    for row in FORMATS:
        reader = FORMATS.load(row.name)
        assert reader.looks_for
        assert row.summary


def test_a_path_with_nothing_there(tmp_path):
    with pytest.raises(DataError, match=r"nothing at this path.*mvsa data check PATH"):
        read_posts(tmp_path / "absent")


def test_an_empty_folder(tmp_path):
    with pytest.raises(DataError, match="folder is empty"):
        read_posts(tmp_path)


def test_an_unknown_layout_says_what_was_looked_for_and_what_is_there(tmp_path):
    (tmp_path / "notes.md").write_text("x")
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "1.jpg").write_bytes(b"x")
    with pytest.raises(DataError) as caught:
        read_posts(tmp_path)
    message = str(caught.value)
    assert all(name in message for name in FORMATS.names)
    assert "notes.md, pictures/" in message


def test_the_data_folder_itself_points_one_up(write_mvsa):
    folder = write_mvsa()
    with pytest.raises(DataError, match=f"labelResultAll.txt is one folder up: name {folder}"):
        read_posts(folder / "data")


def test_an_archive_inside_the_folder_is_pointed_at(write_mvsa, zipped, tmp_path):
    archive = zipped(write_mvsa())
    (tmp_path / "only").mkdir()
    archive.rename(tmp_path / "only" / "set.zip")
    with pytest.raises(DataError, match="name the archive itself"):
        read_posts(tmp_path / "only")


def test_two_data_sets_side_by_side_are_not_guessed_between(write_mvsa, tmp_path):
    write_mvsa(folder="a")
    write_mvsa(folder="b")
    with pytest.raises(DataError, match=r"several data sets.*/a \(mvsa-single\).*/b"):
        read_posts(tmp_path)


def test_what_macos_packs_along_is_no_data_set(write_mvsa, zipped):
    folder = write_mvsa(folder="wrap/MVSA_Single").parent
    (folder / "__MACOSX").mkdir()
    (folder / "__MACOSX" / "labelResultAll.txt").write_bytes(b"\0\5\x16\7")
    assert len(read_posts(zipped(folder))) == 3


def test_a_format_that_is_named_overrules_what_lies_there(write_mvsa):
    with pytest.raises(DataError, match=r"no known layout.*memotion") as caught:
        read_posts(write_mvsa(), ReadOptions(format="memotion"))
    assert "mvsa-single" not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"format": "mvsa-singel"}, UnknownNameError),
        ({"task": "joy"}, ConfigError),
        ({"labels": "majority"}, ConfigError),
        ({"id_column": "text"}, ConfigError),
        ({"label_column": ""}, ConfigError),
    ],
)
def test_options_are_checked_when_they_are_made(fields, error):
    with pytest.raises(error):
        ReadOptions(**fields)


def test_options_take_names_or_members():
    assert ReadOptions(task="humour", labels="agree") == ReadOptions(
        task=Task.HUMOUR, labels=LabelRule.AGREE
    )


def test_options_of_other_formats_are_refused(write_mvsa, tmp_path):
    with pytest.raises(ConfigError, match=r"'mvsa-single' has no task.*'humour'"):
        read_posts(write_mvsa(), ReadOptions(task="humour"))
    table = tmp_path / "t.csv"
    table.write_text("id,text,image,label\n1,x,,positive\n")
    with pytest.raises(ConfigError, match=r"'table' has no labels.*'agree'"):
        read_posts(table, ReadOptions(labels="agree"))


def test_the_room_imports_nothing_heavy():
    import subprocess
    import sys

    code = (
        "import sys, mvsa_pipe.posts.check, mvsa_pipe.posts.synthetic.write\n"
        "import mvsa_pipe.posts.readers.table\n"
        "heavy = {'torch', 'transformers', 'pandas', 'pyarrow', 'sklearn'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_read_options_travel_through_json(tmp_path):
    options = ReadOptions(separator="tab", quoting="none", encoding="cp1252", image_root=tmp_path)
    assert options.separator == "\t"
    assert ReadOptions(**json.loads(json.dumps(options.as_record()))) == options
    assert ReadOptions(**ReadOptions().as_record()) == ReadOptions()


@pytest.mark.parametrize(
    "fields",
    [
        *({"separator": value} for value in ("", ",,", '"', "\n", "\0", "comma-ish")),
        *({"encoding": name} for name in ("", "klingon", "rot13", "unicode_escape", "a\0b", "é")),
        {"quoting": "all"},
    ],
)
def test_impossible_dialects_are_refused(fields):
    with pytest.raises(ConfigError, match=next(iter(fields))):
        ReadOptions(**fields)


@pytest.mark.parametrize(
    "fields", [{"separator": ","}, {"quoting": "none"}, {"encoding": "utf-8"}, {"image_root": "x"}]
)
def test_options_of_tables_are_refused_elsewhere(write_mvsa, fields):
    with pytest.raises(ConfigError, match=f"has no {next(iter(fields))} to choose"):
        read_posts(write_mvsa(), ReadOptions(**fields))
