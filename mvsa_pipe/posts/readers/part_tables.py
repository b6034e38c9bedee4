"""Data sets with a published split: one table, or one folder with a table, for each part."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

from mvsa_pipe.errors import DataError, name_some
from mvsa_pipe.posts.dataset_path import DatasetPath
from mvsa_pipe.posts.formats import FORMATS, Reader, ReadOptions, kebab
from mvsa_pipe.posts.labels import classes_of
from mvsa_pipe.posts.post import PostSet
from mvsa_pipe.posts.splits.split import PARTS, TRAIN, part_named
from mvsa_pipe.posts.storage.joined import join_storages

# train.csv, mvsa_test.tsv, and Hugging Face's train-00000-of-00002.parquet
_STEM = re.compile(
    r"(?:(?P<prefix>.+)[-_. ])?(?P<part>[a-z]+)(?:-(?P<shard>\d{5})-of-(?P<of>\d{5}))?"
)


@dataclass(frozen=True)
class _Piece:
    """One table of a part.

    Attributes:
        part: ``train``, ``val`` or ``test``.
        name: Its file's or folder's name without suffixes; distinguishes posts of equal ids.
        reader: Its reader.
        place: Its location.
        shards: Number of files of the part according to their names; 0 for a single file.
    """

    part: str
    name: str
    reader: Reader
    place: DatasetPath
    shards: int = 0


@dataclass(frozen=True)
class PublishedReader:
    """Reads the parts of a published split as one data set.

    Attributes:
        formats: Formats that the parts may have, in order of preference.
    """

    looks_for = "tables of the parts train and test (or val) beside each other, or folders of them"
    takes = frozenset({"separator", "quoting", "encoding", "image_root"})

    formats: tuple[str, ...] = ("guid-tag", "imagefolder", "table")

    def recognises(self, place: DatasetPath) -> bool:
        """Whether there are tables of train and of another part, or folders with one each."""
        return bool(self._pieces(place))

    def read(self, place: DatasetPath, options: ReadOptions) -> PostSet:
        """The posts of all parts, in the order train, val, test.

        If an id occurs in several tables, every id gets its table's name as prefix (``test/17``),
        which distinguishes parts that were numbered independently.

        Raises:
            DataError: Two tables are the same part, one is missing, two contain a post with the
                same id, text and picture, or as each part's reader.
        """
        pieces = self._pieces(place)
        _refuse_unclear(place, pieces)
        read = [piece.reader.read(piece.place, options) for piece in pieces]
        counts = Counter(post.id for posts in read for post in posts.posts)
        shared = {post_id for post_id, count in counts.items() if count > 1}
        _refuse_same_posts(place, read, shared)
        storage, names = join_storages(
            [(piece.name, posts.storage) for piece, posts in zip(pieces, read, strict=True)]
        )
        posts, published = [], {}
        for piece, of_it, name_of in zip(pieces, read, names, strict=True):
            for post in of_it.posts:
                post_id = f"{piece.name}/{post.id}" if shared else post.id
                image = None if post.image is None else name_of(post.image)
                posts.append(replace(post, id=post_id, image=image))
                if post.label is not None:
                    published[post_id] = piece.part
        notes = Counter({"ids-in-several-tables-led-by-their-table": len(shared)})
        dropped: Counter[str] = Counter()
        for of_it in read:
            notes.update(of_it.notes)
            dropped.update(of_it.dropped)
        others = self._others(place, pieces)
        notes["tables-beside-the-parts-ignored"] = len(others)
        parts = set(published.values())
        classes = {of_it.classes for of_it in read}
        return PostSet(
            name=options.name or place.marked_name() or kebab(_own_name(place)),
            classes=classes.pop()
            if len(classes) == 1
            else classes_of([post.label for post in posts], place.where()),
            posts=tuple(posts),
            storage=storage,
            dropped=dict(dropped),
            notes={name: count for name, count in notes.items() if count},
            findings=tuple(dict.fromkeys(found for of_it in read for found in of_it.findings)),
            # a test part with withheld labels cannot be tested on
            published=published if TRAIN in parts and len(parts) > 1 else None,
        )

    def _pieces(self, place: DatasetPath) -> list[_Piece]:
        """The tables of all parts in the parts' order; empty if they are not a split."""
        if place.file is not None:
            return []
        readers = [FORMATS.load(name) for name in self.formats]
        for pieces in (_files(place, readers), _folders(place, readers)):
            if TRAIN in {piece.part for piece in pieces} and len({p.part for p in pieces}) > 1:
                return sorted(pieces, key=lambda piece: (PARTS.index(piece.part), piece.name))
        return []

    def _others(self, place: DatasetPath, pieces: list[_Piece]) -> list[str]:
        known = {piece.place.file for piece in pieces}
        table = FORMATS.load("table")
        return [
            name
            for name in place.files()
            if name not in known and table.recognises(replace(place, file=name))
        ]


