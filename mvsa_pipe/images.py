"""Decodes pictures: bytes to upright RGB, or one error with the reason."""

import re
import struct
import zlib
from enum import StrEnum
from io import BytesIO

import numpy as np
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError, features

from mvsa_pipe.errors import DataError
from mvsa_pipe.image_files import (
    ExcessError,
    ImageFile,
    LostPixelsError,
    is_read_whole,
    pixels_only,
    with_more_data,
)

# Pillow's own default limit: a quarter of a gigabyte at three bytes a pixel.
MAX_PIXELS = 89_478_485
# Pillow warns above this limit, once per process and through global filters; ``_open`` checks every
# header itself, so that all threads treat pictures alike.
Image.MAX_IMAGE_PIXELS = None

# Largest ratio of a picture's sides. Processors scale the short side up to some 256 pixels, and the
# long one with it: a line of 60,000 pixels would take 12 GB. Real pictures stay below 1:20.
MOST_ELONGATED = 256

# Formats in posts. Naming them also keeps Pillow from trying forty other decoders, one of which
# runs Ghostscript. AVIF is missing from some builds of Pillow.
IMAGE_FORMATS = (
    "JPEG",
    "PNG",
    "GIF",
    "BMP",
    "WEBP",
    *(("AVIF",) if features.check("avif") else ()),
)
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"RIFF", b"BM")

# Other content of files named as pictures, for the message.
_OTHER_KINDS = (
    (re.compile(rb"II\*\0|MM\0\*|II\+\0|MM\0\+"), "a TIFF, which is not read"),
    (re.compile(rb"....ftyp(?:hei|hev|mif1|msf1)", re.DOTALL), "a HEIC picture, which is not read"),
    (re.compile(rb"....ftyp", re.DOTALL), "a video or a picture in AVIF, which is not read here"),
    (re.compile(rb"\xff\x0a|....JXL ", re.DOTALL), "a JPEG XL, which is not read"),
    (re.compile(rb"....jP  |\xff\x4f\xff\x51", re.DOTALL), "a JPEG 2000, which is not read"),
    (re.compile(rb"8BPS|%!PS|%PDF|\x00\x00\x01\x00"), "a PSD, EPS, PDF or icon, which is not read"),
    (re.compile(rb"\s*(?:<\?xml[^>]*>\s*)?<svg", re.IGNORECASE), "an SVG, which is not read"),
    (re.compile(rb"\s*(?:<!doctype html|<html)", re.IGNORECASE), "a web page"),
    (re.compile(rb"version https://git-lfs"), "a pointer of Git LFS; fetch the file: git lfs pull"),
)

# Errors of Pillow's decoders for invalid bytes.
_DECODER_ERRORS = (
    OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError,
    struct.error, zlib.error, RuntimeError, MemoryError,
)  # fmt: skip

_ORIENTATION_TAG = 0x0112
_TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class ImageFault(StrEnum):
    """Why a post has no usable picture."""

    MISSING = "missing"
    ZERO_BYTE = "zero-byte"
    NOT_AN_IMAGE = "not-an-image"
    TRUNCATED = "truncated"
    OVERSIZED = "oversized"
    NARROW = "narrow"


_FAULT_SENTENCES = {
    ImageFault.MISSING: "A picture is missing",
    ImageFault.ZERO_BYTE: "A picture's file is empty",
    ImageFault.NOT_AN_IMAGE: "A file is no picture",
    ImageFault.TRUNCATED: "A picture is cut short or damaged",
    ImageFault.OVERSIZED: "A picture is too large to decode safely",
    ImageFault.NARROW: "A picture is too narrow for a backbone to see",
}


class ImageError(DataError):
    """A picture that cannot be decoded.

    Args:
        reason: The fault.
        where: The file, as users name it.
        found: What is there instead.
        expected: What would be valid.
        kind: What the file is instead of a picture, if known.
    """

    def __init__(
        self,
        reason: ImageFault,
        where: object,
        *,
        found: object = None,
        expected: str | None = None,
        kind: str | None = None,
    ) -> None:
        self.reason = reason
        super().__init__(
            _FAULT_SENTENCES[reason] if kind is None else f"A file is {kind}",
            where=where,
            expected=expected,
            found=found,
            hint="mvsa data check PATH lists every such post; mvsa extract --on-bad-image skip "
            "leaves them out",
        )


