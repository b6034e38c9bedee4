"""Folds of cross-validation: every labelled post is tested in exactly one of them."""

import re
from collections.abc import Sequence
from pathlib import Path

from mvsa_pipe.errors import SplitError
from mvsa_pipe.posts.duplicates import duplicate_groups
from mvsa_pipe.posts.post import PostSet
from mvsa_pipe.posts.splits.folds import folds_in
from mvsa_pipe.posts.splits.split import TEST, TRAIN, VAL, Split
from mvsa_pipe.posts.splits.stratify import stratified

LEAST_FOLDS, MOST_FOLDS = 3, 1000

_NAME = re.compile(r"folds-(?P<folds>\d{1,4}):(?P<number>\d{1,4})")


def cross_fold(
    posts: PostSet, folds: int, number: int, seed: int, groups: Sequence[int] | None = None
) -> Split:
    """One of K folds: fold K tests part K, selects on the next part and trains on the others.

    Parts are stratified by class, and duplicates stay in one part.

    Args:
        posts: What is divided; posts without a label are left out.
        folds: ``K``.
        number: Which fold, from 1.
        seed: Seed of the division, the same for all folds.
        groups: A number per post, equal for posts that stay together; by default those of
            ``duplicate_groups``.

    Raises:
        SplitError: Too few or too many folds, no such fold, or a part without posts.
    """
    tag = f"folds-{folds}/seed-{seed}/fold-{number}"
    if not LEAST_FOLDS <= folds <= MOST_FOLDS or not 1 <= number <= folds:
        raise SplitError(
            "These folds cannot be made",
            where=f"folds-{folds}:{number}",
            expected=f"{LEAST_FOLDS} to {MOST_FOLDS:,} folds, and a number from 1 to theirs: one "
            "part is tested, one selects, and the others train",
            hint="--split folds-5:1, or mvsa bench --folds 5",
        )
    if groups is None:
        groups = duplicate_groups(posts)
    chosen = [at for at, post in enumerate(posts.posts) if post.label is not None]
    places = {name: place for place, name in enumerate(posts.classes)}
    parts = stratified(
        [places[posts.posts[at].label or ""] for at in chosen],
        [groups[at] for at in chosen],
        [posts.posts[at].id for at in chosen],
        [1.0] * folds,
        seed,
    )
    if len(set(parts)) < folds:
        raise SplitError(
            "There are too few posts for so many folds",
            where=f"{posts.protocol}/{tag}",
            expected=f"at least {folds:,} posts that are not duplicates of each other",
            found=f"{len(chosen):,} labelled posts in {len({groups[at] for at in chosen}):,} "
            "groups of duplicates, which stay together",
            hint="--folds with a smaller number",
        )
    names = {number - 1: TEST, number % folds: VAL}
    return Split(
        {posts.posts[at].id: names.get(p, TRAIN) for at, p in zip(chosen, parts, strict=True)}, tag
    )


def numbered_fold(text: str) -> tuple[int, int] | None:
    """Folds and number that ``folds-5:2`` means; ``None`` for other texts."""
    match = _NAME.fullmatch(text)
    return None if match is None else (int(match["folds"]), int(match["number"]))


def fold_names(text: str) -> tuple[str, ...]:
    """The names of all folds, each as ``--split`` takes it.

    Args:
        text: A number of folds, or the folder of published ones.

    Raises:
        SplitError: It is neither.
    """
    if text.isascii() and text.isdecimal() and len(text) < 10:
        folds = int(text)
        if LEAST_FOLDS <= folds <= MOST_FOLDS:
            return tuple(f"folds-{folds}:{number}" for number in range(1, folds + 1))
    elif (path := Path(text)).is_dir():
        found = folds_in(path)
        if found:
            return tuple(f"{path.resolve()}:{number}" for number in found)
    raise SplitError(
        "--folds names no folds",
        where=repr(text),
        expected=f"a number from {LEAST_FOLDS} to {MOST_FOLDS:,}, or a folder with numbered lists "
        "(train_1.txt, val_1.txt, test_1.txt, train_2.txt …) or numbered folders",
    )
