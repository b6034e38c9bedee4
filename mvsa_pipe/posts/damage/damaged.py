"""Data sets with damaged texts or pictures.

A damaged data set has a name of its own, such as ``mvsa-single+jpeg-15``. No other data set can be
named so, and its texts or pictures have digests of their own: features of damaged posts are never
mistaken for others.
"""

import hashlib
import zlib
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL

from mvsa_pipe.images import decode_image
from mvsa_pipe.modality import Modality
from mvsa_pipe.posts.damage.table import DAMAGES, Damage
from mvsa_pipe.posts.in_memory import picture_bytes
from mvsa_pipe.posts.post import Post, PostSet
from mvsa_pipe.posts.storage.base import PICTURE_BYTES, Storage


class DamagedStorage(Storage):
    """The pictures of another storage, damaged when they are read.

    Args:
        intact: The other storage.
        damage: The damage.
    """

    def __init__(self, intact: Storage, damage: Damage) -> None:
        super().__init__(Path(f"{intact.root}+{damage}"))
        self._intact, self._damage = intact, damage

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles the other storage."""
        return type(self), (self._intact, self._damage)

    def names(self) -> Collection[str]:
        """Names of the other storage."""
        return self._intact.names()

    def has(self, name: str) -> bool:
        """Whether the other storage has it."""
        return self._intact.has(name)

    def size(self, name: str) -> int:
        """Bytes of a damaged picture's file."""
        return len(self.read(name))

    def stamp(self, name: str) -> tuple[int, ...]:
        """The stamp of the intact picture; another Pillow may damage it in another way."""
        return (*self._intact.stamp(name), zlib.crc32(PIL.__version__.encode()))

    def read(self, name: str, most: int = PICTURE_BYTES) -> bytes:
        """A damaged picture as a PNG, which loses no more; thread-safe."""
        data, where = self._intact.read(name, most), self.where(name)
        picture = decode_image(data, self._intact.where(name))
        change = DAMAGES.load(self._damage.row.name)
        damaged = change(picture, self._damage.strength, _generator(self._damage, data))
        return picture_bytes(damaged, where)


def damaged_posts(posts: PostSet, damage: Damage, ids: Collection[str]) -> PostSet:
    """Some posts of a data set, with the texts or pictures of all of them damaged.

    Args:
        posts: The posts.
        damage: The damage.
        ids: The posts to keep.
    """
    kept = tuple(post for post in posts.posts if post.id in set(ids))
    named = replace(posts, name=f"{posts.name}+{damage}", path=None, posts=kept)
    if damage.modality is Modality.IMAGE:
        return replace(named, storage=DamagedStorage(posts.storage, damage))
    return replace(named, posts=tuple(_damaged(post, damage) for post in kept))


def _damaged(post: Post, damage: Damage) -> Post:
    if post.text is None:
        return post
    generator = _generator(damage, post.text.encode("utf-8", "surrogatepass"))
    return replace(post, text=DAMAGES.load(damage.row.name)(post.text, damage.strength, generator))


def _generator(damage: Damage, content: bytes) -> np.random.Generator:
    """Draws that depend on a post's content alone: not on its place, its id or the strength."""
    digest = hashlib.sha256(damage.row.name.encode() + b"\0" + content).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))
