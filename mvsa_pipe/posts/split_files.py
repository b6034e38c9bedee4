"""Splits published as files: a folder of lists, a fold of several, or one table."""

import re
from collections.abc import Iterable
from pathlib import Path

from mvsa_pipe.errors import SplitError, name_some
from mvsa_pipe.posts.formats import kebab
from mvsa_pipe.posts.post import PostSet
from mvsa_pipe.posts.split import PARTS, TEST, TRAIN, VAL, Split
from mvsa_pipe.posts.split_records import SUFFIXES, read_records

_PART_OF = {
    "train": TRAIN,
    "training": TRAIN,
    "dev": VAL,
    "val": VAL,
    "valid": VAL,
    "validation": VAL,
    "test": TEST,
    "testing": TEST,
}
_LAYOUTS = (
    "a folder with train, val (or dev) and test lists (.txt, .json, .csv), or one .csv, .tsv or "
    ".json of id and split"
)


def read_split(path: Path, posts: PostSet) -> Split:
    """The split that a folder of lists or one file lays down for some posts.

    Labels that stand in the lists are not read: labels come from the data set. Of folds that
    were published together, name one.

    Args:
        path: The folder or the file; its name becomes the split's tag.
        posts: The posts that the split divides.

    Raises:
        SplitError: Unreadable, or ids that the data set lacks, ids that stand twice, or labelled
            posts that stand in no part; each is counted and named.
    """
    if path.is_dir():
        placed = [
            (record.id, part)
            for part, file in _lists(path).items()
            for record in read_records(file)
        ]
    elif path.is_file():
        placed = [(record.id, _part(path, record.part)) for record in read_records(path)]
    else:
        raise SplitError("There is no split at this path", where=path, expected=_LAYOUTS)
    _check(path, placed, posts)
    parts = dict(placed)
    return Split({post.id: parts[post.id] for post in posts.posts if post.id in parts}, _tag(path))


def _lists(folder: Path) -> dict[str, Path]:
    lists: dict[str, Path] = {}
    entries = sorted(folder.iterdir())
    for file in entries:
        # train.txt, train_ids.txt, dev-3.json
        part = _PART_OF.get(re.split(r"[-_. ]", file.name.lower())[0])
        if part is None or file.suffix.lower() not in SUFFIXES:
            continue
        if part in lists:
            raise SplitError(
                f"Two files list the part {part}",
                where=folder,
                found=f"{lists[part].name} and {file.name}",
                hint="keep one of them in the folder",
            )
        lists[part] = file
    missing = [part for part in (TRAIN, VAL) if part not in lists]
    if missing:
        folds = [entry for entry in entries if entry.is_dir()]
        raise SplitError(
            f"This folder has no list of the part {' and '.join(missing)}",
            where=folder,
            expected=_LAYOUTS,
            found=name_some([entry.name for entry in entries]) or "nothing",
            hint=f"name one fold, such as --split {folds[0]}" if folds else None,
        )
    return {part: lists[part] for part in PARTS if part in lists}


def _part(file: Path, name: str) -> str:
    part = _PART_OF.get(name.strip().lower())
    if part is None:
        raise SplitError(
            "A split's file names no part, or one that is not known",
            where=file,
            expected=f"a split column with {', '.join(_PART_OF)}",
            found=repr(name),
        )
    return part


def _check(path: Path, placed: list[tuple[str, str]], posts: PostSet) -> None:
    first: dict[str, str] = {}
    crossing: dict[str, None] = {}
    repeated: dict[str, None] = {}
    for post_id, part in placed:
        if first.setdefault(post_id, part) != part:
            crossing[post_id] = None
    seen: set[tuple[str, str]] = set()
    for pair in placed:
        if pair in seen:
            repeated[pair[0]] = None
        seen.add(pair)
    known = {post.id for post in posts.posts}
    lacking = [post_id for post_id in first if post_id not in known]
    unplaced = [post.id for post in posts.posts if post.label is not None and post.id not in first]
    faults = [
        *_fault(lacking, "that the data set lacks"),
        *_fault(crossing, "in two parts"),
        *_fault(repeated, "listed twice in one part"),
        *_fault(unplaced, "of the data set in no part"),
    ]
    if not faults:
        return
    dropped = ", ".join(f"{count:,} {reason}" for reason, count in posts.dropped.items())
    raise SplitError(
        "This split does not fit the posts",
        where=f"{path}, for {posts.protocol}",
        expected="each labelled post in exactly one part",
        found="; ".join(faults) + (f" (dropped while reading: {dropped})" if dropped else ""),
        hint="take the split that was published for this very set of posts, or --split "
        "random-8:1:1",
    )


def _fault(ids: Iterable[str], what: str) -> list[str]:
    listed = list(ids)
    word = "id" if len(listed) == 1 else "ids"
    return [f"{len(listed):,} {word} {what}: {name_some(listed)}"] if listed else []


def _tag(path: Path) -> str:
    whole = path.resolve()
    name = whole.stem if whole.is_file() else whole.name
    fold = re.fullmatch(r"(?:fold[-_ ]?)?(\d+)", name.lower())
    # A fold's own name says nothing without that of the folder of all folds.
    return f"{kebab(whole.parent.name)}/fold-{int(fold[1])}" if fold else kebab(name)
