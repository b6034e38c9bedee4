"""Data sets that come with their split."""

import shutil

import pytest

from mvsa_pipe.errors import DataError, SplitError
from mvsa_pipe.posts import ReadOptions, parse_split, random_split, read_posts

CLASSES = ("negative", "neutral", "positive")
PARTS = {"train": range(30), "val": range(30, 36), "test": range(36, 45)}


@pytest.fixture
def write(tmp_path, jpeg):
    """Writes one table (and its pictures) for some numbers of posts."""

    def write_table(name, numbers, columns="id,text,image,label", shift=0):
        path = tmp_path / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = [columns]
        for n in numbers:
            picture = path.parent / "img" / f"{n - shift}.jpg"
            picture.parent.mkdir(exist_ok=True)
            picture.write_bytes(jpeg(n))
            cells = {"id": n - shift, "text": f"words of {n}", "label": CLASSES[n % 3]}
            cells |= {"image": f"img/{n - shift}.jpg", "file_name": f"img/{n - shift}.jpg"}
            rows.append(",".join(str(cells[column]) for column in columns.split(",")))
        path.write_text("\n".join(rows) + "\n")
        return tmp_path / "set"

    return write_table


def by_text(posts, split):
    """Numbers of the posts in each part."""
    found = {part: [] for part in PARTS}
    for post in posts.posts:
        found[split.parts[post.id]].append(int(post.text.split()[-1]))
    return found


WHOLE = {part: list(numbers) for part, numbers in PARTS.items()}


@pytest.mark.parametrize(
    "names",
    [
        ("train.csv", "val.csv", "test.csv"),
        ("Train.csv", "dev.csv", "TEST.csv"),
        ("mine_train.csv", "mine_validation.csv", "mine_test.csv"),
        ("train-00000-of-00001.csv", "validation-00000-of-00001.csv", "test-00000-of-00001.csv"),
        ("data/train.csv", "data/valid.csv", "data/test.csv"),
        ("train/posts.csv", "val/posts.csv", "test/posts.csv"),
        ("training/a.csv", "dev/b.csv", "testing/c.csv"),
    ],
)
def test_tables_of_parts_are_one_data_set(write, zipped, names):
    for name, numbers in zip(names, PARTS.values(), strict=True):
        folder = write(name, numbers)
    (folder / "README.md").write_text("x")
    for path in (folder, zipped(folder)):
        posts = read_posts(path)
        assert posts.name == "set"
        assert [post.id for post in posts.posts] == [str(n) for n in range(45)]
        assert all(posts.storage.has(post.image) for post in posts.posts)
        for text in ("auto", "published"):
            split = parse_split(text, posts)
            assert split.tag == "published"
            assert by_text(posts, split) == WHOLE
        assert parse_split("random-8:1:1", posts) == random_split(posts)
    only_train = read_posts(folder / names[0])
    assert (len(only_train), only_train.published) == (30, None)


def test_metadata_of_parts(write):
    for part, numbers in PARTS.items():
        folder = write(f"{part}/metadata.csv", numbers, "file_name,text,label", numbers[0])
    posts = read_posts(folder)
    # every part counts its pictures from 0
    assert posts.posts[0].id == "train/img/0.jpg"
    assert posts.posts[-1].id == "test/img/8.jpg"
    assert posts.posts[-1].image == "test/img/8.jpg"
    assert posts.notes["ids-in-several-tables-led-by-their-table"] == 9
    assert by_text(posts, parse_split("auto", posts)) == WHOLE
    assert read_posts(folder / "test").posts[0].id == "img/0.jpg"
    named = read_posts(folder, ReadOptions(format="imagefolder"))
    assert (named.posts, named.published) == (posts.posts, posts.published)


def test_a_missing_val_part_is_carved_from_train_alone(write):
    write("train.csv", PARTS["train"])
    posts = read_posts(write("test.csv", PARTS["test"]))
    split = parse_split("auto", posts, seed=4)
    assert split.tag == "published+val-random-9:1:0/seed-4"
    assert by_text(posts, split)["test"] == WHOLE["test"]
    assert split.sizes() == {"train": 27, "val": 3, "test": 9}
    labels = {post.id: post.label for post in posts.posts}
    assert {labels[post_id] for post_id in split.ids("val")} == set(CLASSES)
    assert parse_split("auto", posts, seed=5).ids("val") != split.ids("val")
    assert parse_split("auto", posts, seed=5).ids("test") == split.ids("test")


