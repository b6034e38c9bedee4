"""The published image preprocessing of convolutional and transformer classifiers, by Pillow."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from mvsa_pipe.backbones.base import ImageBackbone
from mvsa_pipe.backbones.options import DECODER

# Up to this ratio of the sides, all versions of Pillow resize columns first; from 13.0 on, rows are
# first for taller pictures.
_COLUMNS_FIRST = 2

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Interpolation(StrEnum):
    """How pixels are resampled, with Pillow's antialiasing."""

    BILINEAR = "bilinear"
    BICUBIC = "bicubic"


class CropRounding(StrEnum):
    """How margins with half a pixel are rounded.

    torchvision rounds to even, Hugging Face processors round down: a quarter of real pictures
    differ by a shift of one pixel.
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

    def pixels(self, picture: Image.Image) -> UInt8[np.ndarray, "crop crop 3"]:
        """The resized and cropped picture; Pillow resizes the whole picture."""
        size, (left, top) = self._placed(picture.size)
        if size != picture.size:
            picture = picture.resize(size, Image.Resampling[self.interpolation.value.upper()])
        box = (left, top, left + self.crop_px, top + self.crop_px)
        return np.asarray(picture.crop(box))

    def pixels_of_array(
        self, picture: UInt8[np.ndarray, "H W 3"]
    ) -> UInt8[np.ndarray, "crop crop 3"]:
        """The same pixels of an array: compiled code resizes only the part that the crop keeps.

        Pillow resizes pictures that its versions treat in different orders, and those smaller than
        the crop.
        """
        height, width, _ = picture.shape
        size, corner = self._placed((width, height))
        ordered = max(width, height) <= _COLUMNS_FIRST * min(width, height)
        if self.crop_px > min(size) or not ordered:
            return self.pixels(Image.fromarray(picture))
        from mvsa_pipe.backbones.crop_resizing import resized_crop  # imports numba

        whole = np.ascontiguousarray(picture)
        return resized_crop(whole, size, corner, self.crop_px, self.interpolation)

    def _placed(self, size: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
        """Width and height of the whole resized picture, and the crop's upper left corner."""
        resized = self._resized(size)
        return resized, (self._margin(resized[0]), self._margin(resized[1]))

    def _resized(self, size: tuple[int, int]) -> tuple[int, int]:
        """Width and height of a picture whose shortest edge is ``resize_px``."""
        width, height = size
        long_px = int(self.resize_px * max(size) / min(size))
        return (self.resize_px, long_px) if width <= height else (long_px, self.resize_px)

    def _margin(self, length: int) -> int:
        spare = length - self.crop_px
        return round(spare / 2) if self.crop_rounding is CropRounding.ROUND else spare // 2

    def normalised(self, pixels: UInt8[Tensor, "B H W 3"]) -> Float[Tensor, "B 3 H W"]:
        """Scales to [0, 1] and normalises each channel, on the pixels' device."""
        mean = torch.tensor(self.mean, device=pixels.device)
        std = torch.tensor(self.std, device=pixels.device)
        return ((pixels.float() / 255.0 - mean) / std).permute(0, 3, 1, 2)

    def as_fields(self) -> dict[str, str | int | float]:
        """Readable fields for a fingerprint."""
        fields = asdict(self)
        fields["mean"] = " ".join(map(str, self.mean))
        fields["std"] = " ".join(map(str, self.std))
        return {"decoder": DECODER, **{k: _plain(v) for k, v in fields.items()}}

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> "ImagePreprocessing":
        """Reads the fields of ``as_fields``.

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
        )


class PreprocessedImageBackbone(ImageBackbone):
    """An image backbone with an ``ImagePreprocessing``.

    Attributes:
        rule: Shortest edge, crop, interpolation, mean and deviation.
    """

    rule: ImagePreprocessing

    def prepare(self, picture: Image.Image) -> UInt8[np.ndarray, "crop crop 3"]:
        """The resized and cropped picture."""
        return self.rule.pixels(picture)

    def prepare_array(
        self, picture: UInt8[np.ndarray, "H W 3"]
    ) -> UInt8[np.ndarray, "crop crop 3"]:
        """The same, resizing only what the crop keeps."""
        return self.rule.pixels_of_array(picture)


def _three(text: str) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in text.split())
    return red, green, blue


def _plain(value: object) -> str | int | float:
    return value if isinstance(value, int | float) else str(value)
