"""Makes splits: at random, or as an option names one."""

import math
import re
from collections.abc import Sequence
from pathlib import Path

from mvsa_pipe.errors import SplitError
from mvsa_pipe.posts.duplicates import duplicate_groups
from mvsa_pipe.posts.post import PostSet
from mvsa_pipe.posts.split import PARTS, Split
from mvsa_pipe.posts.split_files import read_split
from mvsa_pipe.posts.stratify import stratified

DEFAULT_RATIOS = (8.0, 1.0, 1.0)

_RANDOM = re.compile(r"random(?:-(?P<ratios>[\d.]+(?::[\d.]+){1,2}))?")


def random_split(
    posts: PostSet,
    ratios: Sequence[float] = DEFAULT_RATIOS,
    seed: int = 0,
    groups: Sequence[int] | None = None,
) -> Split:
    """Divides the labelled posts at random, each class in the same ratios.

    Duplicates stay on one side. Each class's sizes are those asked for, rounded, unless groups of
    duplicates are so large or many that they leave no such division.

    Args:
        posts: What to divide; posts without a label are left out.
        ratios: Train, val and test, in any unit; a test of 0 makes no test part.
        seed: The same seed, posts and groups give the same split.
        groups: A number per post, equal for posts that stay together; by default those of
            ``duplicate_groups``.

    Raises:
        SplitError: Ratios that divide nothing, a class with fewer than two posts, or too few posts
            for every part to have one.
    """
    wanted = _checked_ratios(ratios)
    tag = f"random-{':'.join(map(_exactly, wanted))}/seed-{seed}"
    if groups is None:
        groups = duplicate_groups(posts)
    if len(groups) != len(posts):
        raise SplitError(
            "The duplicate groups do not fit the posts",
            where=tag,
            expected=f"{len(posts):,} numbers, one a post",
            found=f"{len(groups):,}",
        )
    labelled = [at for at, post in enumerate(posts.posts) if post.label is not None]
    labels = [posts.classes.index(posts.posts[at].label or "") for at in labelled]
    _refuse_small_classes(posts, tag)
    chosen = stratified(labels, [groups[at] for at in labelled], wanted, seed)
    empty = [PARTS[at] for at, ratio in enumerate(wanted) if ratio and at not in chosen]
    if empty:
        raise SplitError(
            f"There are too few posts for the part {' and '.join(empty)}",
            where=f"{posts.protocol}/{tag}",
            found=f"{len(labelled):,} labelled posts in {len({groups[at] for at in labelled}):,} "
            "groups of duplicates, which stay together",
            hint="name other ratios with --split random-6:2:2, or add posts",
        )
    parts = {posts.posts[at].id: PARTS[part] for at, part in zip(labelled, chosen, strict=True)}
    return Split(parts, tag)


def _checked_ratios(ratios: Sequence[float]) -> tuple[float, float, float]:
    padded = (*ratios, 0.0) if len(ratios) == 2 else tuple(ratios)
    finite = all(map(math.isfinite, padded))
    if len(padded) != 3 or not finite or min(padded) < 0 or min(padded[:2]) == 0:
        raise SplitError(
            "These ratios divide nothing",
            expected="three numbers for train, val and test, of which only test may be 0",
            found=":".join(map(_exactly, ratios)),
            hint="try --split random-8:1:1",
        )
    return padded[0], padded[1], padded[2]


def _exactly(ratio: float) -> str:
    return str(int(ratio)) if float(ratio).is_integer() else repr(float(ratio))


def _refuse_small_classes(posts: PostSet, tag: str) -> None:
    small = {name: count for name, count in posts.label_counts().items() if count < 2}
    if small or not posts.classes:
        raise SplitError(
            "A class has too few posts to be divided",
            where=f"{posts.protocol}/{tag}",
            expected="at least two posts in each class",
            found=", ".join(f"{name}: {count}" for name, count in small.items()) or "no labels",
            hint="add posts, or leave the class out of the data set",
        )


def parse_split(
    text: str, posts: PostSet, seed: int = 0, groups: Sequence[int] | None = None
) -> Split:
    """The split that an option names: ``random-8:1:1`` (or any ratios), or the path of one.

    Raises:
        SplitError: It is neither, or does not fit the posts.
    """
    match = _RANDOM.fullmatch(text)
    if match is not None:
        try:
            ratios = [float(ratio) for ratio in (match["ratios"] or "8:1:1").split(":")]
        except ValueError:
            ratios = [0.0, 0.0, 0.0]
        return random_split(posts, ratios, seed, groups)
    if not Path(text).exists():
        raise SplitError(
            "This names no split",
            where=repr(text),
            expected="random-8:1:1 (train:val:test), or the path of a split that exists",
            hint="--split takes a folder with train, val and test lists, or a table with id,split",
        )
    return read_split(Path(text), posts)
