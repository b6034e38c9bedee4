"""The table of data set formats, and what a reader of one is told."""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from mvsa_pipe.errors import ConfigError
from mvsa_pipe.posts.place import Place
from mvsa_pipe.posts.post import PostSet
from mvsa_pipe.registry import Registry, Row

_NAME = re.compile(r"\w+(?:[-.]\w+)*")


class Task(StrEnum):
    """What the labels say; every task but sentiment is Memotion's."""

    SENTIMENT = "sentiment"
    HUMOUR = "humour"
    SARCASM = "sarcasm"
    OFFENSIVE = "offensive"
    MOTIVATIONAL = "motivational"
    HUMOUR_INTENSITY = "humour-intensity"
    SARCASM_INTENSITY = "sarcasm-intensity"
    OFFENSIVE_INTENSITY = "offensive-intensity"


class LabelRule(StrEnum):
    """How a text label and an image label become one."""

    CONSOLIDATED = "consolidated"
    AGREE = "agree"


@dataclass(frozen=True)
class ReadOptions:
    """What the user says about a data set beyond its path.

    Attributes:
        format: How the posts lie there, as ``mvsa-single`` or ``table``; found by what lies at
            the path unless named.
        name: The data set's name in caches and records; the format's own unless named.
        task: Which of Memotion's labels to read.
        labels: The rule for formats that label text and image apart.
        id_column: Column of a table that holds the posts' ids.
        text_column: Column of a table that holds the texts.
        image_column: Column of a table that holds the pictures' paths, relative to the table.
        label_column: Column of a table that holds the labels.
        require_labels: Whether a post without a label is an error; ``False`` for prediction.

    Raises:
        ConfigError: A value cannot be used; the message names the field.
    """

    format: str | None = None
    name: str | None = None
    task: Task = Task.SENTIMENT
    labels: LabelRule = LabelRule.CONSOLIDATED
    id_column: str = "id"
    text_column: str = "text"
    image_column: str = "image"
    label_column: str = "label"
    require_labels: bool = True

    def __post_init__(self) -> None:
        """Checks every field, and takes task and rule by name too."""
        if self.format is not None:
            FORMATS.row(self.format)
        if self.name is not None:
            checked_name(self.name, where="name")
        object.__setattr__(self, "task", _member(Task, self.task, "task"))
        object.__setattr__(self, "labels", _member(LabelRule, self.labels, "labels"))
        columns = [self.id_column, self.text_column, self.image_column, self.label_column]
        if "" in columns or len(set(columns)) < len(columns):
            raise ConfigError(
                "Two columns share a name, or one has none",
                expected="four different names for id, text, image and label",
                found=", ".join(map(repr, columns)),
            )


def _member(kind: type[StrEnum], value: str, field: str) -> StrEnum:
    try:
        return kind(value)
    except ValueError as error:
        raise ConfigError(
            f"{value!r} is no value of {field}",
            expected=f"one of {', '.join(kind)}",
        ) from error


def checked_name(name: str, where: object) -> str:
    """A data set's name, safe as a folder's name and as a part of a protocol tag.

    Raises:
        ConfigError: It holds anything but letters, digits, and single ``-``, ``_`` or ``.``.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(
            "A data set's name cannot be used",
            where=where,
            expected="letters and digits joined by '-', '_' or '.'",
            found=repr(name),
        )
    return name


def kebab(text: str) -> str:
    """A name made of a file's or folder's own: lower case, everything else a hyphen."""
    return re.sub(r"[^\w]+", "-", text.lower()).strip("-_") or "posts"


class Reader(Protocol):
    """Recognises one layout and reads it.

    Attributes:
        looks_for: What the layout is known by, for the message when nothing is recognised.
        takes: Fields of ``ReadOptions``, beyond those of all formats, that make sense for it.
    """

    @property
    def looks_for(self) -> str: ...  # noqa: D102  # said above

    @property
    def takes(self) -> frozenset[str]: ...  # noqa: D102  # said above

    def recognises(self, place: Place) -> bool:
        """Whether the layout lies at ``place`` itself; a cheap look, no error."""

    def read(self, place: Place, options: ReadOptions) -> PostSet:
        """All posts at ``place``.

        Raises:
            DataError: Something there is not as the layout has it.
        """


FORMATS: Registry[Reader] = Registry(
    "format",
    [
        Row(
            "mvsa-single",
            "mvsa_pipe.posts.mvsa:SINGLE",
            "labelResultAll.txt with one annotator, and data/ID.txt, data/ID.jpg",
            "Niu et al. 2016",
        ),
        Row(
            "mvsa-multiple",
            "mvsa_pipe.posts.mvsa:MULTIPLE",
            "labelResultAll.txt with three annotators, and data/ID.txt, data/ID.jpg",
            "Niu et al. 2016",
        ),
        Row(
            "guid-tag",
            "mvsa_pipe.posts.guid_tag:READER",
            "a list with the header guid,tag, and data/ID.txt, data/ID.jpg",
        ),
        Row(
            "memotion",
            "mvsa_pipe.posts.memotion:READER",
            "labels.csv and images/ of Memotion 7k",
            "Sharma et al. 2020, SemEval task 8",
        ),
        Row(
            "imagefolder",
            "mvsa_pipe.posts.table:IMAGEFOLDER",
            "a Hugging Face metadata.csv or metadata.jsonl beside its pictures",
        ),
        Row(
            "table",
            "mvsa_pipe.posts.table:READER",
            "csv, tsv, jsonl or parquet with columns id, text, image, label",
        ),
    ],
)
