"""Posts with the same text or picture: they belong in one part of a split."""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence

from mvsa_pipe.errors import DataError
from mvsa_pipe.posts.post import PostSet
from mvsa_pipe.posts.storage.base import Storage
from mvsa_pipe.progress import OnUnits, ignore_units

# A picture with different texts is a placeholder if more posts share it: popular memes are shared
# by a handful, an "image not found" by hundreds.
_MOST_SHARING = 10

_NOISE = re.compile(r"\b(?:https?://|www\.)\S+|@\w+:?|\brt\b:?", re.IGNORECASE)


def duplicate_groups(posts: PostSet) -> tuple[int, ...]:
    """The number of each post's group, in the posts' order; numbers start from 0.

    Posts share a group when their normalised texts are equal (and not empty), when their pictures'
    bytes are equal and not a placeholder, or through a chain of such posts.
    """
    texts = text_keys(posts)
    return joined(texts, without_stand_ins(texts, image_keys(posts)))


def text_keys(posts: PostSet) -> list[str | None]:
    """The normalised text of each post; ``None`` for empty texts."""
    return [normalised(post.text or "") or None for post in posts.posts]


def normalised(text: str) -> str:
    """A tweet without retweet marks, user names, links, case and spacing."""
    return " ".join(_NOISE.sub(" ", text).casefold().split())


def image_keys(posts: PostSet, on_posts: OnUnits = ignore_units) -> list[bytes | None]:
    """A digest of each picture that may have a duplicate; ``None`` for all others.

    A picture whose size is unique is never read. Missing, empty and unreadable ones have no
    duplicate; ``check_posts`` lists them.
    """
    names = [post.image for post in posts.posts]
    sizes = {name: _size(posts.storage, name) for name in names if name is not None}
    shared = Counter(sizes[name] for name in names if name is not None)
    keys: list[bytes | None] = []
    for name in names:
        size = 0 if name is None else sizes[name]
        has_twin = name is not None and size > 0 and shared[size] > 1
        keys.append(_digest(posts.storage, name) if name is not None and has_twin else None)
        on_posts(1)
    return keys


def _size(storage: Storage, name: str) -> int:
    try:
        return storage.size(name)
    except DataError:
        return 0


def _digest(storage: Storage, name: str) -> bytes | None:
    try:
        return hashlib.blake2b(storage.read(name), digest_size=16).digest()
    except DataError:
        return None


def stand_ins(
    texts: Sequence[str | None], pictures: Sequence[bytes | None]
) -> dict[bytes, list[int]]:
    """Positions of the posts of each placeholder picture, which replaces missing ones.

    A picture is a placeholder when more than ten posts (and more than one post in a thousand) share
    it and more than half of them have a unique text. Such posts are unrelated; a picture that is
    shared with one text, or a few, still makes duplicates.

    Args:
        texts: Output of ``text_keys``.
        pictures: Output of ``image_keys``.
    """
    positions: defaultdict[bytes, list[int]] = defaultdict(list)
    for position, key in enumerate(pictures):
        if key is not None:
            positions[key].append(position)
    most = max(_MOST_SHARING, len(texts) // 1000)
    return {
        key: sharing
        for key, sharing in positions.items()
        if len(sharing) > most and len({texts[at] for at in sharing}) > len(sharing) / 2
    }


def without_stand_ins(
    texts: Sequence[str | None], pictures: Sequence[bytes | None]
) -> list[bytes | None]:
    """The pictures' keys, ``None`` for placeholder pictures."""
    ignored = stand_ins(texts, pictures)
    return [None if key in ignored else key for key in pictures]


def joined(*keys: Sequence[Hashable | None]) -> tuple[int, ...]:
    """Groups of positions with an equal key in any of several key columns (union-find)."""
    parents = list(range(len(keys[0])))

    def root(position: int) -> int:
        while parents[position] != position:
            parents[position] = parents[parents[position]]
            position = parents[position]
        return position

    for column in keys:
        first: dict[Hashable, int] = {}
        for position, key in enumerate(column):
            if key is not None:
                parents[root(position)] = root(first.setdefault(key, position))
    numbers: dict[int, int] = {}
    return tuple(numbers.setdefault(root(i), len(numbers)) for i in range(len(parents)))


def members(groups: Iterable[int]) -> list[list[int]]:
    """Positions in each group that has more than one, largest group first."""
    positions: defaultdict[int, list[int]] = defaultdict(list)
    for position, group in enumerate(groups):
        positions[group].append(position)
    return sorted((group for group in positions.values() if len(group) > 1), key=len, reverse=True)