def decode_image(data: bytes, where: str, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decodes one whole picture as upright RGB.

    Takes the first frame of an animation, applies EXIF orientation, puts transparency over white,
    keeps the high byte of 16-bit grey, and lets Pillow convert every other mode. Only pixels
    matter: colour profiles, comments and thumbnails may be broken.

    Args:
        data: The file's bytes.
        where: How messages name the file.
        max_pixels: Largest width times height, read from the header before anything is decoded.

    Raises:
        ImageError: The bytes are empty, no picture, cut short, too large, or too narrow.
    """
    image, orientation, file = _open(data, where, max_pixels)
    _is_read_whole(file, where)
    _load(image, where)
    upright = _TRANSPOSITIONS.get(orientation)
    picture = _as_rgb(image)
    return picture if upright is None else picture.transpose(upright)


def decode_image_fast(data: bytes, where: str) -> UInt8[np.ndarray, "H W 3"]:
    """Decodes plain JPEGs by simplejpeg, everything else as ``decode_image`` does.

    Both use libjpeg-turbo and give the same pixels if their versions of it agree, which
    ``backbones.decoding`` tests first; this function avoids Pillow's copy of the pixels.

    Raises:
        ImageError: As ``decode_image``.
    """
    if not data.startswith(b"\xff\xd8"):
        return np.asarray(decode_image(data, where))
    image, orientation, file = _open(data, where, MAX_PIXELS)
    if orientation in _TRANSPOSITIONS or image.mode != "RGB":
        return np.asarray(decode_image(data, where))
    import simplejpeg  # here, as help screens need no decoder

    try:
        return np.asarray(simplejpeg.decode_jpeg(file.data, "RGB"))
    except ValueError:
        return np.asarray(decode_image(data, where))  # raises the error


def inspect_image(data: bytes, where: str, max_pixels: int = MAX_PIXELS) -> ImageFault | None:
    """The fault of a picture, or ``None``; decodes all of it, as for a backbone."""
    try:
        image, _, file = _open(data, where, max_pixels)
        if _is_read_whole(file, where) and image.mode in ("L", "RGB"):
            return None
        image.draft("RGB", (1, 1))
        _load(image, where)
    except ImageError as error:
        return error.reason
    return None


def _open(data: bytes, where: str, max_pixels: int) -> tuple[Image.Image, int, ImageFile]:
    """The undecoded picture, its EXIF orientation (1 is upright), and its file."""
    if not data:
        raise ImageError(ImageFault.ZERO_BYTE, where, found="0 bytes")
    try:
        file = pixels_only(data)
        image = Image.open(BytesIO(file.data), formats=IMAGE_FORMATS)
    except ExcessError as error:
        raise ImageError(ImageFault.OVERSIZED, where, found=error) from error
    except LostPixelsError as error:
        raise ImageError(ImageFault.TRUNCATED, where, found=error) from error
    except UnidentifiedImageError as error:
        raise _unidentified(data, where) from error
    except _DECODER_ERRORS as error:
        raise ImageError(ImageFault.TRUNCATED, where, found=error) from error
    _require_safe(image.size, where, max_pixels)
    return image, _orientation(file.exif or image.info.get("exif", b"")), file


def _require_safe(size: tuple[int, int], where: str, max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise ImageError(
            ImageFault.OVERSIZED,
            where,
            expected=f"at most {max_pixels:,} pixels",
            found=f"{width:,} x {height:,} = {width * height:,} pixels",
        )
    if max(size) > MOST_ELONGATED * min(size):
        raise ImageError(
            ImageFault.NARROW,
            where,
            expected=f"sides of which one is at most {MOST_ELONGATED} times the other",
            found=f"{width:,} x {height:,} pixels",
        )


def _unidentified(data: bytes, where: str) -> ImageError:
    if data.startswith(_SIGNATURES):
        return ImageError(
            ImageFault.TRUNCATED, where, found=f"{len(data):,} bytes with a broken header"
        )
    return ImageError(
        ImageFault.NOT_AN_IMAGE,
        where,
        expected=", ".join(IMAGE_FORMATS),
        found=f"{len(data):,} bytes that begin with {data[:12]!r}",
        kind=next((kind for pattern, kind in _OTHER_KINDS if pattern.match(data)), None),
    )


def _is_read_whole(file: ImageFile, where: str) -> bool:
    """Whether libjpeg has read all of a JPEG without a warning; takes little memory."""
    try:
        whole = is_read_whole(file.data)
        if whole is False and _checksum(file.data) != _checksum(with_more_data(file.data)):
            raise LostPixelsError("data that end before the pixels do")
    except (LostPixelsError, ExcessError) as error:
        raise ImageError(ImageFault.TRUNCATED, where, found=error) from error
    return whole is True


def _checksum(jpeg: bytes) -> int:
    """Checksum of the pixels; 0 if Pillow cannot decode them."""
    try:
        with Image.open(BytesIO(jpeg), formats=("JPEG",)) as image:
            return zlib.crc32(np.asarray(image).tobytes())
    except _DECODER_ERRORS:
        return 0


def _load(image: Image.Image, where: str) -> None:
    try:
        image.load()
        if image.mode in ("P", "PA") and image.palette is None:
            raise ValueError("colours without a palette")
    except _DECODER_ERRORS as error:
        raise ImageError(ImageFault.TRUNCATED, where, found=error) from error


def _orientation(exif: bytes) -> int:
    """The orientation tag of an EXIF block; 1 if it is absent or unreadable."""
    tiff = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return 1
    try:
        (directory,) = struct.unpack_from(f"{order}I", tiff, 4)
        (entries,) = struct.unpack_from(f"{order}H", tiff, directory)
        for entry in range(entries):
            tag, kind, _, value = struct.unpack_from(
                f"{order}HHIH", tiff, directory + 2 + 12 * entry
            )
            if tag == _ORIENTATION_TAG and kind == 3:
                return int(value)
    except struct.error:
        return 1
    return 1


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        shift = 8 if image.mode.startswith("I;16") or np.asarray(image).max() > 255 else 0
        return Image.fromarray((np.asarray(image) >> shift).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        page = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(page, layer).convert("RGB")
    return image.convert("RGB")
