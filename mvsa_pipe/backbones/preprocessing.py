"""The published image preprocessing of convolutional and transformer classifiers, by Pillow."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from mvsa_pipe.backbones.options import Decode

# How many source pixels bicubic interpolation reaches to each side.
_REACH = 2.0

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Interpolation(StrEnum):
    """How pixels are resampled; both are antialiased by Pillow."""

    BILINEAR = "bilinear"
    BICUBIC = "bicubic"


class CropRounding(StrEnum):
    """Where the centre of an odd margin falls.

    torchvision rounds half a pixel to even, Hugging Face processors floor it: a quarter of real
    pictures shift by one pixel between the two.
    """

    ROUND = "round"
    FLOOR = "floor"


@dataclass(frozen=True)
class ImagePreprocessing:
    """Shortest edge to ``resize_px``, centre crop of ``crop_px``, scale to [0, 1], normalise."""

    resize_px: int
    crop_px: int
    interpolation: Interpolation
    crop_rounding: CropRounding
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    decode: Decode = Decode.EXACT

    def pixels(self, image: Image.Image) -> NDArray[np.uint8]:
        """The resized and cropped picture, ``[crop_px, crop_px, 3]``."""
        width, height = image.size
        short, long = min(width, height), max(width, height)
        long_px = int(self.resize_px * long / short)
        size = (self.resize_px, long_px) if width <= height else (long_px, self.resize_px)
        left, top = self._margin(size[0]), self._margin(size[1])
        resample = Image.Resampling[self.interpolation.value.upper()]
        if self.decode is Decode.FAST and min(left, top) >= 0:
            return self._only_the_crop(image, size, (left, top), resample)
        if size != image.size:
            image = image.resize(size, resample)
        box = (left, top, left + self.crop_px, top + self.crop_px)
        return np.asarray(image.crop(box))

    def _only_the_crop(
        self,
        image: Image.Image,
        size: tuple[int, int],
        corner: tuple[int, int],
        resample: Image.Resampling,
    ) -> NDArray[np.uint8]:
        """Resizes what the crop keeps.

        In one call Pillow may resize rows first where it resizes columns first of the whole, or the
        other way round. Bicubic overshoots are cut off in between, so it is told the usual order.
        """
        (width, height), crop = image.size, self.crop_px
        x, y = width / size[0], height / size[1]
        if self.interpolation is Interpolation.BILINEAR:
            kept = (corner[0] * x, corner[1] * y, (corner[0] + crop) * x, (corner[1] + crop) * y)
            return np.asarray(image.resize((crop, crop), resample, box=kept))
        # The rows that the crop's rows are made of, and those that the filter reaches beyond them.
        reach = _REACH * max(y, 1.0) + 1.0
        above = max(0, math.floor(corner[1] * y - reach))
        below = min(height, math.ceil((corner[1] + crop) * y + reach))
        image = image.crop((0, above, width, below))
        columns = (corner[0] * x, 0, (corner[0] + crop) * x, below - above)
        rows = (0, corner[1] * y - above, crop, (corner[1] + crop) * y - above)
        narrow = image.resize((crop, below - above), resample, box=columns)
        return np.asarray(narrow.resize((crop, crop), resample, box=rows))

    def _margin(self, length: int) -> int:
        spare = length - self.crop_px
        return round(spare / 2) if self.crop_rounding is CropRounding.ROUND else spare // 2

    def normalised(self, pixels: UInt8[Tensor, "B H W 3"]) -> Float[Tensor, "B 3 H W"]:
        """Scales to [0, 1] and normalises each channel, on the pixels' device."""
        mean = torch.tensor(self.mean, device=pixels.device)
        std = torch.tensor(self.std, device=pixels.device)
        return ((pixels.float() / 255.0 - mean) / std).permute(0, 3, 1, 2)

    def as_fields(self) -> dict[str, str | int | float]:
        """Readable fields for a fingerprint; the decoder is part of the rule."""
        fields = asdict(self)
        exact = fields.pop("decode") is Decode.EXACT
        fields["mean"] = " ".join(map(str, self.mean))
        fields["std"] = " ".join(map(str, self.std))
        decoder = "pillow" if exact else "simplejpeg, and only the crop resized"
        return {"decoder": decoder, **{k: _plain(v) for k, v in fields.items()}}

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any], decode: Decode) -> "ImagePreprocessing":
        """Reads what ``as_fields`` gave; how pictures are decoded is the user's choice.

        Raises:
            ValueError: A field has a value that cannot be used.
            KeyError: A field is missing.
        """
        return cls(
            resize_px=int(fields["resize_px"]),
            crop_px=int(fields["crop_px"]),
            interpolation=Interpolation(fields["interpolation"]),
            crop_rounding=CropRounding(fields["crop_rounding"]),
            mean=_three(fields["mean"]),
            std=_three(fields["std"]),
            decode=decode,
        )


def _three(text: str) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in text.split())
    return red, green, blue


def _plain(value: object) -> str | int | float:
    return value if isinstance(value, int | float) else str(value)
