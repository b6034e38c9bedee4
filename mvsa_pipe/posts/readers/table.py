"""Reads posts in a single table, including Hugging Face's imagefolder."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from mvsa_pipe.errors import ConfigError, DataError
from mvsa_pipe.posts.dataset_path import DatasetPath
from mvsa_pipe.posts.formats import ReadOptions, kebab
from mvsa_pipe.posts.labels import classes_of
from mvsa_pipe.posts.post import Post, PostSet
from mvsa_pipe.posts.readers.picture_names import PictureFinder
from mvsa_pipe.posts.tables.cells import Cell, Kind, plain
from mvsa_pipe.posts.tables.row_faults import CONTROL, RowFaults, text_fault
from mvsa_pipe.posts.tables.table_rows import Table, header, is_table, read_rows

_FILE_NAME = "file_name"
# Columns with the sentiment of the text alone and of the picture alone, as MVSA's annotators give
# them; a table may have both.
TEXT_LABEL, IMAGE_LABEL = "text_label", "image_label"
_OUTSIDE_HINT = (
    "correct the names, or name the folder of the pictures: --image-root FOLDER (and --data "
    "PATH for the table)"
)

# The note of a table without ids, which are then the numbers of its rows.
ROWS_COUNTED = "posts named by the number of their row, as the table has no ids"
_ID_COLUMN = ReadOptions.id_column


@dataclass(frozen=True)
class TableReader:
    """Reads one table of posts.

    ``PictureFinder`` describes names of pictures.

    Attributes:
        looks_for: How the layout is recognised.
        imagefolder: Whether the table is a ``metadata`` file with a ``file_name`` column, which
            also serves as the id where there is no id column.
    """

    takes: ClassVar[frozenset[str]] = frozenset({"separator", "quoting", "encoding", "image_root"})

    looks_for: str
    imagefolder: bool

    def recognises(self, place: DatasetPath) -> bool:
        """Whether there is exactly one such table."""
        return len(self._tables(place)) == 1

    def read(self, place: DatasetPath, options: ReadOptions) -> PostSet:
        """All rows as posts.

        Raises:
            DataError: Columns are missing, or rows cannot be used.
        """
        name, *others = self._tables(place) or [""]
        if not name or others:
            raise DataError(
                "Expected one table here, not " + (str(len(others) + 1) if name else "none"),
                where=place.where(),
                expected=self.looks_for,
                hint="name the file itself",
            )
        table = read_rows(place, name, self._kinds(options), options)
        pictures = PictureFinder(place, options.image_root)
        notes = Counter(table.notes)
        posts = self._posts(pictures, table, options, notes)
        storage = pictures.storage
        if table.pictures is not None:
            _refuse_root(options, table)
            # Here, as most tables contain no pictures.
            from mvsa_pipe.posts.tables.parquet_pictures import RowPictures

            storage = RowPictures(storage, place.prefix + name, table.pictures)
        stem = place.stem() if self.imagefolder else name.rpartition("/")[2].rpartition(".")[0]
        set_name = options.name or place.marked_name() or kebab(stem)
        labels = [post.label for post in posts]
        return PostSet(
            name=set_name,
            classes=classes_of(labels, table.where, [row for row, _ in table.rows], table.unit),
            posts=tuple(posts),
            storage=storage,
            notes=dict(notes + pictures.notes),
            findings=table.findings,
        )

    def _kinds(self, options: ReadOptions) -> dict[str, Kind]:
        kinds = {
            TEXT_LABEL: Kind.LABEL,
            IMAGE_LABEL: Kind.LABEL,
            options.id_column: Kind.ID,
            options.text_column: Kind.TEXT,
            options.image_column: Kind.PICTURE,
            options.label_column: Kind.LABEL,
        }
        if self.imagefolder:
            return kinds | {_FILE_NAME: Kind.PICTURE}
        unread = {options.text_column} if not options.read_text else set()
        unread |= {options.image_column} if not options.read_image else set()
        return {column: kind for column, kind in kinds.items() if column not in unread}

    def _tables(self, place: DatasetPath) -> list[str]:
        tables = [name for name in place.files() if is_table(name)]
        if not self.imagefolder:
            return tables
        return [
            name
            for name in tables
            if name.rpartition(".")[0] == "metadata"
            and (name.endswith(".parquet") or _FILE_NAME in header(place, name))
        ]

    def _posts(
        self, pictures: PictureFinder, table: Table, options: ReadOptions, notes: Counter[str]
    ) -> list[Post]:
        image_column, id_column = options.image_column, options.id_column
        if self.imagefolder and not table.has(image_column):
            image_column = _FILE_NAME
        if self.imagefolder and not table.has(id_column):
            id_column = image_column
        counted = not (options.require_ids or table.has(id_column)) and id_column == _ID_COLUMN
        required = {
            id_column: not counted,
            options.text_column: options.read_text,
            image_column: options.read_image,
            options.label_column: options.require_labels,
        }
        table.require(*(column for column, needed in required.items() if needed))
        faults = RowFaults(table.where, table.unit)
        posts = []
        asked = (cells.get(image_column) if options.read_image else None for _, cells in table.rows)
        found = pictures.find(asked)
        rows = zip(table.rows, found, strict=True)
        for number, ((line, cells), picture) in enumerate(rows, start=1):
            post_id = str(number) if counted else plain(cells.get(id_column)).strip()
            cell = cells.get(options.text_column) if options.read_text else None
            text = None if cell is None else plain(cell)
            if text is not None and "\0" in text:
                notes["NUL characters removed"] += text.count("\0")
                text = text.replace("\0", "")
            fault = text_fault(text)
            label = plain(cells.get(options.label_column)).strip() or None
            if label is None and options.require_labels:
                fault = fault or f"the {options.label_column} is empty"
            elif label is not None and CONTROL.search(label):
                fault = fault or f"the label {label!r} contains a control character"
            if fault or picture.fault:
                faults.add(line, fault or picture.fault)
            elif faults.new_id(line, post_id):
                text = None if text is None else text.strip()
                pair = _pair(cells)
                posts.append(
                    Post(post_id, text, picture.image, label, table.encoding, pair, picture.sought)
                )
        outside = any(picture.fault for picture in found)
        faults.raise_any(_OUTSIDE_HINT if outside else None)
        notes |= {ROWS_COUNTED: len(posts)} if counted else {}
        return posts


def _pair(cells: Mapping[str, Cell]) -> tuple[tuple[str, str], ...]:
    """The labels of text and picture as one annotator's; empty if either is missing."""
    text, image = (plain(cells.get(name)).strip() for name in (TEXT_LABEL, IMAGE_LABEL))
    return ((text, image),) if text and image else ()


def _refuse_root(options: ReadOptions, table: Table) -> None:
    if options.image_root is not None:
        raise ConfigError(
            "The table itself contains its pictures",
            where=table.where,
            found=f"--image-root {options.image_root}",
            hint="leave out --image-root, or name another column: --image-column",
        )


IMAGEFOLDER = TableReader("metadata.csv or metadata.jsonl with a file_name column", True)
READER = TableReader("one .csv, .tsv, .jsonl or .parquet table of posts", False)
