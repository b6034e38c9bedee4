"""What of every post a backbone reads, with the digest that the cache knows it by."""

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from PIL import Image

from mvsa_pipe.backbones.options import Decode
from mvsa_pipe.errors import DataError, name_some
from mvsa_pipe.extraction.digests import DigestMemory
from mvsa_pipe.images import decode_image, decode_image_fast
from mvsa_pipe.modality import Modality
from mvsa_pipe.posts.post import PostSet
from mvsa_pipe.posts.storage import Storage


def _no_image(_: Decode) -> Image.Image:
    raise DataError("This is the text of a post, not its picture")


@dataclass(frozen=True, slots=True)
class Content:
    """One post as a backbone sees it.

    Attributes:
        id: The post's id.
        digest: Digest of the text, or of the picture file's bytes.
        text: The text; empty for pictures.
        open_image: Decodes the picture.
    """

    id: str
    digest: str
    text: str = ""
    open_image: Callable[[Decode], Image.Image] = _no_image


class UnreadablePostsError(DataError):
    """Posts whose text or image cannot be read, all of them at once.

    Attributes:
        faults: Post id → what is wrong with it.
    """

    def __init__(self, faults: dict[str, str], where: object) -> None:
        self.faults = dict(faults)
        listed = name_some((f"{post_id}: {fault}" for post_id, fault in faults.items()), most=20)
        super().__init__(
            f"{len(faults):,} posts have a text or image that cannot be read",
            where=where,
            found=listed,
            hint="mend them, or leave them out: --on-bad-image skip (what is readable was kept)",
        )


def contents_of(
    posts: PostSet, modality: Modality, memory: Path | None = None
) -> tuple[list[Content], dict[str, str]]:
    """The readable halves of all posts, and what is wrong with the others by post id.

    Args:
        posts: The posts.
        modality: Which half.
        memory: The folder of all caches, where digests of unchanged files are remembered.
    """
    if modality is Modality.TEXT:
        good = [_text(p.id, p.text) for p in posts.posts if p.text is not None]
        return good, {p.id: "it has no text" for p in posts.posts if p.text is None}
    faults = {p.id: "it has no image" for p in posts.posts if p.image is None}
    digests = DigestMemory(posts.storage, memory)
    names = [(post.id, post.image) for post in posts.posts if post.image is not None]
    known = {name: digests.recall(name) for _, name in names}
    unknown = [name for name, digest in known.items() if digest is None]
    with ThreadPoolExecutor(4) as pool:  # reading waits on the disk, and hashing frees the lock
        learned = dict(zip(unknown, pool.map(partial(_learned, digests), unknown), strict=True))
    digests.keep()
    images: list[Content] = []
    for post_id, name in names:
        digest = known[name] or learned[name]
        if isinstance(digest, DataError):
            faults[post_id] = digest.what
        else:
            opened = partial(_decoded, posts.storage, name, digest)
            images.append(Content(post_id, digest, open_image=opened))
    return images, faults


def _text(post_id: str, text: str) -> Content:
    return Content(post_id, _digest(text.encode("utf-8", "surrogatepass")), text=text)


def _learned(digests: DigestMemory, name: str) -> str | DataError:
    try:
        return digests.learn(name, _digest)
    except DataError as error:
        return error


def _decoded(storage: Storage, name: str, digest: str, decode: Decode) -> Image.Image:
    data = storage.read(name)
    if _digest(data) != digest:
        raise DataError("A picture was changed during the extraction", where=storage.where(name))
    decoder = decode_image if decode is Decode.EXACT else decode_image_fast
    return decoder(data, storage.where(name))


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]