def _own_name(place: DatasetPath) -> str:
    # On the hub, the tables of every data set are in a folder called data.
    whole = replace(place, prefix="")
    return whole.stem() if place.stem().lower() == "data" else place.stem()


def _files(place: DatasetPath, readers: list[Reader]) -> list[_Piece]:
    """Files that are tables of parts; empty if their names have several prefixes."""
    pieces, prefixes = [], set()
    for name in place.files():
        stem = name.rpartition(".")[0]
        match = _STEM.fullmatch(stem.lower())
        part = None if match is None else part_named(match["part"])
        if match is None or part is None or name.startswith("."):
            continue
        own = replace(place, file=name)
        reader = next((reader for reader in readers if reader.recognises(own)), None)
        if reader is not None:
            shards = int(match["of"] or 0)
            shown = part if not match["shard"] else f"{part}-{match['shard']}"
            pieces.append(_Piece(part, shown, reader, own, shards))
            prefixes.add(match["prefix"])
    return pieces if len(prefixes) == 1 else []


def _folders(place: DatasetPath, readers: list[Reader]) -> list[_Piece]:
    """Folders that are named as parts and contain one table each."""
    pieces = []
    for folder in place.folders():
        part = part_named(folder.stem())
        reader = None if part is None else next((r for r in readers if r.recognises(folder)), None)
        if part is not None and reader is not None:
            pieces.append(_Piece(part, part, reader, folder))
    return pieces


def _refuse_same_posts(place: DatasetPath, read: Iterable[PostSet], shared: set[str]) -> None:
    seen: set[tuple[str, str | None, str | None]] = set()
    same = []
    for post in (post for posts in read for post in posts.posts if post.id in shared):
        what = (post.id, post.text, post.image)
        if what in seen:
            same.append(post.id)
        seen.add(what)
    if same:
        raise DataError(
            ("1 post occurs" if len(same) == 1 else f"{len(same):,} posts occur")
            + " in two tables of the published split",
            where=place.where(),
            expected="each post in one part",
            found=name_some(same),
            hint="remove them from one of the tables, or name one table with --data",
        )


def _refuse_unclear(place: DatasetPath, pieces: list[_Piece]) -> None:
    for part in PARTS:
        own = [piece for piece in pieces if piece.part == part]
        shards = max((piece.shards for piece in own), default=0)
        if shards == len(own) > 0 and all(piece.shards == shards for piece in own):
            continue
        if shards:
            raise DataError(
                f"Files of the part {part} are missing",
                where=place.where(),
                expected=f"{shards} files, according to their names",
                found=name_some(piece.place.where(piece.place.file or "") for piece in own),
            )
        if len(own) > 1:
            raise DataError(
                f"Two tables are the part {part}",
                where=place.where(),
                found=name_some(piece.place.where(piece.place.file or "") for piece in own),
                hint="keep one of them there, or name the one file with --data",
            )


READER = PublishedReader()
