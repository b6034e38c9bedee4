"""The result of every reader: posts, their labels, and the location of their pictures."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from mvsa_pipe.posts.storage.base import Storage
from mvsa_pipe.tabular import Row, Tabular

if TYPE_CHECKING:
    from mvsa_pipe.posts.formats import ReadOptions


@dataclass(frozen=True, slots=True)
class Post:
    """One post: a labelled text and picture.

    Attributes:
        id: Unique in its data set.
        text: The decoded text, possibly empty; ``None`` if the post has no text.
        image: Path of the picture inside the data set's storage, ``None`` if there is none.
        label: Name of the class, ``None`` if unknown (posts to predict).
        encoding: How the text's bytes were decoded.
        annotations: One ``(text label, image label)`` pair per annotator, if the format has them.
        sought: The picture that was not found, for messages; empty if there is one.
    """

    id: str
    text: str | None
    image: str | None
    label: str | None
    encoding: str = "utf-8"
    annotations: tuple[tuple[str, str], ...] = ()
    sought: str = ""


def set_digest(rows: Iterable[tuple[str, str | None]]) -> str:
    """Eight hexadecimal digits that identify a set of ``(id, value)`` pairs.

    Rows are hashed in the order of their ids, so the digest does not depend on the file's order.
    """
    lines = sorted(json.dumps(row) for row in rows)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:8]


@dataclass(frozen=True, repr=False)
class PostSet(Tabular):
    """All posts of one data set, in their file's order.

    Attributes:
        name: The data set's name in cache paths and records (``mvsa-single``).
        classes: Names of the classes, in the order of every probability column.
        posts: The posts that are kept.
        storage: The storage of the pictures.
        dropped: Number of posts that were left out, by reason.
        notes: Number of repairs and completions of the reader, by kind.
        findings: Guesses of the reader, one sentence each: ``data check`` reports them.
        variant: Which of several labels were read, if not the usual one (``agree``).
        published: The part of each labelled post, if the data set has a published split.
        dropped_annotations: The annotators' labels of posts that the label rule left out, by id.
        path: What the user named; ``None`` for posts that were built in memory.
        read: How the posts at that path were read.
    """

    name: str
    classes: tuple[str, ...]
    posts: tuple[Post, ...]
    storage: Storage
    dropped: Mapping[str, int] = field(default_factory=dict)
    notes: Mapping[str, int] = field(default_factory=dict)
    findings: tuple[str, ...] = ()
    variant: str = ""
    published: Mapping[str, str] | None = None
    dropped_annotations: Mapping[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    path: Path | None = None
    read: "ReadOptions | None" = None

    @cached_property
    def digest(self) -> str:
        """Eight hexadecimal digits over the ids and labels of all posts, in any order."""
        return set_digest((post.id, post.label) for post in self.posts)

    @property
    def protocol(self) -> str:
        """First part of the protocol tag: name, posts kept and digest (``posts/40@1a2b3c4d``)."""
        variant = f"/{self.variant}" if self.variant else ""
        return f"{self.name}/{len(self.posts)}@{self.digest}{variant}"

    def __len__(self) -> int:
        """Posts kept."""
        return len(self.posts)

    def label_counts(self) -> dict[str, int]:
        """Posts per class, in the order of ``classes``."""
        counts = Counter(post.label for post in self.posts)
        return {name: counts[name] for name in self.classes}

    def table_rows(self) -> Iterator[Row]:
        """Id, text, picture and label of each post."""
        return (
            {"id": post.id, "text": post.text, "image": post.image, "label": post.label}
            for post in self.posts
        )

    def table_title(self) -> str:
        """Protocol and number of posts of each class."""
        counts = ", ".join(f"{count:,} {name}" for name, count in self.label_counts().items())
        return f"{self.protocol}: {counts or 'no labels'}"
