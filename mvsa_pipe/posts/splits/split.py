"""A split: the posts for training, validation and test, and its tag."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from mvsa_pipe.errors import SplitError, name_some
from mvsa_pipe.posts.post import PostSet

TRAIN, VAL, TEST = PARTS = ("train", "val", "test")

_PART_OF = {
    "train": TRAIN,
    "training": TRAIN,
    "dev": VAL,
    "val": VAL,
    "valid": VAL,
    "validation": VAL,
    "test": TEST,
    "testing": TEST,
}


def part_named(name: str) -> str | None:
    """The part that a file, folder or cell names (``dev`` is val); ``None`` if it names none."""
    return _PART_OF.get(name.strip().lower())


@dataclass(frozen=True)
class Split:
    """The part of each post.

    Attributes:
        parts: ``train``, ``val`` or ``test`` by post id, in the posts' order.
        tag: Second part of the protocol tag (``random-8:1:1/seed-0``, ``3200-800-511``).

    Raises:
        SplitError: A part has another name, or train is empty.
    """

    parts: Mapping[str, str]
    tag: str

    def __post_init__(self) -> None:
        """Checks the parts."""
        others = sorted(set(self.parts.values()) - set(PARTS))
        if others:
            raise SplitError(
                "A split has unknown parts",
                where=self.tag,
                expected=", ".join(PARTS),
                found=name_some(others),
            )
        if not self.ids(TRAIN):
            raise SplitError("A split has no training posts", where=self.tag)

    def ids(self, part: str) -> tuple[str, ...]:
        """Ids of the posts in a part, in the posts' order."""
        return tuple(post_id for post_id, name in self.parts.items() if name == part)

    def sizes(self) -> dict[str, int]:
        """Posts per part, for all three parts."""
        counts = Counter(self.parts.values())
        return {part: counts[part] for part in PARTS}


def protocol_tag(posts: PostSet, split: Split) -> str:
    """The tag of comparable results (``mvsa-single/4511@1a2b3c4d/clmlf``)."""
    return f"{posts.protocol}/{split.tag}"