def test_a_missing_test_part_is_none(write):
    write("train.csv", PARTS["train"])
    posts = read_posts(write("dev.csv", PARTS["val"]))
    assert parse_split("auto", posts).sizes() == {"train": 30, "val": 6, "test": 0}


def test_lists_of_guids(write_mvsa):
    folder = write_mvsa([f"{n}\tpositive,neutral" for n in range(1, 7)])
    (folder / "labelResultAll.txt").unlink()
    (folder / "train.txt").write_text("guid,tag\n1,positive\n2,negative\n3,neutral\n")
    (folder / "dev.txt").write_text("guid,tag\n4,positive\n")
    (folder / "test.txt").write_text("guid,tag\n5,negative\n6,neutral\n")
    posts = read_posts(folder)
    assert parse_split("auto", posts).sizes() == {"train": 3, "val": 1, "test": 2}
    # labels that are withheld are nothing to test on
    (folder / "test.txt").write_text("guid,tag\n5,null\n6,null\n")
    posts = read_posts(folder)
    assert dict(parse_split("auto", posts).parts) == dict.fromkeys("123", "train") | {"4": "val"}
    (folder / "dev.txt").unlink()
    assert read_posts(folder).published is None


def test_shards_are_one_part(write):
    write("train-00000-of-00002.csv", range(20), shift=0)
    write("train-00001-of-00002.csv", range(20, 30), shift=20)
    folder = write("test-00000-of-00001.csv", PARTS["test"])
    posts = read_posts(folder)
    assert (posts.posts[0].id, posts.posts[20].id) == ("train-00000/0", "train-00001/0")
    assert parse_split("auto", posts).sizes()["test"] == 9
    (folder / "train-00001-of-00002.csv").unlink()
    with pytest.raises(DataError, match=r"Files of the part train are missing.*2 files"):
        read_posts(folder)


def test_two_tables_of_one_part_are_not_guessed_between(write):
    write("train.csv", PARTS["train"])
    write("dev.csv", PARTS["val"])
    folder = write("val.csv", PARTS["val"])
    with pytest.raises(DataError, match=r"Two tables are the part val.*dev\.csv.*val\.csv"):
        read_posts(folder)


def test_a_post_in_two_parts_is_refused(write):
    write("train.csv", PARTS["train"])
    folder = write("test.csv", range(28, 40))
    with pytest.raises(DataError, match=r"2 posts occur in two tables.*28, 29"):
        read_posts(folder)


def test_other_tables_beside_the_parts_are_counted(write):
    for part, numbers in PARTS.items():
        folder = write(f"{part}.csv", numbers)
    shutil.copy(folder / "train.csv", folder / "sample_submission.csv")
    posts = read_posts(folder)
    assert len(posts) == 45
    assert posts.notes["tables-beside-the-parts-ignored"] == 1


def test_tables_of_several_tasks_are_no_split(write):
    for name in ("a_train", "a_test", "b_train", "b_test"):
        folder = write(f"{name}.csv", PARTS["val"])
    with pytest.raises(DataError, match="no known layout"):
        read_posts(folder)


def test_a_data_set_without_a_published_split(post_set):
    posts = post_set(["positive", "negative", "neutral"] * 10)
    assert parse_split("auto", posts) == random_split(posts)
    with pytest.raises(SplitError, match=r"has no published split.*--split random-8:1:1"):
        parse_split("published", posts)


def test_pictures_in_files_of_the_parts_own(write):
    from mvsa_pipe.posts.storage.base import FolderStorage
    from mvsa_pipe.posts.storage.joined import join_storages

    for part, numbers in PARTS.items():
        folder = write(f"{part}/posts.csv", numbers)
    ours = [(part, FolderStorage(folder / part)) for part in ("train", "test")]
    joined, names = join_storages(ours)
    name = names[1]("img/40.jpg")
    assert joined.has(name)
    assert not joined.has(names[0]("img/40.jpg"))
    assert joined.read(name) == (folder / "test" / "img" / "40.jpg").read_bytes()
    assert joined.size(name) == len(joined.read(name))
    assert joined.stamp(name) == ours[1][1].stamp("img/40.jpg")
    assert joined.where(name).endswith("test/img/40.jpg")
    assert name in joined.names()
    with pytest.raises(DataError, match="no such file"):
        joined.read("none:img/40.jpg")
    assert join_storages([("a", ours[0][1]), ("b", ours[0][1])])[0] is ours[0][1]
