"""Makes splits: at random, as published with the posts, or as an option names one."""

import math
import re
from collections.abc import Sequence
from pathlib import Path

from mvsa_pipe.errors import SplitError, name_some
from mvsa_pipe.posts.duplicates import duplicate_groups
from mvsa_pipe.posts.post import PostSet
from mvsa_pipe.posts.splits.cross_validation import cross_fold, numbered_fold
from mvsa_pipe.posts.splits.split import PARTS, TRAIN, VAL, Split
from mvsa_pipe.posts.splits.split_files import read_split
from mvsa_pipe.posts.splits.stratify import stratified

DEFAULT_RATIOS = (8.0, 1.0, 1.0)
# Ratios that divide a published train part into train and val if there is no val part.
CARVING_RATIOS = (9.0, 1.0, 0.0)

# The data set's published split if it has one, else a random one.
AUTO, PUBLISHED, RANDOM = "auto", "published", "random-8:1:1"

# The largest seed that all generators in use accept.
_MAX_SEED = 2**32 - 1
_RANDOM = re.compile(r"random(?:-(?P<ratios>[\d.]+(?::[\d.]+){1,2}))?")
_PATH_AND_FOLD = re.compile(r"(?P<path>.+):(?P<fold>\d{1,9})")


def random_split(
    posts: PostSet,
    ratios: Sequence[float] = DEFAULT_RATIOS,
    seed: int = 0,
    groups: Sequence[int] | None = None,
) -> Split:
    """Divides the labelled posts at random, each class in the same ratios.

    Duplicates stay in one part. Each class has the requested sizes, rounded, unless groups of
    duplicates are too large or too many for that; a part has at least one post of every class that
    has enough. Adding, removing or relabelling one post moves few others.

    Args:
        posts: The posts; those without a label are left out.
        ratios: Train, val and test, in any unit; with a test of 0 there is no test part.
        seed: The same seed, posts and groups give the same split, whatever the posts' order.
        groups: A number per post, equal for posts that stay together; by default those of
            ``duplicate_groups``.

    Raises:
        SplitError: Invalid ratios, a seed below 0 or above 2**32 - 1, a class with fewer than two
            posts, or too few posts for every part to have one.
    """
    wanted = _checked_ratios(ratios)
    tag = f"{_random_name(wanted)}/seed-{_checked_seed(seed)}"
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
    _refuse_small_classes(posts, tag)
    return Split(_divided(posts, labelled, groups, wanted, seed, tag), tag)


def _divided(
    posts: PostSet,
    chosen: Sequence[int],
    groups: Sequence[int],
    ratios: tuple[float, float, float],
    seed: int,
    tag: str,
) -> dict[str, str]:
    """The part of each of the chosen posts, by id."""
    class_of = {name: number for number, name in enumerate(posts.classes)}
    labels = [class_of[posts.posts[at].label or ""] for at in chosen]
    ids = [posts.posts[at].id for at in chosen]
    numbers = stratified(labels, [groups[at] for at in chosen], ids, ratios, seed)
    empty = [PARTS[at] for at, ratio in enumerate(ratios) if ratio and at not in numbers]
    if empty:
        n_groups = len({groups[at] for at in chosen})
        three = ratios[2] > 0
        raise SplitError(
            f"There are too few posts for the part {' and '.join(empty)}",
            where=f"{posts.protocol}/{tag}",
            expected=f"a class with {'three' if three else 'two'} posts that are not duplicates of "
            "each other",
            found=f"{len(chosen):,} labelled posts in {n_groups:,} groups of duplicates, which "
            "stay together",
            hint="add posts"
            + (", or name a split without a test part: --split random-8:2:0" if three else ""),
        )
    return {post_id: PARTS[number] for post_id, number in zip(ids, numbers, strict=True)}


def published_split(posts: PostSet, seed: int = 0, groups: Sequence[int] | None = None) -> Split:
    """The published split of a data set.

    If it has no val part, a tenth of its train part becomes one, divided as in ``random_split``,
    and the tag shows it (``published+val-random-9:1:0/seed-0``). A published test part never
    changes.

    Args:
        posts: The posts.
        seed: Seed of the val part, if one has to be made.
        groups: As in ``random_split``.

    Raises:
        SplitError: The data set has no published split, or train cannot be divided.
    """
    if posts.published is None:
        raise SplitError(
            "This data set has no published split",
            where=posts.protocol,
            expected="train and test (or val) tables or folders beside each other",
            hint=f"--split {RANDOM} makes one; or give the path of one",
        )
    parts = {p.id: posts.published[p.id] for p in posts.posts if p.id in posts.published}
    if VAL in parts.values():
        return Split(parts, PUBLISHED)
    tag = f"{PUBLISHED}+val-{_random_name(CARVING_RATIOS)}/seed-{_checked_seed(seed)}"
    train = [at for at, post in enumerate(posts.posts) if parts.get(post.id) == TRAIN]
    if groups is None:
        groups = duplicate_groups(posts)
    return Split(parts | _divided(posts, train, groups, CARVING_RATIOS, seed, tag), tag)


