"""Inputs of backbones: token ids and pixels of posts, by index."""

import math
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mvsa_pipe.backbones.base import ImageBackbone, TextBackbone
from mvsa_pipe.backbones.decoding import Decoding, ExactDecoding
from mvsa_pipe.errors import DataError
from mvsa_pipe.images import decode_image
from mvsa_pipe.posts.contents import Content

# Prepared pictures are kept in memory up to this many bytes; others are prepared again every time.
KEPT_BYTES = 2 * 2**30

# As in torchvision's RandomResizedCrop, except for the least area: relevant content can be near the
# edge.
_LEAST_AREA, _ASPECT = 0.5, 4 / 3


@dataclass
class TextInputs:
    """Token ids of every text.

    Attributes:
        rows: Token ids of each post, cut.
        pad_id: Token id for padding.
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
        backbone: The backbone.
        contents: The pictures.
        seed: Seed of the augmentation.
        decoding: How pictures are decoded without augmentation.
    """

    backbone: ImageBackbone
    contents: Sequence[Content]
    seed: int
    decoding: Decoding[Any] = field(default_factory=ExactDecoding)
    _kept: dict[str, NDArray[np.generic]] = field(default_factory=dict)

    def pixels(self, index: int) -> NDArray[np.generic]:
        """One picture as the backbone prepares it.

        Raises:
            DataError: The picture cannot be decoded.
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
        """One augmented picture; the random draws depend only on seed, epoch and index."""
        image = decode_image(*self.contents[index].read_image())
        draws = np.random.default_rng([self.seed, epoch, index])
        return self.backbone.prepare(augment(image, draws))

    def of(self, contents: Sequence[Content], seed: int) -> "ImageInputs":
        """Some of the pictures in another order; kept pixels are shared."""
        return ImageInputs(self.backbone, contents, seed, self.decoding, self._kept)

    def faults(self, pool: Executor) -> dict[str, str]:
        """Errors of unreadable pictures, by post id."""
        tried = pool.map(partial(_fault, self), range(len(self.contents)))
        named = zip((item.id for item in self.contents), tried, strict=True)
        return {post_id: fault for post_id, fault in named if fault is not None}


def _fault(inputs: ImageInputs, index: int) -> str | None:
    try:
        inputs.pixels(index)
    except DataError as error:
        return error.what
    return None


def augment(image: Image.Image, draws: np.random.Generator) -> Image.Image:
    """A random crop of at least half of a picture's area, mirrored with probability one half."""
    width, height = image.size
    area = width * height * draws.uniform(_LEAST_AREA, 1.0)
    aspect = math.exp(draws.uniform(-math.log(_ASPECT), math.log(_ASPECT))) * width / height
    part = (
        min(width, max(1, round(math.sqrt(area * aspect)))),
        min(height, max(1, round(math.sqrt(area / aspect)))),
    )
    left = int(draws.integers(0, width - part[0] + 1))
    top = int(draws.integers(0, height - part[1] + 1))
    image = image.crop((left, top, left + part[0], top + part[1]))
    mirrored = draws.random() < 0.5
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else image
