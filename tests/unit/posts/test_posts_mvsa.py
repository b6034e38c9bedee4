"""MVSA in every shape in which users have it, and every way in which its list can be bad."""

import pytest

from mvsa_pipe.errors import ConfigError, DataError
from mvsa_pipe.posts import ReadOptions, read_posts
from mvsa_pipe.posts.readers.mvsa import SENTIMENTS


def test_what_is_read(write_mvsa):
    posts = read_posts(write_mvsa(["7\tpositive,neutral", "5\tneutral,neutral"]))
    assert (posts.name, posts.protocol, posts.classes) == (
        "mvsa-single",
        f"mvsa-single/2@{posts.digest}",
        SENTIMENTS,
    )
    seven, five = posts.posts
    assert (seven.id, seven.text, seven.label) == ("7", "tweet number 7", "positive")
    assert seven.annotations == (("positive", "neutral"),)
    assert posts.storage.read(five.image).startswith(b"\xff\xd8")


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("header", [None, "ID\ttext,image", "id\ttext, image"])
@pytest.mark.parametrize("inside", [None, "", "MVSA_Single/"])
def test_every_wrapping_gives_the_same_posts(write_mvsa, zipped, newline, header, inside):
    folder = write_mvsa(header=header, newline=newline)
    path = folder if inside is None else zipped(folder, inside)
    posts = read_posts(path).posts
    assert [(p.id, p.text, p.label) for p in posts] == [
        ("1", "tweet number 1", "positive"),
        ("2", "tweet number 2", "neutral"),
        ("3", "tweet number 3", "negative"),
    ]


def test_one_folder_down_and_the_list_itself(write_mvsa):
    folder = write_mvsa(folder="outer/MVSA_Single")
    by_folder, by_outer, by_list = (
        read_posts(path).posts for path in (folder, folder.parent, folder / "labelResultAll.txt")
    )
    assert [p.label for p in by_folder] == [p.label for p in by_outer] == [p.label for p in by_list]


def test_files_beside_the_list_do_as_well(write_mvsa):
    folder = write_mvsa()
    for path in (folder / "data").iterdir():
        path.rename(folder / path.name)
    (folder / "data").rmdir()
    assert all(post.text and post.image for post in read_posts(folder).posts)


def test_opposing_posts_are_dropped_and_counted(write_mvsa):
    posts = read_posts(
        write_mvsa(["1\tpositive,negative", "2\tnegative,positive", "3\tneutral,neutral"])
    )
    assert [post.id for post in posts.posts] == ["3"]
    assert posts.dropped == {"opposing": 2}


def test_agree_keeps_agreement_only(write_mvsa):
    folder = write_mvsa()
    posts = read_posts(folder, ReadOptions(labels="agree"))
    assert [post.id for post in posts.posts] == ["2", "3"]
    assert posts.dropped == {"disagreeing": 1}
    assert posts.protocol == f"mvsa-single/2@{posts.digest}/agree"


def test_multiple_is_told_by_its_columns(write_mvsa):
    rows = [
        "1\tpositive,neutral\tpositive,negative\tneutral,neutral",
        "2\tpositive,neutral\tnegative,negative\tneutral,neutral",
        "3\tpositive,negative\tpositive,negative\tneutral,neutral",
    ]
    posts = read_posts(write_mvsa(rows, header="ID\ttext,image\ttext,image\ttext,image"))
    assert posts.name == "mvsa-multiple"
    assert [(post.id, post.label) for post in posts.posts] == [("1", "positive")]
    assert len(posts.posts[0].annotations) == 3
    assert posts.dropped == {"no-majority": 1, "opposing": 1}
    assert posts.dropped_annotations["2"] == (
        ("positive", "neutral"),
        ("negative", "negative"),
        ("neutral", "neutral"),
    )
    assert posts.dropped_annotations.keys() == {"2", "3"}


def test_missing_files_are_none_and_not_an_error(write_mvsa):
    folder = write_mvsa()
    (folder / "data" / "1.txt").unlink()
    (folder / "data" / "2.jpg").unlink()
    one, two, _ = read_posts(folder).posts
    assert (one.text, one.image) == (None, "data/1.jpg")
    assert (two.text, two.image) == ("tweet number 2", None)


def test_pictures_of_other_kinds_are_found_whatever_their_case(write_mvsa, jpeg):
    folder = write_mvsa()
    (folder / "data" / "1.jpg").rename(folder / "data" / "1.PNG")
    (folder / "data" / "2.png").write_bytes(jpeg(0))
    posts = read_posts(folder)
    assert [post.image for post in posts.posts] == ["data/1.PNG", "data/2.jpg", "data/3.jpg"]
    assert posts.notes == {"ids-with-several-pictures": 1}


