"""The text or picture of every post, with the digest that identifies it in caches."""

import hashlib
from collections.abc import Collection, Container, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mvsa_pipe.errors import DataError, name_some
from mvsa_pipe.modality import Modality
from mvsa_pipe.posts.digest_memo import DigestMemory
from mvsa_pipe.posts.post import Post, PostSet
from mvsa_pipe.posts.storage.base import Storage

# Files that are submitted at a time; each takes memory until its result is fetched.
_FILES_A_TIME = 1024


@dataclass(frozen=True, slots=True)
class Content:
    """One post as a backbone reads it.

    Attributes:
        id: The post's id.
        digest: Digest of the text, or of the picture file's bytes.
        text: The text; empty for pictures.
        image: Path of the picture's file in ``storage``; empty for texts.
        storage: The storage of the picture.
    """

    id: str
    digest: str
    text: str = ""
    image: str = ""
    storage: Storage | None = None

    def read_image(self) -> tuple[bytes, str]:
        """The bytes of the picture's file, and its name in messages.

        Raises:
            DataError: It cannot be read, or no longer has the digest.
        """
        if self.storage is None:
            raise DataError("This is the text of a post, not its picture", where=self.id)
        data, where = self.storage.read(self.image), self.storage.where(self.image)
        if _digest(data) != self.digest:
            raise DataError("A picture was changed during the extraction", where=where)
        return data, where


@dataclass(frozen=True)
class ContentDigests:
    """Digests of the current texts or pictures of some posts.

    Attributes:
        digests: Content digest of every readable post by id.
        faults: Ids of posts that cannot be read.
    """

    digests: Mapping[str, str]
    faults: Collection[str] = ()

    def __len__(self) -> int:
        """Number of posts."""
        return len(self.digests) + len(self.faults)

    def among(self, ids: Container[str]) -> "ContentDigests":
        """The digests of some of the posts."""
        return ContentDigests(
            {i: digest for i, digest in self.digests.items() if i in ids},
            {i for i in self.faults if i in ids},
        )


class UnreadablePostsError(DataError):
    """Posts whose text or image cannot be read, all of them at once.

    Attributes:
        faults: Reason by post id.
    """

    def __init__(self, faults: dict[str, str], where: object) -> None:
        self.faults = dict(faults)
        listed = name_some((f"{post_id}: {fault}" for post_id, fault in faults.items()), most=20)
        super().__init__(
            f"{len(faults):,} posts have a text or image that cannot be read",
            where=where,
            found=listed,
            hint="repair them, or leave them out: --on-bad-image skip (the others were extracted)",
        )


def contents_of(
    posts: PostSet, modality: Modality, memory: Path | None = None
) -> tuple[list[Content], dict[str, str]]:
    """The readable texts or pictures of all posts, and reasons why others are not, by post id.

    Args:
        posts: The posts.
        modality: Text or image.
        memory: The folder of all caches, which stores digests of unchanged files.
    """
    if modality is Modality.TEXT:
        good = [_text(p.id, p.text) for p in posts.posts if p.text is not None]
        return good, {p.id: "it has no text" for p in posts.posts if p.text is None}
    faults = {p.id: _lacking(p) for p in posts.posts if p.image is None}
    digests = DigestMemory(posts.storage, memory)
    names = [(post.id, post.image) for post in posts.posts if post.image is not None]
    images: list[Content] = []
    with ThreadPoolExecutor(4) as pool:  # reading waits on the disk, and hashing frees the lock
        for start in range(0, len(names), _FILES_A_TIME):
            some = names[start : start + _FILES_A_TIME]
            known = {name: digests.recall(name) for _, name in some}
            unknown = [name for name, digest in known.items() if digest is None]
            found = dict(zip(unknown, pool.map(partial(_learned, digests), unknown), strict=True))
            for post_id, name in some:
                digest = known[name] or found[name]
                if isinstance(digest, DataError):
                    faults[post_id] = digest.what
                else:
                    images.append(Content(post_id, digest, image=name, storage=posts.storage))
    digests.keep()
    return images, faults


def content_digests(
    posts: PostSet, modality: Modality, memory: Path | None = None
) -> ContentDigests:
    """Digests of the texts or pictures of all posts; as of ``contents_of``, without the contents.

    Args:
        posts: The posts.
        modality: Text or image.
        memory: As of ``contents_of``.
    """
    contents, faults = contents_of(posts, modality, memory)
    return ContentDigests({item.id: item.digest for item in contents}, faults)


def _lacking(post: Post) -> str:
    return "it has no image" + (f": {post.sought} was not found" if post.sought else "")


def _text(post_id: str, text: str) -> Content:
    return Content(post_id, _digest(text.encode("utf-8", "surrogatepass")), text=text)


def _learned(digests: DigestMemory, name: str) -> str | DataError:
    try:
        return digests.learn(name, _digest)
    except DataError as error:
        return error


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]
