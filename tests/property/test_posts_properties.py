"""What holds of any posts: splits, groups, encodings, rules."""

from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from hypothesis import example, given, reject, settings
from hypothesis import strategies as st

from mvsa_pipe.errors import SplitError
from mvsa_pipe.posts import Post, PostSet, random_split
from mvsa_pipe.posts.duplicates import joined, normalised
from mvsa_pipe.posts.readers.id_files import decode_text
from mvsa_pipe.posts.readers.mvsa import SENTIMENTS, consolidate
from mvsa_pipe.posts.storage.base import FolderStorage
from mvsa_pipe.posts.synthetic.ceilings import expected_ceilings
from mvsa_pipe.posts.synthetic.config import Relation

labels = st.sampled_from(SENTIMENTS)
ratios = st.tuples(st.integers(1, 20), st.integers(1, 20), st.integers(0, 20))


@st.composite
def grouped_posts(draw):
    """Posts of three classes, at least ten of each, some without a label, some in groups."""
    listed = draw(st.lists(st.none() | labels, max_size=60)) + list(SENTIMENTS) * 10
    n_groups = draw(st.integers(1, len(listed) * 2))
    groups = draw(st.lists(st.integers(0, n_groups), min_size=len(listed), max_size=len(listed)))
    posts = tuple(Post(str(n), f"t{n}", None, label) for n, label in enumerate(listed))
    return PostSet("toy", SENTIMENTS, posts, FolderStorage(Path())), groups


def attempt(posts, ratios, seed, groups):
    """The split; discards the example where no class has enough groups for every part."""
    try:
        return random_split(posts, ratios, seed, groups)
    except SplitError as error:
        message = str(error)
    assert "too few posts for the part" in message
    majorities = Counter(majority_classes(posts, groups).values())
    assert max(majorities.values()) < sum(ratio > 0 for ratio in ratios)
    return reject()


def majority_classes(posts, groups):
    """The class that each group is dealt with."""
    labels = {}
    for post, group in zip(posts.posts, groups, strict=True):
        if post.label is not None:
            labels.setdefault(group, []).append(posts.classes.index(post.label))
    return {group: max(sorted(own), key=own.count) for group, own in labels.items()}


@settings(max_examples=60, deadline=None)
@given(grouped_posts(), ratios, st.integers(0, 2**32 - 1))
def test_random_splits(grouped, ratios, seed):
    posts, groups = grouped
    split = attempt(posts, ratios, seed, groups)
    labelled = [post.id for post in posts.posts if post.label is not None]
    assert list(split.parts) == labelled
    assert sum(split.sizes().values()) == len(labelled)
    sides: dict[int, set[str]] = {}
    for post, group in zip(posts.posts, groups, strict=True):
        if post.label is not None:
            sides.setdefault(group, set()).add(split.parts[post.id])
    assert all(len(side) == 1 for side in sides.values())
    assert bool(split.ids("test")) == (ratios[2] > 0)
    assert random_split(posts, ratios, seed, groups) == split
    backwards = replace(posts, posts=posts.posts[::-1])
    assert dict(random_split(backwards, ratios, seed, groups[::-1]).parts) == dict(split.parts)


@settings(max_examples=60, deadline=None)
@given(st.lists(labels, max_size=100), ratios, st.integers(0, 1000))
def test_sizes_are_exact_where_nothing_is_grouped(listed, ratios, seed):
    listed = listed + list(SENTIMENTS) * 10
    posts = tuple(Post(str(n), f"t{n}", None, label) for n, label in enumerate(listed))
    split = attempt(
        PostSet("toy", SENTIMENTS, posts, FolderStorage(Path())),
        ratios,
        seed,
        range(len(posts)),
    )
    totals = Counter(listed)
    counts = Counter((split.parts[post.id], post.label) for post in posts)
    for part, ratio in zip(("train", "val", "test"), ratios, strict=True):
        for label, total in totals.items():
            # a part that would be empty takes one from another
            assert abs(counts[part, label] - total * ratio / sum(ratios)) < 2.0001
            assert (counts[part, label] > 0) == (ratio > 0)


