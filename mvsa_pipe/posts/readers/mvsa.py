"""MVSA-Single and MVSA-Multiple as published: one list of label pairs; a file per text and picture.

Source:
    Niu, Zhu, Pang and El Saddik, "Sentiment Analysis on Multi-View Social Data", MMM 2016.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

from mvsa_pipe.errors import DataError
from mvsa_pipe.posts.dataset_path import DatasetPath
from mvsa_pipe.posts.formats import LabelRule, ReadOptions
from mvsa_pipe.posts.post import Post, PostSet
from mvsa_pipe.posts.readers.id_files import IdFiles, decode_text
from mvsa_pipe.posts.tables.row_faults import RowFaults

SENTIMENTS = ("negative", "neutral", "positive")
NEUTRAL = "neutral"


def consolidate(text_label: str, image_label: str) -> str | None:
    """The label of a post whose text and image have separate labels; ``None`` drops the post.

    Equal labels are kept; a polar label takes precedence over neutral; positive with negative is
    dropped.

    Source:
        Xu and Mao, "MultiSentiNet", CIKM 2017.
    """
    if text_label == image_label:
        return text_label
    if text_label == NEUTRAL:
        return image_label
    if image_label == NEUTRAL:
        return text_label
    return None


def agreed(text_label: str, image_label: str) -> str | None:
    """The label on which text and image agree; ``None`` drops the post."""
    return text_label if text_label == image_label else None


def majority_label(labels: Sequence[str]) -> str | None:
    """The label of more than half of the annotators, ``None`` if there is none."""
    (label, count), *_ = Counter(labels).most_common(1)
    return label if 2 * count > len(labels) else None


def majority_pair(annotations: Sequence[tuple[str, str]]) -> tuple[str, str] | None:
    """The majority's text label and image label; ``None`` if either modality has none."""
    text_label = majority_label([text for text, _ in annotations])
    image_label = majority_label([image for _, image in annotations])
    if text_label is None or image_label is None:
        return None
    return text_label, image_label


LABEL_LIST = "labelResultAll.txt"

Annotations = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class MvsaReader:
    """Reads MVSA with a given number of annotators.

    Attributes:
        name: The data set's name.
        n_annotators: ``text,image`` columns after the id: one in Single, three in Multiple.
    """

    takes: ClassVar = frozenset({"labels"})

    name: str
    n_annotators: int

    @property
    def looks_for(self) -> str:
        """How the layout is recognised."""
        columns = "one text,image column" if self.n_annotators == 1 else "three text,image columns"
        return f"{LABEL_LIST} with {columns}"

    def recognises(self, place: DatasetPath) -> bool:
        """Whether the list is here and its first row has this many annotators."""
        name = _list_name(place)
        if name is None:
            return False
        first = next(_rows(place, name), None)
        # A list with any other width is read as Single, whose error then names the line.
        width = 1 if first is None else len(first[1]) - 1
        return width == self.n_annotators or (self.n_annotators == 1 and width != 3)

    def read(self, place: DatasetPath, options: ReadOptions) -> PostSet:
        """All posts that the label rule keeps, in the list's order.

        Raises:
            DataError: The list is missing, or has rows that cannot be used.
        """
        name = _list_name(place)
        if name is None:
            raise DataError(
                "The list of labels is missing",
                where=place.where(),
                expected=LABEL_LIST,
                hint="unpack the whole data set, or name another --format",
            )
        annotated = self._annotations(place, name)
        files = IdFiles(place, annotated)
        dropped: Counter[str] = Counter()
        left_out: dict[str, Annotations] = {}
        posts = []
        for post_id, annotations in annotated.items():
            label, reason = _label(annotations, options.labels)
            if label is None:
                dropped[reason] += 1
                left_out[post_id] = annotations
                continue
            text, encoding = files.text(post_id)
            image, sought = files.image(post_id)
            posts.append(Post(post_id, text, image, label, encoding, annotations, sought))
        _refuse_bare(place, posts)
        set_name = options.name or place.marked_name() or self.name
        return PostSet(
            name=set_name,
            classes=SENTIMENTS,
            posts=tuple(posts),
            storage=place.storage,
            dropped=dict(dropped),
            notes=dict(files.notes),
            variant="" if options.labels is LabelRule.CONSOLIDATED else options.labels.value,
            dropped_annotations=left_out,
        )

    def _annotations(self, place: DatasetPath, name: str) -> dict[str, Annotations]:
        faults = RowFaults(place.where(name))
        annotated: dict[str, Annotations] = {}
        for line, cells in _rows(place, name):
            post_id, *columns = cells
            if len(columns) != self.n_annotators:
                faults.add(
                    line,
                    f"{len(cells)} tab-separated columns, where {self.name} has an id and "
                    f"{self.n_annotators} text,image",
                )
                continue
            annotations = _annotations(tuple(columns))
            if annotations is None:
                bad = [column for column in columns if _pair(column) is None]
                faults.add(
                    line,
                    f"{', '.join(map(repr, bad))}, where a pair of {', '.join(SENTIMENTS)} "
                    "(text,image) is expected",
                )
            elif faults.new_id(line, post_id):
                annotated[post_id] = annotations
        faults.raise_any()
        return annotated


# Few pairs are possible and lists are long: each pair and each label is parsed once.
@lru_cache(4096)
def _annotations(columns: tuple[str, ...]) -> Annotations | None:
    """Every annotator's pair; ``None`` if a column contains none."""
    pairs = tuple(pair for column in columns if (pair := _pair(column)) is not None)
    return pairs if len(pairs) == len(columns) else None


@lru_cache
def _pair(column: str) -> tuple[str, str] | None:
    """The ``text,image`` labels in a column; ``None`` if there are none."""
    text, _, image = (part.strip() for part in column.partition(","))
    return (text, image) if text in SENTIMENTS and image in SENTIMENTS else None


def _list_name(place: DatasetPath) -> str | None:
    return next((name for name in place.files() if name.lower() == LABEL_LIST.lower()), None)


def _rows(place: DatasetPath, name: str) -> Iterator[tuple[int, list[str]]]:
    """Line numbers and stripped cells of the list, without its header and blank lines."""
    text, _ = decode_text(place.read(name))
    header = True
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            cells = [cell.strip() for cell in line.rstrip().split("\t")]
            if not (header and cells[0].lower() == "id"):
                yield number, cells
            header = False


@lru_cache(4096)
def _label(annotations: Annotations, rule: LabelRule) -> tuple[str | None, str]:
    """The post's label, or ``None`` and why it is dropped."""
    pair = majority_pair(annotations)
    if pair is None:
        return None, "no-majority"
    if rule is LabelRule.AGREE:
        return agreed(*pair), "disagreeing"
    return consolidate(*pair), "opposing"


def _refuse_bare(place: DatasetPath, posts: list[Post]) -> None:
    if posts and all(post.text is None and post.image is None for post in posts):
        raise DataError(
            "None of the listed posts has a text or a picture",
            where=place.where(),
            expected=f"data/{posts[0].id}.txt and data/{posts[0].id}.jpg",
            hint="put the data/ folder of the same data set beside the list",
        )


SINGLE = MvsaReader("mvsa-single", 1)
MULTIPLE = MvsaReader("mvsa-multiple", 3)
