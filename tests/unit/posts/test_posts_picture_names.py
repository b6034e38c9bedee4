"""Pictures are found under the names that people's tables and file systems give them, or named."""

import os
import unicodedata
import zipfile
from pathlib import Path

import pytest

from mvsa_pipe.errors import DataError
from mvsa_pipe.modality import Modality
from mvsa_pipe.posts import ReadOptions, read_posts
from mvsa_pipe.posts.check import check_posts
from mvsa_pipe.posts.contents import contents_of
from mvsa_pipe.posts.readers.picture_names import NEAR_NOTE


@pytest.fixture
def write(tmp_path, jpeg):
    """Writes a table of named pictures into `set/`, and files."""

    def table(named, files, folder="set"):
        root = tmp_path / folder
        root.mkdir(exist_ok=True)
        for number, name in enumerate(files):
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(jpeg(number))
        rows = [f"{n},text {n},{name},positive" for n, name in enumerate(named)]
        (root / "posts.csv").write_text("\n".join(["id,text,image,label", *rows]) + "\n", "utf-8")
        return root / "posts.csv"

    return table


def images(path, **options):
    return [post.image for post in read_posts(path, ReadOptions(**options)).posts]


@pytest.mark.parametrize(
    ("named", "file"),
    [
        ("img/1.JPG", "img/1.jpg"),
        ("img/1.jpg", "img/1.JPG"),
        ("IMG/1.jpg", "img/1.jpg"),
        ("img/1", "img/1.jpg"),
        ("img/1.jpeg", "img/1.jpg"),
        ("img/1.png", "img/1.jpg"),
        ("img/1.jpg", "img/1"),
        ("img/1.5", "img/1.5.png"),
        (unicodedata.normalize("NFC", "img/é.jpg"), unicodedata.normalize("NFD", "img/é.jpg")),
        (unicodedata.normalize("NFD", "img/é.jpg"), unicodedata.normalize("NFC", "img/É.JPG")),
    ],
)
def test_a_name_that_differs_a_little_is_found_and_counted(write, named, file):
    posts = read_posts(write([named], [file]))
    assert posts.posts[0].image == file
    assert posts.posts[0].sought == ""
    assert posts.notes[NEAR_NOTE] == 1


@pytest.mark.parametrize(
    ("named", "file"),
    [
        ("img/1.jpg", "img/1.jpg"),
        ("./img/1.jpg", "img/1.jpg"),
        ("img//1.jpg", "img/1.jpg"),
        ("other/../img/1.jpg", "img/1.jpg"),
        ("img\\1.jpg", "img/1.jpg"),
        (".\\img\\1.jpg", "img/1.jpg"),
    ],
)
def test_other_spellings_of_a_path_are_that_path(write, named, file):
    posts = read_posts(write([named], [file]))
    assert posts.posts[0].image == file
    assert NEAR_NOTE not in posts.notes


@pytest.mark.skipif(os.name == "nt", reason="backslashes separate folders")
def test_a_backslash_in_a_name_is_one_where_there_is_such_a_file(write):
    assert images(write(["img\\1.jpg"], ["img\\1.jpg", "img/1.jpg"])) == ["img\\1.jpg"]


@pytest.mark.parametrize(
    ("named", "files", "near"),
    [
        ("img/1", ["img/1.jpg", "img/1.png"], "img/1.jpg, img/1.png"),
        ("img/A.jpg", ["img/a.jpg", "img/a.JPG"], "img/a.JPG, img/a.jpg"),
        ("img/1.jpg", ["pictures/1.jpg"], "pictures/1.jpg"),
        ("img/1.jpg", ["img/1.txt"], ""),
        ("img/1.jpg", ["img/2.jpg"], ""),
    ],
)
def test_what_is_not_found_names_what_was_sought_and_what_is_near(write, named, files, near):
    posts = read_posts(write([named], files))
    (post,) = posts.posts
    assert post.image is None
    assert post.sought == (f"{named} (near: {near})" if near else named)
    assert NEAR_NOTE not in posts.notes
    _, faults = contents_of(posts, Modality.IMAGE)
    assert faults == {"0": f"it has no image: {post.sought} was not found"}


