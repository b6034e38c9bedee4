"""What backbones read of posts: token ids and pixels, by index."""

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mvsa_pipe.backbones.base import ImageBackbone, TextBackbone
from mvsa_pipe.backbones.decoding import Decoding, ExactDecoding
from mvsa_pipe.errors import DataError
from mvsa_pipe.finetune.augment import augmented
from mvsa_pipe.images import decode_image
from mvsa_pipe.posts.contents import Content

# Prepared pictures are held in memory up to so many bytes; more are prepared anew every time.
KEPT_BYTES = 2 * 2**30


@dataclass
class TextInputs:
    """Token ids of every text.

    Attributes:
        rows: Of each post, cut.
        pad_id: Fills up shorter texts of a batch.
    """

    rows: list[NDArray[np.int32]]
    pad_id: int

    @classmethod
    def read(cls, backbone: TextBackbone, contents: Sequence[Content]) -> "TextInputs":
        """Tokenizes every text once."""
        ids = backbone.tokenize([item.text for item in contents])
        return cls([backbone.cut(row) for row in ids], backbone.pad_id)


@dataclass
class ImageInputs:
    """Pixels of every picture, as the backbone prepares them.

    Attributes:
        backbone: Prepares pictures.
        contents: Opens them.
        seed: Decides how they are augmented.
        decoding: How they are decoded without augmentation.
    """

    backbone: ImageBackbone
    contents: Sequence[Content]
    seed: int
    decoding: Decoding[Any] = field(default_factory=ExactDecoding)
    _kept: dict[str, NDArray[np.generic]] = field(default_factory=dict)

    def pixels(self, index: int) -> NDArray[np.generic]:
        """One picture as the backbone prepares it.

        Raises:
            DataError: It cannot be decoded.
        """
        item = self.contents[index]
        kept = self._kept.get(item.id)
        if kept is not None:
            return kept
        pixels = self.decoding.prepare(self.backbone, self.decoding.open(*item.read_image()))
        if (len(self._kept) + 1) * pixels.nbytes <= KEPT_BYTES:
            self._kept[item.id] = pixels
        return pixels

    def augmented(self, index: int, epoch: int) -> NDArray[np.generic]:
        """One picture as an epoch of training sees it; the draws depend on post and epoch alone."""
        image = decode_image(*self.contents[index].read_image())
        draws = np.random.default_rng([self.seed, epoch, index])
        return self.backbone.prepare(augmented(image, draws))

    def of(self, contents: Sequence[Content], seed: int) -> "ImageInputs":
        """Some of the pictures in another order; what is held of them is shared."""
        return ImageInputs(self.backbone, contents, seed, self.decoding, self._kept)

    def faults(self, pool: Executor) -> dict[str, str]:
        """What is wrong with the pictures that cannot be read, by post id; the others are kept."""
        tried = pool.map(partial(_fault, self), range(len(self.contents)))
        named = zip((item.id for item in self.contents), tried, strict=True)
        return {post_id: fault for post_id, fault in named if fault is not None}


def _fault(inputs: ImageInputs, index: int) -> str | None:
    try:
        inputs.pixels(index)
    except DataError as error:
        return error.what
    return None
