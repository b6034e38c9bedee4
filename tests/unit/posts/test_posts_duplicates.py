"""Groups of posts that say or show the same."""

from dataclasses import replace

import pytest

from mvsa_pipe.posts import read_posts
from mvsa_pipe.posts.duplicates import duplicate_groups, image_keys, joined, members


def test_same_normalised_text_is_one_group(post_set):
    texts = ["RT @a: good day", "Good  day http://t.co/1", "other", "good day", "RT @x", "@y"]
    groups = duplicate_groups(post_set(["neutral"] * 6, texts))
    # The last two say nothing once normalised: that makes them no duplicates.
    assert groups == (0, 0, 1, 0, 2, 3)


def test_same_picture_is_one_group_and_chains_join(write_mvsa):
    folder = write_mvsa([f"{n}\tneutral,neutral" for n in range(1, 6)])
    data = folder / "data"
    (data / "2.jpg").write_bytes((data / "1.jpg").read_bytes())
    (data / "2.txt").write_text("the same words")
    (data / "5.txt").write_text("RT @them: The same words")
    assert duplicate_groups(read_posts(folder)) == (0, 0, 1, 2, 0)


def test_empty_missing_and_unreadable_pictures_have_no_twin(write_mvsa):
    folder = write_mvsa([f"{n}\tneutral,neutral" for n in range(1, 6)])
    for n in (1, 2):
        (folder / "data" / f"{n}.jpg").write_bytes(b"")
    (folder / "data" / "3.jpg").unlink()
    posts = read_posts(folder)
    broken = [replace(post, image="data/gone.jpg") for post in posts.posts[3:]]
    posts = replace(posts, posts=(*posts.posts[:3], *broken))
    assert image_keys(posts) == [None] * 5
    assert len(set(duplicate_groups(posts))) == 5


def test_pictures_of_one_size_are_told_apart_by_their_bytes(write_mvsa):
    folder = write_mvsa()
    for n, data in enumerate((b"aaaa", b"bbbb", b"aaaa"), start=1):
        (folder / "data" / f"{n}.jpg").write_bytes(data)
    first, second, third = image_keys(read_posts(folder))
    assert first == third != second


def test_joined_and_members():
    groups = joined(["a", "b", "a", None, None, "c"], [1, 2, 3, 3, None, 2])
    assert groups == (0, 1, 0, 0, 2, 1)
    assert members(groups) == [[0, 2, 3], [1, 5]]


def test_a_picture_named_by_two_posts_is_a_duplicate(write_mvsa):
    posts = read_posts(write_mvsa())
    twin = replace(posts.posts[1], image=posts.posts[0].image)
    assert duplicate_groups(replace(posts, posts=(posts.posts[0], twin))) == (0, 0)


@pytest.mark.parametrize("wrapping", ["folder", "zip"])
def test_zip_and_folder_agree(write_mvsa, zipped, wrapping):
    folder = write_mvsa()
    (folder / "data" / "3.jpg").write_bytes((folder / "data" / "1.jpg").read_bytes())
    path = folder if wrapping == "folder" else zipped(folder)
    assert duplicate_groups(read_posts(path)) == (0, 1, 0)


def test_real_duplicates(shared_folder):
    posts = read_posts(shared_folder / "data" / "MVSA_Single_dev.zip")
    groups = members(duplicate_groups(posts))
    assert (len(groups), len(groups[0])) == (148, 13)