def test_data_check_names_what_was_sought(write):
    posts = read_posts(write(["img/1.jpg", "img/2", ""], ["pictures/1.jpg"]))
    sought = "0: img/1.jpg (near: pictures/1.jpg), 1: img/2, 2"
    assert f"No picture: 3 posts ({sought})." in check_posts(posts).spoilers


def test_a_name_of_the_same_case_comes_before_one_of_the_same_suffix(write):
    assert images(write(["1.JPG"], ["1.jpg", "1.png"])) == ["1.jpg"]


def test_a_file_that_another_post_names_is_nobody_elses(write):
    posts = read_posts(write(["aB.jpg", "AB.jpg"], ["aB.jpg"]))
    assert [post.image for post in posts.posts] == ["aB.jpg", None]
    assert posts.posts[1].sought == "AB.jpg (near: aB.jpg)"


def test_a_file_that_two_names_are_near_to_is_neithers(write):
    posts = read_posts(write(["1.png", "1.gif", "2.png", "2.png"], ["1.jpg", "2.jpg"]))
    assert [post.image for post in posts.posts] == [None, None, "2.jpg", "2.jpg"]
    assert posts.notes[NEAR_NOTE] == 2


def test_an_absolute_path_inside_the_tables_folder_is_inside_it(write, tmp_path):
    inside = tmp_path / "set" / "img" / "1.jpg"
    table = write([str(inside), f"{tmp_path}/set/../set/img/1.jpg"], ["img/1.jpg"])
    assert images(table) == ["img/1.jpg"] * 2
    linked = tmp_path / "link"
    linked.symlink_to(tmp_path / "set")
    assert images(linked / "posts.csv") == ["img/1.jpg"] * 2


@pytest.mark.parametrize(
    "named",
    ["../1.jpg", "img/../../1.jpg", "/etc/1.jpg", "C:\\data\\1.jpg", "c:1.jpg", "..\\1.jpg"],
)
def test_a_path_that_leaves_the_tables_folder_is_refused_by_its_name(write, tmp_path, jpeg, named):
    (tmp_path / "1.jpg").write_bytes(jpeg(1))
    with pytest.raises(DataError, match=r"line 2: the picture .* is not in .*--image-root") as e:
        read_posts(write([named], ["img/1.jpg"]))
    assert repr(named) in str(e.value)


def test_a_neighbour_that_begins_like_the_folder_is_outside(write, tmp_path, jpeg):
    (tmp_path / "set2").mkdir()
    (tmp_path / "set2" / "1.jpg").write_bytes(jpeg(1))
    with pytest.raises(DataError, match="is not in the table's folder"):
        read_posts(write([f"{tmp_path}/set2/1.jpg"], []))


def test_a_folder_of_pictures_beside_the_tables_is_inside_what_was_named(write, tmp_path):
    table = write(["../img/1.jpg"], ["../img/1.jpg"], folder="set")
    moved = tmp_path / "whole" / "lists"
    moved.mkdir(parents=True)
    (tmp_path / "img").rename(tmp_path / "whole" / "img")
    table.rename(moved / "posts.csv")
    assert images(tmp_path / "whole") == ["img/1.jpg"]
    with pytest.raises(DataError, match=r"'\.\./img/1\.jpg' is not in"):
        read_posts(moved / "posts.csv")
    assert images(moved / "posts.csv", image_root=tmp_path / "whole") == ["img/1.jpg"]


def test_pictures_are_looked_up_in_a_folder_of_their_own(write, tmp_path, jpeg):
    table = write(["1.jpg", "2.JPG", "3.jpg"], ["3.jpg"])
    root = tmp_path / "pictures"
    root.mkdir()
    for number in (1, 2):
        (root / f"{number}.jpg").write_bytes(jpeg(number))
    posts = read_posts(table, ReadOptions(image_root=root))
    assert [post.image for post in posts.posts] == ["1.jpg", "2.jpg", None]
    assert posts.storage.read("2.jpg") == jpeg(2)
    contents, faults = contents_of(posts, Modality.IMAGE)
    assert [item.read_image()[0] for item in contents] == [jpeg(1), jpeg(2)]
    assert list(faults) == ["2"]


def test_pictures_are_looked_up_in_a_zip_of_their_own(write, tmp_path, jpeg):
    with zipfile.ZipFile(tmp_path / "pictures.zip", "w") as archive:
        archive.writestr("img/1.jpg", jpeg(1))
    posts = read_posts(write(["img\\1.jpg"], []), ReadOptions(image_root=tmp_path / "pictures.zip"))
    assert posts.storage.read(posts.posts[0].image) == jpeg(1)


