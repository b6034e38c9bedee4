"""What tells two data sets of one name apart: a digest over ids and labels."""

from dataclasses import replace

import pytest

from mvsa_pipe.posts import Post, PostSet, read_posts
from mvsa_pipe.posts.storage.base import FolderStorage


@pytest.fixture
def posts(tmp_path):
    some = [Post(str(i), f"text {i}", None, "ab"[i % 2]) for i in range(6)]
    return PostSet("toy", ("a", "b"), tuple(some), FolderStorage(tmp_path))


def test_the_digest_is_of_ids_and_labels_alone(posts):
    other_texts = [replace(post, text="other", encoding="cp1252") for post in posts.posts]
    assert replace(posts, posts=tuple(other_texts), name="x").digest == posts.digest
    assert replace(posts, posts=posts.posts[::-1]).digest == posts.digest
    assert len(posts.digest) == 8
    assert int(posts.digest, 16) >= 0


@pytest.mark.parametrize(
    "changed", [{"label": "b"}, {"label": None}, {"id": "other"}], ids=["label", "none", "id"]
)
def test_one_changed_post_changes_the_digest(posts, changed):
    first = replace(posts.posts[0], **changed)
    assert replace(posts, posts=(first, *posts.posts[1:])).digest != posts.digest
    assert replace(posts, posts=posts.posts[1:]).digest != posts.digest


def test_no_two_rows_run_together(tmp_path):
    def digest(*rows):
        some = tuple(Post(i, "", None, label) for i, label in rows)
        return PostSet("toy", (), some, FolderStorage(tmp_path)).digest

    tricky = [("1", "2\n3"), ("1", "2"), ("1\n2", "3"), ('1", "2', "3"), ("1", None), ("1", "null")]
    assert len({digest(row) for row in tricky}) == len(tricky)
    assert digest(("1", "a"), ("2", "b")) != digest(("1", "b"), ("2", "a"))


def test_two_tables_of_one_name_have_different_tags(tmp_path):
    tags = []
    for folder, label in (("first", "good"), ("second", "bad")):
        (tmp_path / folder).mkdir()
        table = tmp_path / folder / "train.csv"
        table.write_text(f"id,text,image,label\n1,a,,{label}\n2,b,,other\n", encoding="utf-8")
        tags.append(read_posts(table).protocol)
    assert [tag.partition("@")[0] for tag in tags] == ["train/2", "train/2"]
    assert tags[0] != tags[1]
