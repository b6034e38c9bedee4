"""The published image preprocessing of convolutional and transformer classifiers, by Pillow."""

from collections.abc import Callable, Mapping
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
from mvsa_pipe.errors import ConfigError
from mvsa_pipe.images import DecodedImage, size_of

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
    """How half a pixel of a margin is rounded.

    torchvision rounds to even, Hugging Face processors round down: a quarter of real pictures
    differ by a shift of one pixel.
    """

    ROUND = "round"
    FLOOR = "floor"


@dataclass(frozen=True)
class ImagePreprocessing:
    """Shortest edge to ``resize_px``, centre crop of ``crop_px``, scale to [0, 1], normalise.

    Raises:
        ConfigError: ``decode`` is fast, and the packages for it cannot be loaded.
    """

    resize_px: int
    crop_px: int
    interpolation: Interpolation
    crop_rounding: CropRounding
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    decode: Decode = Decode.EXACT

    def __post_init__(self) -> None:
        if self.decode is Decode.FAST:
            _fast_resizing()

    def pixels(self, picture: DecodedImage) -> NDArray[np.uint8]:
        """The resized and cropped picture, ``[crop_px, crop_px, 3]``.

        Pillow resizes the whole picture; fast decoding computes the same for the crop alone.
        """
        width, height = size_of(picture)
        size = self._resized((width, height))
        left, top = self._margin(size[0]), self._margin(size[1])
        ordered = max(width, height) <= _COLUMNS_FIRST * min(width, height)
        if self.decode is Decode.FAST and self.crop_px <= min(size) and ordered:
            whole = np.ascontiguousarray(picture)
            return _fast_resizing()(whole, size, (left, top), self.crop_px, self.interpolation)
        image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
        if size != image.size:
            image = image.resize(size, Image.Resampling[self.interpolation.value.upper()])
        box = (left, top, left + self.crop_px, top + self.crop_px)
        return np.asarray(image.crop(box))

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
        """Readable fields for a fingerprint; the decoder is part of the rule."""
        fields = asdict(self)
        del fields["decode"]
        fields["mean"] = " ".join(map(str, self.mean))
        fields["std"] = " ".join(map(str, self.std))
        return {"decoder": self.decode.decoder, **{k: _plain(v) for k, v in fields.items()}}

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any], decode: Decode) -> "ImagePreprocessing":
        """Reads the fields of ``as_fields``; ``decode`` is given by the user.

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


def _fast_resizing() -> Callable[..., NDArray[np.uint8]]:
    """``crop_resizing.resized_crop``, whose numba is an extra.

    Raises:
        ConfigError: numba cannot be loaded, for example with a numpy newer than it supports.
    """
    try:
        from mvsa_pipe.backbones.crop_resizing import resized_crop
    except (ImportError, OSError) as error:
        raise ConfigError(
            "--decode fast needs the package numba, which cannot be loaded here",
            found=error,
            hint="use --decode exact, which gives the same pixels, or mend it: "
            'pip install -U "mvsa-pipe[fast]"',
        ) from error
    return resized_crop


def _three(text: str) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in text.split())
    return red, green, blue


def _plain(value: object) -> str | int | float:
    return value if isinstance(value, int | float) else str(value)