@settings(max_examples=60, deadline=None)
@given(st.lists(labels, max_size=100), ratios, st.integers(0, 1000), st.data())
def test_one_label_more_or_other_moves_few_posts(listed, ratios, seed, data):
    listed = listed + list(SENTIMENTS) * 10
    posts = tuple(Post(str(n), f"t{n}", None, label) for n, label in enumerate(listed))
    before = PostSet("toy", SENTIMENTS, posts, FolderStorage(Path()))
    at = data.draw(st.integers(0, len(posts) - 1))
    other = replace(posts[at], label=data.draw(labels))
    new = replace(posts[at], id="new")
    one = random_split(before, ratios, seed, range(len(posts))).parts
    for changed in (
        (*posts[:at], other, *posts[at + 1 :]),
        (*posts, new),
        posts[:at] + posts[at + 1 :],
    ):
        after = replace(before, posts=changed)
        two = random_split(after, ratios, seed, range(len(changed))).parts
        assert sum(two.get(post.id, one[post.id]) != one[post.id] for post in posts) <= 7


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000), st.integers(0, 40))
@example(343, 30)
def test_pairs_of_duplicates_do_not_disturb_the_sizes(seed, n_pairs):
    listed = ["positive"] * 100 + ["negative"] * 100 + ["neutral"] * 20
    groups = list(range(len(listed)))
    generator = np.random.default_rng(seed)
    chosen = generator.permutation(len(listed))[: 2 * n_pairs].reshape(-1, 2)
    for one, other in chosen.tolist():
        groups[other] = groups[one]
    posts = tuple(Post(str(n), f"t{n}", None, label) for n, label in enumerate(listed))
    split = random_split(
        PostSet("toy", SENTIMENTS, posts, FolderStorage(Path())), seed=seed, groups=groups
    )
    counts = Counter((split.parts[post.id], post.label) for post in posts)
    for part, share in {"train": 0.8, "val": 0.1, "test": 0.1}.items():
        for label, total in Counter(listed).items():
            assert abs(counts[part, label] - total * share) <= 1


@given(st.lists(st.tuples(st.none() | st.integers(0, 5), st.none() | st.integers(0, 5))))
def test_joined_is_the_transitive_closure(pairs):
    groups = joined([one for one, _ in pairs], [two for _, two in pairs])
    n = len(pairs)
    linked = np.eye(n, dtype=bool)
    for a in range(n):
        for b in range(n):
            linked[a, b] |= any(
                x is not None and x == y for x, y in zip(pairs[a], pairs[b], strict=True)
            )
    for _ in range(n):
        linked = (linked.astype(int) @ linked.astype(int)) > 0
    for a in range(n):
        for b in range(n):
            assert (groups[a] == groups[b]) == linked[a, b]
    assert sorted(set(groups)) == list(range(len(set(groups))))


@given(st.binary())
def test_any_bytes_decode_and_never_hold_nul(data):
    text, encoding = decode_text(data)
    assert "\0" not in text
    assert encoding in {"utf-8", "utf-8-sig", "utf-16", "gb18030", "latin-1"}


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufeff")))
def test_utf_8_comes_back_as_it_was(text):
    assert decode_text(text.encode())[0] == text


@given(st.text())
def test_normalising_leaves_no_spare_space(text):
    bare = normalised(text)
    assert bare == " ".join(bare.split())


@given(labels, labels)
def test_consolidation_never_invents_a_label(text, image):
    assert consolidate(text, image) in {text, image, None}


@given(st.sampled_from(Relation), st.floats(0, 1), st.floats(0, 0.99))
def test_ceilings_are_ordered(relation, strength, noise):
    ceilings = expected_ceilings(relation, strength, noise)
    slack = 1e-9
    for single in (ceilings.text, ceilings.image):
        assert ceilings.majority <= single + slack
    # The text names a corner and the picture alone shows a bag of them: no mean over tokens loses
    # what one modality says alone.
    rising = [
        max(ceilings.text, ceilings.image), ceilings.additive, ceilings.pooled, ceilings.fused, 1.0
    ]  # fmt: skip
    assert all(low <= high + slack for low, high in pairwise(rising))
