"""Published folds: numbered lists or folders, and lists of line numbers.

Source:
    Cheema, Hakimov, Müller-Budack and Ewerth, "A Fair and Comprehensive Comparison of Multimodal
    Tweet Sentiment Analysis Methods", MMPT 2021: ten folds, whose lists hold line numbers of
    ``valid_pairlist.txt`` and no ids.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mvsa_pipe.errors import SplitError, name_some
from mvsa_pipe.posts.post import PostSet
from mvsa_pipe.posts.readers.mvsa import SENTIMENTS
from mvsa_pipe.posts.splits.split import PARTS, part_named
from mvsa_pipe.posts.splits.split_rows import SPLIT_LIST_SUFFIXES, SplitRow, decode_list

PAIR_LIST = "valid_pairlist.txt"
# Meaning of the numbers in its second column.
_LABELS = {"0": "neutral", "1": "positive", "2": "negative"}

_NUMBERED_LIST = re.compile(r"([a-z]+)[-_ ]?(\d{1,9})(\.[a-z]+)")
_NUMBERED_FOLDER = re.compile(r"(?:(?:fold|split|cv)[-_ ]?)?(\d{1,9})")


@dataclass(frozen=True)
class Fold:
    """Location of one of several folds.

    Attributes:
        folder: The folder of its lists.
        lists: The list of each part; empty if the folder contains nothing else.
    """

    folder: Path
    lists: Mapping[str, Path] = field(default_factory=dict)


def folds_in(folder: Path) -> dict[int, Fold]:
    """The folds in a folder (or in ``splits`` in it) by their numbers, in that order.

    They are numbered lists (``train_1.txt``, ``val_1.txt``, ``test_1.txt``) or numbered folders
    (``fold_1``).

    Raises:
        SplitError: Two files list one part of a fold, or two folders have one number.
    """
    inside = (entry for entry in entries_of(folder) if entry.name.lower() == "splits")
    for place in (folder, *(entry for entry in inside if entry.is_dir())):
        found = _numbered_lists(place) or _numbered_folders(place)
        if found:
            return dict(sorted(found.items()))
    return {}


def entries_of(folder: Path) -> list[Path]:
    """The sorted content of a folder.

    Raises:
        SplitError: The folder cannot be listed.
    """
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise SplitError("A split's folder cannot be read", where=folder, found=error) from error


def _numbered_lists(folder: Path) -> dict[int, Fold]:
    lists: dict[int, dict[str, Path]] = {}
    for file in entries_of(folder):
        match = _NUMBERED_LIST.fullmatch(file.name.lower())
        part = None if match is None else part_named(match[1])
        if (
            match is None
            or part is None
            or match[3] not in SPLIT_LIST_SUFFIXES
            or not file.is_file()
        ):
            continue
        own = lists.setdefault(int(match[2]), {})
        if part in own:
            raise _twice(folder, own[part], file)
        own[part] = file
    # A single list is not a fold: dev-3.json may be the third edition of a split's dev part.
    return {
        number: Fold(folder, {part: own[part] for part in PARTS if part in own})
        for number, own in lists.items()
        if len(own) > 1
    }


def _numbered_folders(folder: Path) -> dict[int, Fold]:
    folds: dict[int, Fold] = {}
    for entry in entries_of(folder):
        match = _NUMBERED_FOLDER.fullmatch(entry.name.lower())
        if match is None or not entry.is_dir():
            continue
        number = int(match[1])
        if number in folds:
            raise _twice(folder, folds[number].folder, entry)
        folds[number] = Fold(entry)
    return folds


def _twice(folder: Path, one: Path, other: Path) -> SplitError:
    return SplitError(
        "Two entries of a folder are the same part of the same fold",
        where=folder,
        found=f"{one.name} and {other.name}",
        hint="keep one of them in the folder",
    )


def listed_ids(folder: Path, posts: PostSet) -> tuple[str, ...] | None:
    """The ids in the pair list beside some lists or up to two folders up, line by line.

    Args:
        folder: The folder of the lists of line numbers.
        posts: The posts whose labels it must agree with.

    Returns:
        The ids, or ``None`` if there is no pair list.

    Raises:
        SplitError: A line is invalid, an id occurs twice, or labels differ from the posts'.
    """
    whole = folder.resolve()
    above = [whole, whole.parent]
    if whole.parent.name.lower() == "splits":
        above.append(whole.parent.parent)
    found = next((place / PAIR_LIST for place in above if (place / PAIR_LIST).is_file()), None)
    if found is None:
        return None
    rows = [[cell.strip() for cell in line.split(",")] for line in _lines(found)]
    wrong = [number for number, row in enumerate(rows) if len(row) != 4 or row[1] not in _LABELS]
    if wrong or not rows:
        raise SplitError(
            "This list of pairs cannot be read",
            where=found,
            expected="id,merged,text,image in every line, with 0 neutral, 1 positive, 2 negative",
            found=f"line {wrong[0] + 1}: {','.join(rows[wrong[0]])!r}" if wrong else "no line",
        )
    ids = tuple(row[0] for row in rows)
    if len(set(ids)) < len(ids):
        twice = [post_id for post_id, count in Counter(ids).items() if count > 1]
        raise SplitError("Ids occur twice in this list", where=found, found=name_some(twice))
    _check_labels(found, {row[0]: _LABELS[row[1]] for row in rows}, posts)
    return ids


def _check_labels(file: Path, labels: Mapping[str, str], posts: PostSet) -> None:
    if not set(posts.classes) <= set(SENTIMENTS):
        return
    others = [
        f"{post.id}: {labels[post.id]}, not {post.label}"
        for post in posts.posts
        if post.label is not None and labels.get(post.id, post.label) != post.label
    ]
    if others:
        raise SplitError(
            "This list was made for posts with other labels",
            where=f"{file}, for {posts.protocol}",
            expected="the label that each post has in the data set",
            found=f"{len(others):,} other labels ({name_some(others, most=5)})",
            hint="take the folds that were published for this data set, and its default labels",
        )


def _lines(file: Path) -> list[str]:
    lines = decode_list(file).replace("\r\n", "\n").split("\n")
    while lines and not lines[-1].strip():
        lines.pop()
    return lines


def line_numbered(file: Path, records: Sequence[SplitRow], ids: Sequence[str]) -> list[str]:
    """The ids that a list of line numbers (from 0) names.

    Raises:
        SplitError: An entry is not a line number of the list.
    """
    outside = [record.id for record in records if not _is_line(record.id, len(ids))]
    if outside:
        raise SplitError(
            "Entries are not line numbers of the list that they belong to",
            where=file,
            expected=f"0 to {len(ids) - 1}, the lines of {PAIR_LIST}",
            found=f"{len(outside):,} {'entry' if len(outside) == 1 else 'entries'} beyond them: "
            + name_some(entry[:80] for entry in outside),
            hint=f"if these are ids of posts, move the lists away from {PAIR_LIST}",
        )
    return [ids[int(record.id)] for record in records]


def _is_line(entry: str, count: int) -> bool:
    return entry.isascii() and entry.isdecimal() and len(entry) < 10 and int(entry) < count
