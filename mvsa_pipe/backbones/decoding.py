"""How pictures become pixels: by Pillow, or faster by code that gives the same pixels here.

Fast decoding uses simplejpeg for JPEGs and numba for the crop. Both give Pillow's pixels, so that
features do not depend on the choice and have one fingerprint. As other versions of these libraries
might differ, every process that decodes fast first compares both on a dozen JPEGs, bit for bit.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mvsa_pipe.backbones.base import ImageBackbone
from mvsa_pipe.backbones.jpeg_samples import SELF_TEST, JpegSample
from mvsa_pipe.backbones.options import Decode
from mvsa_pipe.backbones.preprocessing import (
    CropRounding,
    ImagePreprocessing,
    Interpolation,
    PreprocessedImageBackbone,
)
from mvsa_pipe.errors import ConfigError
from mvsa_pipe.images import decode_image, decode_image_fast

# For fewer pictures ``auto`` decodes exactly. Loading numba and its machine code takes 0.7 s, which
# fast decoding saves in some 500 pictures on one core; compiling takes 5 s more, once.
FEWEST_FAST = 1_000

_RESIZING = Path(__file__).with_name("crop_resizing.py")

PictureT = TypeVar("PictureT", Image.Image, NDArray[np.uint8])


class Decoding(ABC, Generic[PictureT]):
    """A way from the bytes of a picture to the pixels that a backbone takes; thread-safe."""

    name: ClassVar[Decode]

    @abstractmethod
    def open(self, data: bytes, where: str) -> PictureT:
        """Decodes a picture, upright, RGB.

        Args:
            data: The file's bytes.
            where: The file's name in messages.

        Raises:
            ImageError: As ``decode_image``.
        """

    @abstractmethod
    def prepare(self, backbone: ImageBackbone, picture: PictureT) -> NDArray[np.generic]:
        """The pixels of a decoded picture, resized and cropped."""


class ExactDecoding(Decoding[Image.Image]):
    """Decodes and resizes by Pillow."""

    name = Decode.EXACT

    def open(self, data: bytes, where: str) -> Image.Image:
        """Decodes a picture by Pillow."""
        return decode_image(data, where)

    def prepare(self, backbone: ImageBackbone, picture: Image.Image) -> NDArray[np.generic]:
        """The pixels by the backbone's own preprocessing."""
        return backbone.prepare(picture)


class FastDecoding(Decoding[NDArray[np.uint8]]):
    """Decodes JPEGs by simplejpeg, and resizes only what a crop keeps."""

    name = Decode.FAST

    def open(self, data: bytes, where: str) -> NDArray[np.uint8]:
        """Decodes a JPEG by simplejpeg, other pictures by Pillow."""
        return decode_image_fast(data, where)

    def prepare(self, backbone: ImageBackbone, picture: NDArray[np.uint8]) -> NDArray[np.generic]:
        """The same pixels as by the backbone's own preprocessing."""
        return backbone.prepare_array(picture)


def choose_decoding(
    decode: Decode,
    backbones: Sequence[ImageBackbone],
    pictures: int,
    say: Callable[[str], None],
) -> Decoding[Any]:
    """The way in which some pictures are decoded.

    Args:
        decode: The requested way.
        backbones: The backbones that take the pictures.
        pictures: Number of pictures.
        say: Called with messages about what takes time, and why pictures are not decoded fast.

    Raises:
        ConfigError: ``fast`` was requested, and does not give Pillow's pixels here.
    """
    asked = settled(decode, pictures)
    ruled = any(isinstance(backbone, PreprocessedImageBackbone) for backbone in backbones)
    # The other backbones resize by their own code, which takes most of the time.
    if asked is Decode.EXACT or (asked is Decode.AUTO and not ruled):
        return ExactDecoding()
    fault = _fault(say)
    if fault is None:
        return FastDecoding()
    if decode is Decode.FAST:
        raise ConfigError(
            "--decode fast cannot be used here",
            expected="Pillow's exact pixels in a self-test",
            found=fault,
            hint="--decode exact (or auto); pip install -c constraints.txt brings versions of "
            "Pillow, simplejpeg and numba that agree",
        )
    say(f"pictures are decoded exactly, not fast, which takes about twice as long: {fault}")
    return ExactDecoding()


def settled(decode: Decode, pictures: int) -> Decode:
    """The requested way; ``auto`` becomes ``exact`` for few pictures."""
    few = decode is Decode.AUTO and pictures < FEWEST_FAST
    return Decode.EXACT if few else decode


def _fault(say: Callable[[str], None]) -> str | None:
    """Why this process cannot decode fast; ``None`` if it can."""
    tested = self_test.cache_info().currsize > 0
    compiles = not tested and _will_compile()
    if compiles:
        say("compiling fast decoding, which takes some seconds")
    fault = self_test()
    if compiles and fault is None and _will_compile():
        say("compiled code cannot be stored, so that every run compiles again (NUMBA_CACHE_DIR)")
    return fault


def _will_compile() -> bool:
    """Whether no machine code is stored for this machine."""
    try:
        from mvsa_pipe.backbones.machine_code import archive_of  # imports numba

        archive = archive_of(_RESIZING)
    except Exception:  # noqa: BLE001  # the self-test reports why numba cannot be loaded
        return False
    return archive is None or not archive.is_file()


@lru_cache(maxsize=1)
def self_test() -> str | None:
    """Compares fast with exact decoding on a dozen JPEGs; returns the difference or error.

    Computed once per process, as its libraries do not change.
    """
    try:
        return next(filter(None, map(_difference, SELF_TEST)), None)
    except Exception as error:  # noqa: BLE001  # numba raises errors of any kind
        return f"{type(error).__name__}: {next(iter(str(error).splitlines()), 'no message')}"


def _difference(sample: JpegSample) -> str | None:
    """The difference between both ways for a sample."""
    data, name = sample.encoded(), str(sample)
    picture, array = decode_image(data, name), decode_image_fast(data, name)
    if not np.array_equal(np.asarray(picture), array):
        return f"simplejpeg and Pillow differ in {name}"
    for rule in _RULES:
        if not np.array_equal(rule.pixels(picture), rule.pixels_of_array(array)):
            kind = f"resized to {rule.resize_px} ({rule.interpolation}), cropped to {rule.crop_px}"
            return f"compiled code and Pillow differ in {name}, {kind}"
    return None


# Both interpolations, up and down; crops whose rows fill whole vectors, and others.
_RULES = tuple(
    ImagePreprocessing(resize_px, crop_px, interpolation, rounding)
    for (resize_px, crop_px, rounding), interpolation in product(
        ((72, 64, CropRounding.ROUND), (45, 37, CropRounding.FLOOR)), Interpolation
    )
)