@pytest.mark.parametrize("named", ["../1.jpg", "/etc/1.jpg", "img/../../1.jpg"])
def test_pictures_must_lie_in_the_folder_that_was_named(write, tmp_path, named):
    (tmp_path / "pictures").mkdir()
    with pytest.raises(DataError, match=r"is not in .*pictures"):
        read_posts(write([named], ["1.jpg"]), ReadOptions(image_root=tmp_path / "pictures"))


@pytest.mark.parametrize("kind", ["nothing", "a file"])
def test_a_folder_of_pictures_that_is_none_is_refused(write, tmp_path, kind):
    if kind == "a file":
        (tmp_path / "pictures").write_text("x")
    with pytest.raises(DataError, match=f"pictures.*Found {kind}.*--image-root"):
        read_posts(write(["1.jpg"], ["1.jpg"]), ReadOptions(image_root=tmp_path / "pictures"))


@pytest.mark.parametrize("encoding", ["gbk", "utf-8"])
def test_names_in_a_zip_that_does_not_tell_their_encoding_are_found(tmp_path, jpeg, encoding):
    name = "图片/图1.jpg"
    raw = name.encode(encoding)
    stand_in = "x" * len(raw)
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr("posts.csv", f"id,text,image,label\n1,a,{name},positive\n")
        archive.writestr(stand_in, jpeg(1))
    data = (tmp_path / "set.zip").read_bytes()
    (tmp_path / "set.zip").write_bytes(data.replace(stand_in.encode(), raw))
    posts = read_posts(tmp_path / "set.zip")
    assert posts.storage.read(posts.posts[0].image) == jpeg(1)
    assert posts.notes.get(NEAR_NOTE, 0) == (encoding == "gbk")


def test_what_macos_writes_beside_files_is_no_table_and_no_picture(write):
    table = write(["img/1.jpg"], ["img/1.jpg", "img/._1.jpg"])
    (table.parent / "._posts.csv").write_bytes(b"\0\5\x16\7")
    assert images(table.parent) == ["img/1.jpg"]


def rename(folder: Path, old: str, new: str) -> None:
    (folder / "data" / old).rename(folder / "data" / new)


def test_mvsas_layout_takes_the_same_near_names(write_mvsa):
    folder = write_mvsa(["1\tpositive,neutral", "2\tneutral,neutral", "3\tnegative,negative"])
    rename(folder, "1.jpg", "1.JPG")
    rename(folder, "2.jpg", "2.jpeg")
    (folder / "data" / "3.jpg").unlink()
    (folder / "data" / "._3.jpg").write_bytes(b"x")
    posts = read_posts(folder).posts
    assert [post.image for post in posts] == ["data/1.JPG", "data/2.jpeg", None]
    assert posts[2].sought == "data/3.jpg"


def test_ids_that_differ_from_their_files_in_case_alone_are_found_once(tmp_path, jpeg):
    folder = tmp_path / "set" / "data"
    folder.mkdir(parents=True)
    rows = {"Ab": "positive", "cD": "negative", "Cd": "neutral", "é": "neutral"}
    lines = ["guid,tag", *(f"{guid},{tag}" for guid, tag in rows.items())]
    (folder.parent / "train.txt").write_text("\n".join(lines), "utf-8")
    for name in ("ab", "cd", unicodedata.normalize("NFD", "é")):
        (folder / f"{name}.jpg").write_bytes(jpeg(1))
        (folder / f"{name}.txt").write_text(name, "utf-8")
    posts = read_posts(folder.parent)
    found = {post.id: post.image is not None for post in posts.posts}
    assert found == {"Ab": True, "cD": False, "Cd": False, "é": True}
    assert posts.notes[NEAR_NOTE] == posts.notes["texts-found-by-near-name"] == 2


def test_a_text_beyond_belief_is_refused(write_mvsa):
    folder = write_mvsa()
    (folder / "data" / "2.txt").write_bytes(bytes(2**20 + 1))
    with pytest.raises(DataError, match=r"2\.txt.*at most 1,048,576 bytes for the text of a post"):
        read_posts(folder)