def _checked_ratios(ratios: Sequence[float]) -> tuple[float, float, float]:
    padded = (*ratios, 0.0) if len(ratios) == 2 else tuple(ratios)
    finite = all(map(math.isfinite, padded))
    if len(padded) != 3 or not finite or min(padded) < 0 or min(padded[:2]) == 0:
        raise SplitError(
            "These ratios cannot be used",
            expected="three numbers for train, val and test, of which only test may be 0",
            found=":".join(map(_exactly, ratios)),
            hint="try --split random-8:1:1",
        )
    return padded[0], padded[1], padded[2]


def _random_name(ratios: Sequence[float]) -> str:
    return f"random-{':'.join(map(_exactly, ratios))}"


def _checked_seed(seed: int) -> int:
    if not 0 <= seed <= _MAX_SEED:
        raise SplitError(
            "The seed of a split cannot be used",
            where="--split-seed",
            expected=f"a whole number from 0 to {_MAX_SEED}",
            found=seed,
        )
    return seed


def _exactly(ratio: float) -> str:
    return str(int(ratio)) if float(ratio).is_integer() else repr(float(ratio))


def _refuse_small_classes(posts: PostSet, tag: str) -> None:
    small = {name: count for name, count in posts.label_counts().items() if count < 2}
    if small or not posts.classes:
        raise SplitError(
            "A class has too few posts to be divided",
            where=f"{posts.protocol}/{tag}",
            expected="at least two posts in each class",
            found=name_some(f"{name}: {count}" for name, count in small.items()) or "no labels",
            hint="add posts of the class, or remove its posts from the data set"
            if all(small.values())
            else "a table with id,text,image,label has exactly the classes that occur in it",
        )


def resolved_split(text: str, posts: PostSet) -> str:
    """Resolves ``auto`` to the published split if there is one, else to a random one."""
    if text != AUTO:
        return text
    return RANDOM if posts.published is None else PUBLISHED


def parse_split(
    text: str, posts: PostSet, seed: int = 0, groups: Sequence[int] | None = None
) -> Split:
    """The split of an option's value.

    Args:
        text: ``random-8:1:1`` (or any ratios), ``published``, ``auto`` (see ``resolved_split``),
            the path of a split, ``PATH:3`` for the third of the folds at a path, or
            ``folds-5:2`` for the second of five random folds.
        posts: The posts that it divides.
        seed: Seed of random draws.
        groups: As in ``random_split``.

    Raises:
        SplitError: It is none of these, or does not fit the posts.
    """
    _checked_seed(seed)
    text = resolved_split(text, posts)
    if text == PUBLISHED:
        return published_split(posts, seed, groups)
    match = _RANDOM.fullmatch(text)
    if match is not None:
        try:
            ratios = [float(ratio) for ratio in (match["ratios"] or "8:1:1").split(":")]
        except ValueError:
            ratios = [0.0, 0.0, 0.0]
        return random_split(posts, ratios, seed, groups)
    fold = numbered_fold(text)
    if fold is not None:
        return cross_fold(posts, *fold, seed, groups)
    if _exists(text):
        return read_split(Path(text), posts)
    numbered = _PATH_AND_FOLD.fullmatch(text)
    if numbered is not None and _exists(numbered["path"]):
        return read_split(Path(numbered["path"]), posts, fold=int(numbered["fold"]))
    raise SplitError(
        "This names no split",
        where=repr(text),
        expected="random-8:1:1 (train:val:test), published, the path of a split that exists, "
        "FOLDER:3 for one of several folds, or folds-5:2 for one of five random ones",
        hint="--split takes a folder with train, val and test lists, or a table with id,split",
    )


def _exists(path: str) -> bool:
    try:
        return bool(path) and Path(path).exists()
    except (OSError, ValueError):  # too long a name, or one with a NUL
        return False
