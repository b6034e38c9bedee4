"""The table of data set formats, and the options of their readers."""

import codecs
import re
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from mvsa_pipe.errors import ConfigError
from mvsa_pipe.options import Options, option
from mvsa_pipe.posts.dataset_path import DatasetPath, checked_name
from mvsa_pipe.posts.post import PostSet
from mvsa_pipe.registry import Registry, Row

# File names may be as long as the file system allows.
_MOST_STEM_BYTES = 80


class Task(StrEnum):
    """What the labels describe; all tasks except sentiment are Memotion's."""

    SENTIMENT = "sentiment"
    HUMOUR = "humour"
    SARCASM = "sarcasm"
    OFFENSIVE = "offensive"
    MOTIVATIONAL = "motivational"
    HUMOUR_INTENSITY = "humour-intensity"
    SARCASM_INTENSITY = "sarcasm-intensity"
    OFFENSIVE_INTENSITY = "offensive-intensity"


class LabelRule(StrEnum):
    """How a text label and an image label are combined."""

    CONSOLIDATED = "consolidated"
    AGREE = "agree"


class Quoting(StrEnum):
    """How the cells of a delimited table are quoted."""

    AUTO = "auto"
    MINIMAL = "minimal"
    NONE = "none"


_SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t", "\\t": "\t", "pipe": "|", "space": " "}
# Codecs that interpret escapes or host names instead of decoding text.
_NO_ENCODINGS = frozenset(("idna", "punycode", "raw-unicode-escape", "unicode-escape", "undefined"))


@dataclass(frozen=True)
class ReadOptions(Options):
    """Options of readers of posts.

    Attributes:
        format: Format, such as mvsa-single or table. Detected by default.
        name: The data set's name in caches and records. By default that of the format.
        task: Which of Memotion's labels to read.
        labels: How a text label and an image label are combined. For formats that label both.
        id_column: Column of ids in a table.
        text_column: Column of texts in a table.
        image_column: Column of picture paths. They are relative to the table, see --image-root.
        label_column: Column of labels in a table.
        separator: Separator of a delimited table. One character, or comma, semicolon, tab, pipe;
            detected by default.
        quoting: How a delimited table quotes cells. minimal follows RFC 4180, none reads quotes
            as part of the text, auto detects it.
        encoding: Encoding of a table, such as cp1252. By default detected from its bytes.
        image_root: Folder that pictures' paths are relative to. By default the table's folder.
        require_labels: Whether a post without a label is an error; ``False`` for prediction.
        require_ids: Whether a table without a column of ids is an error; its rows are numbered
            otherwise.
        read_text: Whether the texts are read; a table needs no column for them otherwise.
        read_image: Whether the pictures are read; a table needs no column for them otherwise.

    Raises:
        ConfigError: A value cannot be used; the message names the field.
    """

    panel = "Posts"

    format: str | None = None
    name: str | None = option(None, "--data-name", rare=True)
    task: Task = option(Task.SENTIMENT, rare=True)
    labels: LabelRule = option(LabelRule.CONSOLIDATED, rare=True)
    id_column: str = "id"
    text_column: str = "text"
    image_column: str = "image"
    label_column: str = "label"
    separator: str | None = option(None, rare=True)
    quoting: Quoting = option(Quoting.AUTO, rare=True)
    encoding: str | None = option(None, rare=True)
    image_root: Path | None = option(None, rare=True)
    require_labels: bool = option(True, hidden=True)
    require_ids: bool = option(True, hidden=True)
    read_text: bool = option(True, hidden=True)
    read_image: bool = option(True, hidden=True)

    def __post_init__(self) -> None:
        """Checks every field, and accepts task, rule and quoting by name."""
        super().__post_init__()
        if self.format is not None:
            FORMATS.row(self.format)
        if self.name is not None:
            checked_name(self.name, where="name")
        object.__setattr__(self, "task", _member(Task, self.task, "task"))
        object.__setattr__(self, "labels", _member(LabelRule, self.labels, "labels"))
        object.__setattr__(self, "quoting", _member(Quoting, self.quoting, "quoting"))
        if self.separator is not None:
            object.__setattr__(self, "separator", _separator(self.separator))
        if self.encoding is not None:
            _check_encoding(self.encoding)
        if self.image_root is not None:
            object.__setattr__(self, "image_root", Path(self.image_root))
        columns = [self.id_column, self.text_column, self.image_column, self.label_column]
        if "" in columns or len(set(columns)) < len(columns):
            raise ConfigError(
                "Two columns share a name, or one has none",
                expected="four different names for id, text, image and label",
                found=", ".join(map(repr, columns)),
            )

    def as_record(self) -> dict[str, Any]:
        """The options as JSON values, from which ``ReadOptions(**record)`` builds them again."""
        root = None if self.image_root is None else str(self.image_root.resolve())
        return asdict(self) | {"image_root": root}


