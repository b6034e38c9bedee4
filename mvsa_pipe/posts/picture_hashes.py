"""Perceptual hashes of pictures: 64 bits that resizing and compressing again hardly change.

A picture is scaled to 32 x 32 grey pixels; of its cosine transform the 8 x 8 lowest frequencies
give one bit each: whether they are above the median of all but the constant one. Pictures are
near when few bits differ.

Source:
    The DCT hash of Zauner 2010, Implementation and Benchmarking of Perceptual Image Hash
    Functions, as in the pHash and ImageHash libraries.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mvsa_pipe.devices import usable_cores
from mvsa_pipe.errors import DataError
from mvsa_pipe.images import IMAGE_FORMATS
from mvsa_pipe.posts.digest_memo import DigestMemory
from mvsa_pipe.posts.post import PostSet
from mvsa_pipe.progress import Progress

# Of the 64 bits, half differ between pictures of different things; of one that was scaled or
# compressed again, few do.
MOST_BITS = 6

_PIXELS, _FREQUENCIES = 32, 8
# The name of the memo of hashes: another way of hashing needs another one.
_KIND = "dct-64"
# What is remembered of a picture without a hash.
_NO_HASH = str(None)
# Grey levels that a picture must span: of an even surface the hash is noise.
_LEAST_CONTRAST = 8.0


def picture_hash(data: bytes) -> int | None:
    """The hash of a picture; ``None`` of one that cannot be read, or is an even surface."""
    from scipy.fft import dctn

    try:
        with Image.open(BytesIO(data), formats=IMAGE_FORMATS) as image:
            image.draft("L", (2 * _PIXELS, 2 * _PIXELS))
            small = image.convert("L").resize((_PIXELS, _PIXELS), Image.Resampling.BOX)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    grey = np.asarray(small, np.float64)
    if grey.std() < _LEAST_CONTRAST:
        return None
    low = dctn(grey, norm="ortho")[:_FREQUENCIES, :_FREQUENCIES].ravel()
    bits = low > np.median(low[1:])
    return int.from_bytes(np.packbits(bits).tobytes())


def picture_hashes(
    posts: PostSet, ids: Sequence[str], progress: Progress, memory: Path | None = None
) -> dict[str, int]:
    """Hashes of the pictures of some posts, by id, as far as they can be read.

    Args:
        posts: The posts.
        ids: Which of them.
        progress: Receives the number of hashed pictures.
        memory: The folder of all caches, which remembers hashes of unchanged files; ``None``
            remembers nothing.
    """
    names = {post.id: post.image for post in posts.posts}
    wanted = [(i, name) for i in ids if (name := names.get(i)) is not None]
    remembered = DigestMemory(posts.storage, memory, _KIND)
    progress.start("near pictures", len(wanted), "posts")

    def one(name: str) -> str:
        known = remembered.recall(name)
        if known is not None:
            return known
        try:
            return remembered.learn(name, lambda data: str(picture_hash(data)))
        except DataError:
            return _NO_HASH

    found: dict[str, int] = {}
    with ThreadPoolExecutor(usable_cores()) as pool:
        for (post_id, _), own in zip(wanted, pool.map(one, [n for _, n in wanted]), strict=True):
            progress.advance(1)
            if own.isdecimal():
                found[post_id] = int(own)
    remembered.keep()
    return found


def near(
    one: Sequence[int], others: Sequence[int], most_bits: int = MOST_BITS
) -> NDArray[np.bool_]:
    """Whether each hash differs in few bits from any of others ``[n]``."""
    mine, theirs = np.array(one, np.uint64), np.array(others, np.uint64)
    if not len(theirs):
        return np.zeros(len(mine), np.bool_)
    return np.array([np.bitwise_count(theirs ^ own).min() <= most_bits for own in mine], np.bool_)
