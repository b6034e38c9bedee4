"""Splits published as files: a folder of lists, folds of several, or one table."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from mvsa_pipe.errors import SplitError, name_some
from mvsa_pipe.posts.formats import kebab
from mvsa_pipe.posts.post import PostSet
from mvsa_pipe.posts.splits.folds import (
    PAIR_LIST,
    Fold,
    entries_of,
    folds_in,
    line_numbered,
    listed_ids,
)
from mvsa_pipe.posts.splits.split import PARTS, TRAIN, VAL, Split, part_named
from mvsa_pipe.posts.splits.split_rows import SPLIT_LIST_SUFFIXES, SplitRow, read_split_rows
from mvsa_pipe.posts.tables.csv_rows import from_text_cell

_LAYOUTS = (
    "a folder with train, val (or dev) and test lists (.txt, .json, .csv), folds of such lists, or "
    "one .csv, .tsv or .json of id and split"
)


def read_split(path: Path, posts: PostSet, fold: int | None = None) -> Split:
    """The split that a folder of lists or one file defines for some posts.

    Labels in the lists are not read: labels come from the data set. Lists beside (or one folder
    below) a ``valid_pairlist.txt`` contain line numbers of that file, counted from 0.

    Args:
        path: The folder or the file; its name becomes the split's tag.
        posts: The posts that the split divides.
        fold: Number of the fold, if several were published together.

    Raises:
        SplitError: It is unreadable, a fold is missing or was not named, the data set lacks ids,
            ids occur twice, or labelled posts are in no part; each is counted and named.
    """
    if fold is not None:
        return _one_fold(path, _folds(path), fold, posts)
    if path.is_dir():
        lists = _lists(path)
        placed = _placed(path, lists, posts)
    elif path.is_file():
        placed = [(record.id, _part(path, record.part)) for record in read_split_rows(path)]
    else:
        raise SplitError("There is no split at this path", where=path, expected=_LAYOUTS)
    return _checked(path, placed, posts, _tag(path))


def _folds(path: Path) -> Mapping[int, Fold]:
    folds = folds_in(path) if path.is_dir() else {}
    if not folds:
        raise SplitError(
            "There are no folds at this path",
            where=path,
            expected="train_1.txt, val_1.txt, test_1.txt, train_2.txt …, or folders fold_1, fold_2 "
            "… with train, val and test lists",
            hint="a split that is not one of several folds is named by its path alone",
        )
    return folds


def _one_fold(path: Path, folds: Mapping[int, Fold], number: int, posts: PostSet) -> Split:
    if number not in folds:
        raise SplitError(
            f"There is no fold {number} at this path",
            where=path,
            expected=f"one of {name_some(map(str, folds), most=20)}",
            found=str(number),
        )
    fold = folds[number]
    lists = fold.lists or _lists(fold.folder)
    placed = _placed(fold.folder, lists, posts)
    return _checked(path, placed, posts, f"{kebab(_folds_name(path))}/fold-{number}")


def _folds_name(path: Path) -> str:
    whole = path.resolve()
    return whole.parent.name if whole.name.lower() == "splits" else whole.name


def _lists(folder: Path) -> dict[str, Path]:
    lists: dict[str, Path] = {}
    entries = entries_of(folder)
    folds = folds_in(folder)
    if sum(fold.lists != {} and fold.folder == folder for fold in folds.values()) > 1:
        raise _unnamed_fold(folder, folds)
    for file in entries:
        # train.txt, train_ids.txt, dev-3.json
        part = part_named(re.split(r"[-_. ]", file.name)[0])
        known = file.suffix.lower() in SPLIT_LIST_SUFFIXES and file.name.lower() != PAIR_LIST
        if part is None or not known:
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
    if missing and folds:
        raise _unnamed_fold(folder, folds)
    if missing:
        raise SplitError(
            f"This folder has no list of the part {' and '.join(missing)}",
            where=folder,
            expected=_LAYOUTS,
            found=name_some([entry.name for entry in entries]) or "nothing",
        )
    return {part: lists[part] for part in PARTS if part in lists}


def _unnamed_fold(folder: Path, folds: Mapping[int, Fold]) -> SplitError:
    return SplitError(
        "This folder contains folds, and none of them is named",
        where=folder,
        expected=f"FOLDER:NUMBER, with one of {name_some(map(str, folds), most=20)}",
        hint=f"--split {folder}:{next(iter(folds))}",
    )


def _placed(folder: Path, lists: Mapping[str, Path], posts: PostSet) -> list[tuple[str, str]]:
    """Id and part of every entry of some lists in a folder."""
    records = {part: read_split_rows(file) for part, file in lists.items()}
    listed = listed_ids(folder, posts)
    if listed is None:
        _refuse_lines_without_list(folder, lists, records)
        return [(record.id, part) for part, found in records.items() for record in found]
    return [
        (post_id, part)
        for part, found in records.items()
        for post_id in line_numbered(lists[part], found, listed)
    ]


def _refuse_lines_without_list(
    folder: Path, lists: Mapping[str, Path], records: Mapping[str, Sequence[SplitRow]]
) -> None:
    """Refuses lists that contain exactly 0, 1, 2 …: line numbers of a list that is missing."""
    numbered = all(re.search(r"[-_]\d+\.txt$", file.name.lower()) for file in lists.values())
    if numbered and _counts_through([record.id for found in records.values() for record in found]):
        raise SplitError(
            "These folds contain line numbers, and the list that they refer to is missing",
            where=folder,
            expected=f"{PAIR_LIST} beside the lists of numbers or one folder up "
            f"({folder.resolve().parent})",
            found=f"0, 1, 2 … in {name_some(file.name for file in lists.values())}",
            hint="restore the list to its published location; if the numbers are ids of posts, "
            "write them to one table with the columns id and split",
        )


def _counts_through(entries: Sequence[str]) -> bool:
    return len(entries) > 1 and set(entries) == set(map(str, range(len(entries))))


def _part(file: Path, name: str) -> str:
    part = part_named(name)
    if part is None:
        raise SplitError(
            "A split's file names no part, or an unknown one",
            where=file,
            expected=f"a split column with {', '.join(PARTS)} (or dev, valid, validation)",
            found=repr(name),
        )
    return part


def _checked(path: Path, placed: Sequence[tuple[str, str]], posts: PostSet, tag: str) -> Split:
    known = {post.id for post in posts.posts}
    placed = _unguarded(placed, known)
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
    lacking = [post_id for post_id in first if post_id not in known]
    unplaced = [post.id for post in posts.posts if post.label is not None and post.id not in first]
    faults = [
        *_fault(lacking, "that the data set lacks"),
        *_fault(crossing, "in two parts"),
        *_fault(repeated, "listed twice in one part"),
        *_fault(unplaced, "of the data set in no part"),
    ]
    if not faults:
        parts = dict(placed)
        return Split({p.id: parts[p.id] for p in posts.posts if p.id in parts}, tag)
    hint = "take the split that was published for these posts, or --split random-8:1:1"
    if lacking and _counts_through([post_id for post_id, _ in placed]):
        hint = (
            "the numbers seem to be line numbers and not ids: put the list that they "
            f"refer to ({PAIR_LIST}) beside them"
        )
    dropped = ", ".join(f"{count:,} {reason}" for reason, count in posts.dropped.items())
    raise SplitError(
        "This split does not fit the posts",
        where=f"{path}, for {posts.protocol}",
        expected="each labelled post in exactly one part",
        found="; ".join(faults) + (f" (dropped while reading: {dropped})" if dropped else ""),
        hint=hint,
    )


def _unguarded(
    placed: Sequence[tuple[str, str]], known: Collection[str]
) -> Sequence[tuple[str, str]]:
    """The same records; ids of a run's ``split.csv``, whose cells are escaped, are restored."""
    if all(post_id in known for post_id, _ in placed):
        return placed
    plain = [(from_text_cell(post_id), part) for post_id, part in placed]
    return plain if all(post_id in known for post_id, _ in plain) else placed


def _fault(ids: Iterable[str], what: str) -> list[str]:
    listed = list(ids)
    word = "id" if len(listed) == 1 else "ids"
    return [f"{len(listed):,} {word} {what}: {name_some(listed)}"] if listed else []


def _tag(path: Path) -> str:
    whole = path.resolve()
    name = whole.stem if whole.is_file() else whole.name
    fold = re.fullmatch(r"(?:fold[-_ ]?)?(\d+)", name.lower())
    # The name of a fold's folder needs that of the folder of all folds.
    return f"{kebab(whole.parent.name)}/fold-{int(fold[1])}" if fold else kebab(name)