def _separator(value: str) -> str:
    separator = _SEPARATORS.get(value.lower(), value)
    if len(separator) != 1 or separator in '"\r\n\0':
        raise ConfigError(
            "Cells cannot be separated by this",
            where="separator",
            expected=f"one character except quotes and line ends, or {', '.join(_SEPARATORS)}",
            found=repr(value),
        )
    return separator


def _check_encoding(name: str) -> None:
    try:
        b"    ".decode(name, "replace")  # a LookupError for codecs that are not text encodings
        known = codecs.lookup(name).name.replace("_", "-") not in _NO_ENCODINGS
    # a name with a NUL or an unpaired surrogate is a ValueError
    except (LookupError, ValueError):
        known = False
    if not known:
        raise ConfigError(
            "No such text encoding is known",
            where="encoding",
            expected="a name such as utf-8, utf-16, cp1252, latin-1, gb18030 or shift_jis",
            found=repr(name),
        )


def _member(kind: type[StrEnum], value: str, field: str) -> StrEnum:
    try:
        return kind(value)
    except ValueError as error:
        raise ConfigError(
            f"{value!r} is no value of {field}",
            expected=f"one of {', '.join(kind)}",
        ) from error


def kebab(text: str) -> str:
    """A name made from that of a file or folder: lower case, everything else a hyphen."""
    name = re.sub(r"[^\w]+", "-", text.lower()).strip("-_")
    return name.encode()[:_MOST_STEM_BYTES].decode(errors="ignore").strip("-_") or "posts"


class Reader(Protocol):
    """Recognises and reads one layout.

    Attributes:
        looks_for: How the layout is recognised, for the message when none is.
        takes: Fields of ``ReadOptions`` that apply to it, besides those of all formats.
    """

    @property
    def looks_for(self) -> str: ...  # noqa: D102  # said above

    @property
    def takes(self) -> frozenset[str]: ...  # noqa: D102  # said above

    def recognises(self, place: DatasetPath) -> bool:
        """Whether the layout is at ``place`` itself; a cheap test without errors."""

    def read(self, place: DatasetPath, options: ReadOptions) -> PostSet:
        """All posts at ``place``.

        Raises:
            DataError: A file does not follow the layout.
        """


FORMATS: Registry[Reader] = Registry(
    "format",
    [
        Row(
            "mvsa-single",
            "mvsa_pipe.posts.readers.mvsa:SINGLE",
            "labelResultAll.txt with one annotator, and data/ID.txt, data/ID.jpg",
            "Niu et al. 2016",
        ),
        Row(
            "mvsa-multiple",
            "mvsa_pipe.posts.readers.mvsa:MULTIPLE",
            "labelResultAll.txt with three annotators, and data/ID.txt, data/ID.jpg",
            "Niu et al. 2016",
        ),
        Row(
            "published",
            "mvsa_pipe.posts.readers.part_tables:READER",
            "train, val and test tables beside each other, or folders of one table each",
        ),
        Row(
            "guid-tag",
            "mvsa_pipe.posts.readers.guid_tag:READER",
            "a list with the header guid,tag, and data/ID.txt, data/ID.jpg",
        ),
        Row(
            "memotion",
            "mvsa_pipe.posts.readers.memotion:READER",
            "labels.csv and images/ of Memotion 7k",
            "Sharma et al. 2020, SemEval task 8",
        ),
        Row(
            "imagefolder",
            "mvsa_pipe.posts.readers.table:IMAGEFOLDER",
            "a Hugging Face metadata.csv or metadata.jsonl beside its pictures",
        ),
        Row(
            "table",
            "mvsa_pipe.posts.readers.table:READER",
            "csv, tsv, jsonl or parquet with columns id, text, image, label",
        ),
    ],
)
