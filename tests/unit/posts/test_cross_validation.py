"""Folds: each post tested once, classes in equal shares, duplicates together."""

from collections import Counter

import pytest

from mvsa_pipe.errors import SplitError
from mvsa_pipe.posts import parse_split, read_posts
from mvsa_pipe.posts.duplicates import duplicate_groups
from mvsa_pipe.posts.splits.cross_validation import cross_fold, fold_names


@pytest.fixture
def posts(tmp_path):
    """Sixty posts of two classes; every sixth repeats the text of the one before."""
    rows = ["id,text,image,label"]
    rows += [
        f"{n},text {n - 1 if n % 6 == 5 else n},,{'good' if n % 3 else 'bad'}" for n in range(60)
    ]
    path = tmp_path / "posts.csv"
    path.write_text("\n".join(rows) + "\n")
    return read_posts(path)


@pytest.mark.parametrize("folds", [3, 5])
def test_every_post_is_tested_once_and_selects_once(posts, folds):
    splits = [cross_fold(posts, folds, number, 0) for number in range(1, folds + 1)]
    for part in ("test", "val"):
        counts = Counter(i for split in splits for i in split.ids(part))
        assert set(counts) == {post.id for post in posts.posts}
        assert set(counts.values()) == {1}
    labels = {post.id: post.label for post in posts.posts}
    shares = [Counter(labels[i] for i in split.ids("test")) for split in splits]
    for name in ("good", "bad"):
        assert max(s[name] for s in shares) - min(s[name] for s in shares) <= 2


def test_duplicates_stay_in_one_part(posts):
    groups = duplicate_groups(posts)
    for number in (1, 2, 3, 4):
        parts = cross_fold(posts, 4, number, 0).parts
        by_group = {}
        for post, group in zip(posts.posts, groups, strict=True):
            by_group.setdefault(group, set()).add(parts[post.id])
        assert all(len(own) == 1 for own in by_group.values())


def test_a_fold_is_named_as_a_split(posts):
    split = parse_split("folds-5:2", posts, seed=3)
    assert split.tag == "folds-5/seed-3/fold-2"
    assert split == cross_fold(posts, 5, 2, 3)
    assert split.parts != parse_split("folds-5:2", posts, seed=4).parts


@pytest.mark.parametrize("name", ["folds-2:1", "folds-5:0", "folds-5:6", "folds-70:1"])
def test_folds_that_cannot_be_made_are_refused(posts, name):
    with pytest.raises(SplitError, match="folds"):
        parse_split(name, posts)


def test_names_of_folds(tmp_path):
    assert fold_names("3") == ("folds-3:1", "folds-3:2", "folds-3:3")
    for number in (1, 2):
        for part in ("train", "val", "test"):
            (tmp_path / f"{part}_{number}.txt").write_text("1\n")
    assert fold_names(str(tmp_path)) == tuple(f"{tmp_path.resolve()}:{n}" for n in (1, 2))


@pytest.mark.parametrize("text", ["2", "1001", "x", "9" * 50, "-3", "³"])
def test_other_folds_are_refused(text):
    with pytest.raises(SplitError, match="--folds names no folds"):
        fold_names(text)
