"""Memotion 7k: memes with their text, and five labels each.

Source:
    Sharma et al., "SemEval-2020 Task 8: Memotion Analysis", SemEval 2020.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from mvsa_pipe.errors import DataError
from mvsa_pipe.posts.dataset_path import DatasetPath
from mvsa_pipe.posts.formats import ReadOptions, Task
from mvsa_pipe.posts.post import Post, PostSet
from mvsa_pipe.posts.readers.mvsa import SENTIMENTS
from mvsa_pipe.posts.readers.picture_names import PictureFinder
from mvsa_pipe.posts.tables.cells import Cell, Kind, plain
from mvsa_pipe.posts.tables.row_faults import RowFaults
from mvsa_pipe.posts.tables.table_rows import Table, header, read_rows

_IMAGE, _OCR, _CORRECTED = "image_name", "text_ocr", "text_corrected"
_FOLDERS = ("images/", "")


@dataclass(frozen=True)
class TaskLabels:
    """How values of one column map to the classes of a task.

    Attributes:
        column: The column of ``labels.csv``.
        classes: The classes, in order.
        of: The class of each value that the column may have.
    """

    column: str
    classes: tuple[str, ...]
    of: Mapping[str, str]


def _binary(column: str, absent: str, *present: str) -> TaskLabels:
    """Task B: the emotion is absent, or present in any strength."""
    shown = absent.removeprefix("not_")
    names = (f"not-{shown}", shown)
    return TaskLabels(column, names, {absent: names[0]} | dict.fromkeys(present, names[1]))


def _intensity(column: str, *values: str) -> TaskLabels:
    """Task C: the emotion's strength, from least to most."""
    names = {value: value.replace("_", "-") for value in values}
    return TaskLabels(column, tuple(names.values()), names)


_HUMOUR = ("humour", "not_funny", "funny", "very_funny", "hilarious")
_SARCASM = ("sarcasm", "not_sarcastic", "general", "twisted_meaning", "very_twisted")
_OFFENSIVE = ("offensive", "not_offensive", "slight", "very_offensive", "hateful_offensive")
_SENTIMENT_OF = {
    "very_negative": "negative",
    "negative": "negative",
    "neutral": "neutral",
    "positive": "positive",
    "very_positive": "positive",
}

TASKS: Mapping[Task, TaskLabels] = {
    Task.SENTIMENT: TaskLabels("overall_sentiment", SENTIMENTS, _SENTIMENT_OF),
    Task.HUMOUR: _binary(*_HUMOUR),
    Task.SARCASM: _binary(*_SARCASM),
    Task.OFFENSIVE: _binary(*_OFFENSIVE),
    Task.MOTIVATIONAL: _binary("motivational", "not_motivational", "motivational"),
    Task.HUMOUR_INTENSITY: _intensity(*_HUMOUR),
    Task.SARCASM_INTENSITY: _intensity(*_SARCASM),
    Task.OFFENSIVE_INTENSITY: _intensity(*_OFFENSIVE),
}


class MemotionReader:
    """Reads ``labels.csv`` and ``images/``."""

    looks_for = "labels.csv with image_name and text_corrected columns, and images/"
    takes = frozenset({"task", "separator", "quoting", "encoding"})

    def recognises(self, place: DatasetPath) -> bool:
        """Whether a table with Memotion's columns is here."""
        return _list_name(place) is not None

    def read(self, place: DatasetPath, options: ReadOptions) -> PostSet:
        """All memes with the labels of one task; the id is the image's name without its suffix.

        Raises:
            DataError: Columns are missing, or rows cannot be used.
        """
        name = _list_name(place)
        if name is None:
            raise DataError(
                "Memotion's list is missing", where=place.where(), expected=self.looks_for
            )
        notes: Counter[str] = Counter()
        task = TASKS[options.task]
        kinds = dict.fromkeys((_IMAGE, _OCR, _CORRECTED), Kind.TEXT) | {task.column: Kind.LABEL}
        table = read_rows(place, name, kinds, options)
        posts = _posts(place, table, task, options.require_labels, notes)
        set_name = options.name or place.marked_name() or "memotion"
        return PostSet(
            name=set_name,
            classes=task.classes,
            posts=tuple(posts),
            storage=place.storage,
            notes=dict(table.notes) | dict(notes),
            findings=table.findings,
            variant="" if options.task is Task.SENTIMENT else options.task.value,
        )


def _list_name(place: DatasetPath) -> str | None:
    for name in place.files():
        if name.lower().endswith(".csv") and {_IMAGE, _CORRECTED} <= set(header(place, name)):
            return name
    return None


def _posts(
    place: DatasetPath, table: Table, task: TaskLabels, require_labels: bool, notes: Counter[str]
) -> list[Post]:
    table.require(_IMAGE, _OCR, _CORRECTED, *([task.column] if require_labels else []))
    faults = RowFaults(table.where)
    posts = []
    finder = PictureFinder(place)
    found = finder.find(_named(place, plain(cells.get(_IMAGE)).strip()) for _, cells in table.rows)
    for (line, cells), picture in zip(table.rows, found, strict=True):
        image = plain(cells.get(_IMAGE)).strip()
        value = plain(cells.get(task.column)).strip().lower()
        label = task.of.get(value)
        if label is None and (value or require_labels):
            faults.add(line, f"{task.column} {value!r}, which is none of {', '.join(task.of)}")
        elif "/" in image or "\\" in image:
            faults.add(line, f"the image {image!r} is not a plain file name")
        elif faults.new_id(line, PurePosixPath(image).stem):
            text = _text(cells, notes)
            post_id = PurePosixPath(image).stem
            posts.append(
                Post(post_id, text, picture.image, label, table.encoding, sought=picture.sought)
            )
    faults.raise_any()
    notes += finder.notes
    return posts


def _text(cells: Mapping[str, Cell], notes: Counter[str]) -> str:
    """The corrected text, else the one of text recognition, else none; counts the last two."""
    corrected, ocr = (plain(cells.get(column)).strip() for column in (_CORRECTED, _OCR))
    if not corrected:
        notes["text-corrected-empty-took-text-ocr" if ocr else "both-texts-empty"] += 1
    return corrected or ocr


def _named(place: DatasetPath, image: str) -> str:
    """The path of a picture, or where it should be."""
    folder = next((folder for folder in _FOLDERS if place.has(folder + image)), _FOLDERS[0])
    return folder + image if image else ""


READER = MemotionReader()