def test_encodings_are_recorded_and_nul_bytes_counted(write_mvsa):
    folder = write_mvsa()
    (folder / "data" / "1.txt").write_bytes(b"well\xa1\xad\r\n")
    (folder / "data" / "2.txt").write_bytes(b"a\0b")
    posts = read_posts(folder)
    assert [(post.text, post.encoding) for post in posts.posts[:2]] == [
        ("well…", "gb18030"),
        ("ab", "utf-8"),
    ]
    assert posts.notes == {"texts-with-nul-removed": 1}


def test_a_marker_or_an_option_names_the_data_set(write_mvsa):
    folder = write_mvsa()
    (folder / "mvsa.json").write_text('{"name": "my-posts"}')
    assert read_posts(folder).protocol.startswith("my-posts/3@")
    assert read_posts(folder, ReadOptions(name="other")).name == "other"
    (folder / "mvsa.json").write_text("{")
    with pytest.raises(DataError, match=r"mvsa\.json"):
        read_posts(folder)


@pytest.mark.parametrize("name", ["", "a/b", "../up", ".hidden", "a b"])
def test_a_name_that_is_no_folder_name_is_refused(name):
    with pytest.raises(ConfigError, match="name cannot be used"):
        ReadOptions(name=name)


def test_unknown_labels_are_named_with_line_and_choices(write_mvsa):
    folder = write_mvsa(["1\tpositive,neutral", "2\thappy,neutral"])
    with pytest.raises(DataError) as caught:
        read_posts(folder)
    message = str(caught.value)
    assert "labelResultAll.txt:3" in message
    assert "'happy,neutral'" in message
    assert "negative, neutral, positive" in message


def test_a_row_of_another_width_is_named_with_both_widths(write_mvsa):
    folder = write_mvsa(["1\tpositive,neutral", "2\tneutral,neutral\tneutral,neutral"])
    with pytest.raises(DataError, match=r"line 3: 3 tab-separated columns, where mvsa-single has"):
        read_posts(folder)


def test_an_id_that_stands_twice_is_named_with_both_lines(write_mvsa):
    folder = write_mvsa(["1\tpositive,neutral", "2\tneutral,neutral", "1\tneutral,neutral"])
    with pytest.raises(DataError, match=r"line 4: the id '1' already occurs in line 2"):
        read_posts(folder)


def test_ten_bad_rows_are_named_and_all_are_counted(write_mvsa):
    folder = write_mvsa([f"{n}\tbad,bad" for n in range(1, 25)])
    with pytest.raises(DataError) as caught:
        read_posts(folder)
    message = str(caught.value)
    assert "24 rows cannot be used" in message
    assert "line 11:" in message
    assert "line 12:" not in message
    assert "and 14 more" in message


def test_a_list_without_its_files_is_an_error(write_mvsa, jpeg):
    folder = write_mvsa(files=False)
    with pytest.raises(DataError, match=r"data/ID\.jpg beside the list"):
        read_posts(folder)
    (folder / "data" / "99.jpg").write_bytes(jpeg(99))
    with pytest.raises(DataError, match=r"None of the listed posts.*data/1\.txt"):
        read_posts(folder)


def test_nothing_left_is_an_error(write_mvsa, jpeg):
    with pytest.raises(DataError, match=r"no posts.*opposing"):
        read_posts(write_mvsa(["1\tpositive,negative"]))
    empty = write_mvsa([], folder="empty")
    (empty / "data" / "1.jpg").write_bytes(jpeg(1))
    with pytest.raises(DataError, match="a list without rows"):
        read_posts(empty)


def test_real_posts(shared_folder):
    posts = read_posts(shared_folder / "data" / "MVSA_Single_dev.zip")
    assert posts.protocol == f"mvsa-single/4000@{posts.digest}"
    assert posts.dropped == {"opposing": 358}
    assert posts.label_counts() == {"positive": 2388, "neutral": 419, "negative": 1193}
    assert all(post.text is not None and post.image is not None for post in posts.posts)
    assert {post.encoding for post in posts.posts} == {"utf-8", "gb18030"}
    agree = read_posts(shared_folder / "data" / "MVSA_Single_dev.zip", ReadOptions(labels="agree"))
    assert agree.label_counts()["neutral"] == 419
