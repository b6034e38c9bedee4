"""Splits: which posts are trained on, chosen on and tested on, and the tag that names it."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mvsa_pipe.errors import SplitError, name_some
from mvsa_pipe.posts.duplicates import duplicate_groups
from mvsa_pipe.posts.post import PostSet
from mvsa_pipe.posts.stratify import stratified

TRAIN, VAL, TEST = PARTS = ("train", "val", "test")
DEFAULT_RATIOS = (8.0, 1.0, 1.0)

_RANDOM = re.compile(r"random(?:-(?P<ratios>[\d.]+(?::[\d.]+){1,2}))?")


@dataclass(frozen=True)
class Split:
    """Which part each post is in.

    Attributes:
        parts: ``train``, ``val`` or ``test`` by post id, in the posts' order.
        tag: Second half of the protocol tag (``random-8:1:1/seed-0``, ``3200-800-511``).

    Raises:
        SplitError: A part has another name, or nothing is trained on.
    """

    parts: Mapping[str, str]
    tag: str

    def __post_init__(self) -> None:
        """Checks the parts."""
        others = sorted(set(self.parts.values()) - set(PARTS))
        if others:
            raise SplitError(
                "A split has parts that are not known",
                where=self.tag,
                expected=", ".join(PARTS),
                found=name_some(others),
            )
        if not self.ids(TRAIN):
            raise SplitError("A split has no training posts", where=self.tag)

    def ids(self, part: str) -> tuple[str, ...]:
        """Ids of the posts in a part, in the posts' order."""
        return tuple(post_id for post_id, name in self.parts.items() if name == part)

    def sizes(self) -> dict[str, int]:
        """Posts per part, all three parts named."""
        counts = Counter(self.parts.values())
        return {part: counts[part] for part in PARTS}


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
    tag = f"random-{':'.join(f'{ratio:g}' for ratio in wanted)}/seed-{seed}"
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
    ids = [posts.posts[at].id for at in labelled]
    split = Split({i: PARTS[part] for i, part in zip(ids, chosen, strict=True)}, tag)
    empty = [
        part for part, ratio in zip(PARTS, wanted, strict=True) if ratio and not split.ids(part)
    ]
    if empty:
        raise SplitError(
            f"There are too few posts for the part {' and '.join(empty)}",
            where=f"{posts.protocol}/{tag}",
            found=f"{len(labelled):,} labelled posts",
            hint="name other ratios with --split random-6:2:2, or add posts",
        )
    return split


def _checked_ratios(ratios: Sequence[float]) -> tuple[float, float, float]:
    padded = (*ratios, 0.0) if len(ratios) == 2 else tuple(ratios)
    if len(padded) != 3 or min(padded) < 0 or min(padded[:2]) == 0:
        raise SplitError(
            "These ratios divide nothing",
            expected="three numbers for train, val and test, of which only test may be 0",
            found=":".join(f"{ratio:g}" for ratio in ratios),
            hint="try --split random-8:1:1",
        )
    return padded[0], padded[1], padded[2]


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
    # Here, since the file reader makes the Split that this file defines.
    from mvsa_pipe.posts.split_files import read_split

    if not Path(text).exists():
        raise SplitError(
            "This names no split",
            where=repr(text),
            expected="random-8:1:1 (train:val:test), or the path of a split that exists",
            hint="--split takes a folder with train, val and test lists, or a table with id,split",
        )
    return read_split(Path(text), posts)


def protocol_tag(posts: PostSet, split: Split) -> str:
    """The tag that says which results may be compared (``mvsa-single/4511/clmlf``)."""
    return f"{posts.protocol}/{split.tag}"
