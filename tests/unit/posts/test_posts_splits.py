"""Random splits, the option that names a split, and the protocol tag."""

from collections import Counter

import pytest

from mvsa_pipe.errors import SplitError
from mvsa_pipe.posts import Split, parse_split, protocol_tag, random_split, read_posts


def labels(negative=20, neutral=10, positive=70):
    return ["negative"] * negative + ["neutral"] * neutral + ["positive"] * positive


def by_class(posts, split):
    counts = Counter((split.parts[post.id], post.label) for post in posts.posts)
    return {
        part: tuple(counts[part, name] for name in posts.classes)
        for part in ("train", "val", "test")
    }


def test_every_class_is_cut_in_the_same_ratios(post_set):
    posts = post_set(labels())
    split = random_split(posts)
    assert by_class(posts, split) == {"train": (16, 8, 56), "val": (2, 1, 7), "test": (2, 1, 7)}
    assert split.sizes() == {"train": 80, "val": 10, "test": 10}
    assert split.tag == "random-8:1:1/seed-0"
    assert protocol_tag(posts, split) == f"toy/100@{posts.digest}/random-8:1:1/seed-0"


def test_no_test_part(post_set):
    posts = post_set(labels())
    split = random_split(posts, (8, 2, 0), seed=3)
    assert by_class(posts, split) == {"train": (16, 8, 56), "val": (4, 2, 14), "test": (0, 0, 0)}
    assert split.tag == "random-8:2:0/seed-3"
    assert split.ids("test") == ()


def test_seeds_differ_and_repeat(post_set):
    posts = post_set(labels())
    assert random_split(posts, seed=1) == random_split(posts, seed=1)
    assert random_split(posts, seed=1).parts != random_split(posts, seed=2).parts


def test_ids_come_in_the_posts_order(post_set):
    split = random_split(post_set(labels()))
    assert list(split.ids("val")) == sorted(split.ids("val"), key=int)
    assert list(split.parts) == [str(n) for n in range(100)]


def test_duplicates_stay_together_by_default(post_set):
    texts = [f"text {n // 2}" for n in range(100)]
    split = random_split(post_set(labels(), texts))
    assert all(split.parts[str(n)] == split.parts[str(n + 1)] for n in range(0, 100, 2))
    # five pairs of neutral posts: one pair each for val and test
    counts = by_class(post_set(labels(), texts), split)
    assert counts["train"][:2] == (16, 6)
    assert counts["val"][:2] == counts["test"][:2] == (2, 2)
    assert {counts[part][2] for part in ("val", "test")} <= {6, 8}


def test_groups_may_be_given(post_set):
    texts = [f"text {n // 2}" for n in range(100)]
    apart = random_split(post_set(labels(), texts), groups=range(100))
    assert any(apart.parts[str(n)] != apart.parts[str(n + 1)] for n in range(0, 100, 2))
    with pytest.raises(SplitError, match="Expected 100 numbers"):
        random_split(post_set(labels()), groups=[0])


def test_a_group_larger_than_a_part_goes_to_train(post_set):
    posts = post_set(labels(), ["spam"] * 30 + [f"text {n}" for n in range(70)])
    split = random_split(posts)
    assert {split.parts[str(n)] for n in range(30)} == {"train"}
    assert split.ids("val")
    assert split.ids("test")


def test_groups_land_in_every_part(post_set):
    texts = [f"text {n // 4}" for n in range(400)]
    posts = post_set(["positive"] * 200 + ["negative"] * 200, texts)
    posts = post_set(
        ["positive"] * 200 + ["negative"] * 200, texts, classes=("negative", "positive")
    )
    assert random_split(posts).sizes() == {"train": 320, "val": 40, "test": 40}


def test_posts_without_a_label_are_left_out(post_set):
    split = random_split(post_set([*labels(), None, None]))
    assert len(split.parts) == 100


def test_a_class_of_two_has_one_to_choose_on(post_set):
    posts = post_set(labels(neutral=2))
    assert by_class(posts, random_split(posts))["train"][1] == 1


@pytest.mark.parametrize("neutral", [0, 1])
def test_a_class_with_too_few_posts_is_an_error(post_set, neutral):
    with pytest.raises(SplitError, match=f"at least two posts.*neutral: {neutral}"):
        random_split(post_set(labels(neutral=neutral)))


def test_no_labels_at_all_is_an_error(post_set):
    with pytest.raises(SplitError, match="no labels"):
        random_split(post_set([None, None], classes=()))


def test_a_part_that_stays_empty_is_an_error(post_set):
    posts = post_set(["positive"] * 2 + ["negative"] * 2, classes=("negative", "positive"))
    with pytest.raises(SplitError, match="too few posts for the part test"):
        random_split(posts)


@pytest.mark.parametrize(
    "ratios", [(8,), (0, 1, 1), (8, 0, 2), (8, -1, 1), (1, 1, 1, 1), (8, float("nan"), 1)]
)
def test_ratios_that_divide_nothing(post_set, ratios):
    with pytest.raises(SplitError, match="ratios divide nothing"):
        random_split(post_set(labels()), ratios)


@pytest.mark.parametrize(
    ("text", "sizes", "tag"),
    [
        ("random-8:1:1", (80, 10, 10), "random-8:1:1/seed-5"),
        ("random", (80, 10, 10), "random-8:1:1/seed-5"),
        ("random-6:2:2", (60, 20, 20), "random-6:2:2/seed-5"),
        ("random-8:2:0", (80, 20, 0), "random-8:2:0/seed-5"),
        ("random-8:2", (80, 20, 0), "random-8:2:0/seed-5"),
        ("random-0.5:0.25:0.25", (50, 25, 25), "random-0.5:0.25:0.25/seed-5"),
    ],
)
def test_parse_random(post_set, text, sizes, tag):
    split = parse_split(text, post_set(labels(20, 20, 60)), seed=5)
    assert tuple(split.sizes().values()) == sizes
    assert split.tag == tag


@pytest.mark.parametrize("text", ["random-8", "rnd", "random-8:1:1:1", "no/such/path"])
def test_what_names_no_split(post_set, text):
    with pytest.raises(SplitError, match="names no split"):
        parse_split(text, post_set(labels()))


@pytest.mark.parametrize("text", ["random-0:1:1", "random-1.2.3:1:1"])
def test_random_with_useless_ratios(post_set, text):
    with pytest.raises(SplitError, match="divide nothing"):
        parse_split(text, post_set(labels()))


def test_ratios_are_not_rounded_in_the_tag(post_set):
    posts = post_set(labels(20, 20, 60))
    assert random_split(posts, (2 / 3, 1 / 3, 0)).tag == (
        "random-0.6666666666666666:0.3333333333333333:0/seed-0"
    )


def test_a_split_checks_itself():
    with pytest.raises(SplitError, match="not known"):
        Split({"1": "train", "2": "tset"}, "x")
    with pytest.raises(SplitError, match="no training posts"):
        Split({"1": "val"}, "x")


def test_real_split(shared_folder):
    posts = read_posts(shared_folder / "data" / "MVSA_Single_dev.zip")
    split = parse_split("random-8:2:0", posts)
    assert by_class(posts, split)["val"] == (239, 84, 478)
    assert protocol_tag(posts, split) == f"mvsa-single/4000@{posts.digest}/random-8:2:0/seed-0"
