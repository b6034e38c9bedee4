"""Random splits, the option that names a split, and the protocol tag."""

from collections import Counter
from dataclasses import replace

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


@pytest.mark.parametrize(("neutral", "advice"), [(0, "a table with id"), (1, "add posts")])
def test_a_class_with_too_few_posts_is_an_error(post_set, neutral, advice):
    with pytest.raises(SplitError, match=f"at least two posts.*neutral: {neutral}.*{advice}"):
        random_split(post_set(labels(neutral=neutral)))


def test_no_labels_at_all_is_an_error(post_set):
    with pytest.raises(SplitError, match="no labels"):
        random_split(post_set([None, None], classes=()))


def test_small_classes_are_in_every_part(post_set):
    names = tuple(f"class {n:02}" for n in range(12))
    posts = post_set([name for name in names for _ in range(5)], classes=names)
    assert by_class(posts, random_split(posts)) == {
        "train": (3,) * 12, "val": (1,) * 12, "test": (1,) * 12
    }  # fmt: skip


def test_a_part_lacks_no_class_for_its_duplicates(post_set):
    texts = [f"text {n // 2}" for n in range(6)] + [f"other {n}" for n in range(20)]
    posts = post_set(["positive"] * 6 + ["negative"] * 20, texts, classes=("negative", "positive"))
    for seed in range(20):
        counts = by_class(posts, random_split(posts, seed=seed))
        assert [counts[part][1] for part in ("train", "val", "test")] == [2, 2, 2]


def test_a_group_of_several_labels_is_dealt_with_its_majority(post_set):
    texts = ["spam"] * 9 + [f"text {n}" for n in range(191)]
    posts = post_set(["positive"] * 105 + ["negative"] * 95, texts, ("negative", "positive"))
    mixed = replace(
        posts,
        posts=(*(replace(p, label="negative") for p in posts.posts[:3]), *posts.posts[3:]),
    )
    for seed in range(20):
        split = random_split(mixed, (2, 1, 1), seed=seed)
        assert len({split.parts[str(n)] for n in range(9)}) == 1
        counts = by_class(mixed, split)
        for part, share in {"train": 0.5, "val": 0.25, "test": 0.25}.items():
            assert abs(counts[part][0] - 98 * share) <= 1
            assert abs(counts[part][1] - 102 * share) <= 1


def moved(before, after):
    """Posts of both splits that are in another part."""
    return [i for i, part in before.parts.items() if after.parts.get(i, part) != part]


def changed(posts, at, *instead):
    return replace(posts, posts=(*posts.posts[:at], *instead, *posts.posts[at + 1 :]))


@pytest.mark.parametrize("seed", range(40))
def test_one_post_more_or_less_or_of_another_label_moves_few_others(post_set, seed):
    # a hundred of the posts are pairs of duplicates
    texts = [f"text {n // 2}" if n % 4 < 2 else f"own {n}" for n in range(200)]
    posts = post_set(labels(40, 37, 123), texts)
    before = random_split(posts, seed=seed)
    at = seed * 5
    post = posts.posts[at]
    added = (post, replace(post, id="new", text="new words", label="neutral"))
    assert len(moved(before, random_split(changed(posts, at, *added), seed=seed))) <= 5
    assert len(moved(before, random_split(changed(posts, at), seed=seed))) <= 5
    label = "positive" if post.label == "neutral" else "neutral"
    relabelled = changed(posts, at, replace(post, label=label))
    assert len(moved(before, random_split(relabelled, seed=seed))) <= 8


def test_on_average_one_post_moves_fewer_than_two_others(post_set):
    posts = post_set(labels(40, 37, 123))
    counts = []
    for seed in range(100):
        post = posts.posts[seed]
        before = random_split(posts, seed=seed)
        relabelled = changed(posts, seed, replace(post, label="positive"))
        added = changed(posts, seed, post, replace(post, id="new", text="new words"))
        others = [i for i in moved(before, random_split(relabelled, seed=seed)) if i != post.id]
        counts += [len(others), len(moved(before, random_split(added, seed=seed)))]
    assert max(counts) <= 4
    assert 0 < sum(counts) / len(counts) < 2


def test_the_order_of_the_posts_does_not_matter(post_set):
    texts = [f"text {n // 3}" for n in range(100)]
    posts = post_set(labels(), texts)
    backwards = replace(posts, posts=posts.posts[::-1])
    assert dict(random_split(posts, seed=7).parts) == dict(random_split(backwards, seed=7).parts)


@pytest.mark.parametrize("seed", [-1, 2**32, 10**30])
@pytest.mark.parametrize("text", ["random-8:1:1", "auto"])
def test_seeds_have_bounds(post_set, seed, text):
    with pytest.raises(SplitError, match=rf"--split-seed.*0 to 4294967295.*Found {seed}\."):
        parse_split(text, post_set(labels()), seed=seed)
    with pytest.raises(SplitError, match="seed of a split"):
        random_split(post_set(labels()), seed=seed)


def test_a_part_that_stays_empty_is_an_error(post_set):
    posts = post_set(["positive"] * 2 + ["negative"] * 2, classes=("negative", "positive"))
    with pytest.raises(SplitError, match=r"too few posts for the part test.*random-8:2:0"):
        random_split(posts)
    assert random_split(posts, (8, 2, 0)).sizes() == {"train": 2, "val": 2, "test": 0}


@pytest.mark.parametrize(
    "ratios", [(8,), (0, 1, 1), (8, 0, 2), (8, -1, 1), (1, 1, 1, 1), (8, float("nan"), 1)]
)
def test_ratios_that_divide_nothing(post_set, ratios):
    with pytest.raises(SplitError, match="ratios cannot be used"):
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


@pytest.mark.parametrize(
    "text", ["random-8", "rnd", "random-8:1:1:1", "no/such/path", "", "x\0", "y" * 5000]
)
def test_what_names_no_split(post_set, text):
    with pytest.raises(SplitError, match="names no split"):
        parse_split(text, post_set(labels()))


@pytest.mark.parametrize("text", ["random-0:1:1", "random-1.2.3:1:1"])
def test_random_with_useless_ratios(post_set, text):
    with pytest.raises(SplitError, match="ratios cannot be used"):
        parse_split(text, post_set(labels()))


def test_ratios_are_not_rounded_in_the_tag(post_set):
    posts = post_set(labels(20, 20, 60))
    assert random_split(posts, (2 / 3, 1 / 3, 0)).tag == (
        "random-0.6666666666666666:0.3333333333333333:0/seed-0"
    )


def test_a_split_checks_itself():
    with pytest.raises(SplitError, match="unknown parts"):
        Split({"1": "train", "2": "tset"}, "x")
    with pytest.raises(SplitError, match="no training posts"):
        Split({"1": "val"}, "x")


def test_real_split(shared_folder):
    posts = read_posts(shared_folder / "data" / "MVSA_Single_dev.zip")
    split = parse_split("random-8:2:0", posts)
    assert by_class(posts, split)["val"] == (239, 84, 478)
    assert protocol_tag(posts, split) == f"mvsa-single/4000@{posts.digest}/random-8:2:0/seed-0"
