"""What every data set format yields: posts, their labels, and where their bytes lie."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from mvsa_pipe.posts.storage import Storage


@dataclass(frozen=True, slots=True)
class Post:
    """One post: a text and a picture that somebody labelled.

    Attributes:
        id: Unique in its data set.
        text: The decoded text; empty when it says nothing, ``None`` when the post has no text.
        image: Path of the picture inside the data set's storage, ``None`` when there is none.
        label: Name of the class, ``None`` when unknown (posts to predict).
        encoding: How the text's bytes were decoded.
        annotations: One ``(text label, image label)`` pair an annotator, where the format has them.
    """

    id: str
    text: str | None
    image: str | None
    label: str | None
    encoding: str = "utf-8"
    annotations: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class PostSet:
    """All posts of one data set, in their file's order.

    Attributes:
        name: The data set's name in cache paths and records (``mvsa-single``).
        protocol: First part of the protocol tag: name and posts kept (``mvsa-single/4511``).
        classes: Names of the classes, in the order of every probability column.
        posts: The posts that are kept.
        storage: Where the bytes of the pictures are read from.
        dropped: How many posts were left out, by reason.
        notes: Anything a reader repaired or filled in, counted by what it did.
    """

    name: str
    protocol: str
    classes: tuple[str, ...]
    posts: tuple[Post, ...]
    storage: Storage
    dropped: Mapping[str, int] = field(default_factory=dict)
    notes: Mapping[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        """Posts kept."""
        return len(self.posts)

    def label_counts(self) -> dict[str, int]:
        """Posts per class, in the order of ``classes``."""
        counts = Counter(post.label for post in self.posts)
        return {name: counts[name] for name in self.classes}
