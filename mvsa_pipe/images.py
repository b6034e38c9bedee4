"""Pictures: bytes in, an upright RGB picture out, or one clear reason why not."""

import struct
import zlib
from enum import StrEnum
from io import BytesIO
from typing import TypeAlias

import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from mvsa_pipe.errors import DataError

# A picture as one of the decoders gives it: upright, RGB.
Decoded: TypeAlias = Image.Image | UInt8[np.ndarray, "H W 3"]

# Pillow's own default limit: a quarter of a gigabyte at three bytes a pixel.
MAX_PIXELS = 89_478_485
# Pillow warns above this limit, once per process and through global filters; ``_open`` checks
# every header itself, so that each picture is judged alike in every thread.
Image.MAX_IMAGE_PIXELS = None

# What posts are made of. Naming them also keeps Pillow from trying forty other decoders.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP")
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"RIFF", b"BM")

# What Pillow's decoders raise for bytes that they cannot make sense of.
_DECODER_ERRORS = (
    OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError,
    struct.error, zlib.error,
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


def size_of(picture: Decoded) -> tuple[int, int]:
    """Width and height."""
    if isinstance(picture, Image.Image):
        return picture.size
    height, width, _ = picture.shape
    return width, height


class ImageFault(StrEnum):
    """Why a post has no usable picture."""

    MISSING = "missing"
    ZERO_BYTE = "zero-byte"
    NOT_AN_IMAGE = "not-an-image"
    TRUNCATED = "truncated"
    OVERSIZED = "oversized"


_FAULT_SENTENCES = {
    ImageFault.MISSING: "A picture is missing",
    ImageFault.ZERO_BYTE: "A picture's file is empty",
    ImageFault.NOT_AN_IMAGE: "A file is no picture",
    ImageFault.TRUNCATED: "A picture is cut short or damaged",
    ImageFault.OVERSIZED: "A picture is too large to decode safely",
}


class ImageError(DataError):
    """A picture that cannot be decoded.

    Args:
        reason: What is wrong with it, as one of five.
        where: The file, as the user would look for it.
        found: What stands there instead.
        expected: What would have been right.
    """

    def __init__(
        self,
        reason: ImageFault,
        where: object,
        *,
        found: object = None,
        expected: str | None = None,
    ) -> None:
        self.reason = reason
        super().__init__(
            _FAULT_SENTENCES[reason],
            where=where,
            expected=expected,
            found=found,
            hint="mvsa data check PATH lists every such post; mvsa extract --on-bad-image skip "
            "leaves them out",
        )


def decode_image(data: bytes, where: str, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decodes one picture whole, as upright RGB.

    The first frame of an animation is taken, EXIF orientation is applied, transparency is laid
    over white, 16-bit grey keeps its high byte, and every other mode is converted by Pillow.

    Args:
        data: The file's bytes.
        where: How messages name the file.
        max_pixels: Largest width times height, read from the header before anything is decoded.

    Raises:
        ImageError: The bytes are empty, no picture, cut short, or too large.
    """
    image, orientation = _open(data, where, max_pixels)
    _load(image, where)
    upright = _TRANSPOSITIONS.get(orientation)
    picture = _as_rgb(image)
    return picture if upright is None else picture.transpose(upright)


def decode_image_fast(data: bytes, where: str) -> NDArray[np.uint8]:
    """Decodes plain JPEGs by simplejpeg, everything else as ``decode_image`` does: ``[H, W, 3]``.

    Both build on libjpeg-turbo and give the same pixels; this one leaves out Pillow's own copy.

    Raises:
        ImageError: As ``decode_image``.
    """
    header = _upright_jpeg(data, where)
    if header is None or header.mode != "RGB":
        return np.asarray(decode_image(data, where))
    import simplejpeg  # an extra

    try:
        return np.asarray(simplejpeg.decode_jpeg(data, "RGB"))
    except ValueError:
        return np.asarray(decode_image(data, where))  # which says what is wrong


def _upright_jpeg(data: bytes, where: str) -> Image.Image | None:
    """A JPEG's header, not yet decoded; ``None`` where it must be turned, or is no JPEG."""
    if not data.startswith(b"\xff\xd8"):
        return None
    image, orientation = _open(data, where, MAX_PIXELS)
    return None if orientation in _TRANSPOSITIONS else image


def inspect_image(data: bytes, where: str, max_pixels: int = MAX_PIXELS) -> ImageFault | None:
    """What is wrong with a picture, or ``None``; all of it is decoded, as for a backbone."""
    try:
        image, _ = _open(data, where, max_pixels)
        # JPEG at an eighth of its size: every coefficient is still read, so cuts are found, but
        # most of the inverse transform is saved.
        image.draft("RGB", (1, 1))
        _load(image, where)
    except ImageError as error:
        return error.reason
    return None


def _open(data: bytes, where: str, max_pixels: int) -> tuple[Image.Image, int]:
    """The header's picture, not yet decoded, and its EXIF orientation (1 is upright)."""
    if not data:
        raise ImageError(ImageFault.ZERO_BYTE, where, found="0 bytes")
    plain, exif = _without_metadata(data)
    try:
        image = Image.open(BytesIO(plain), formats=FORMATS)
    except UnidentifiedImageError as error:
        raise _unidentified(data, where) from error
    except _DECODER_ERRORS as error:
        raise ImageError(ImageFault.TRUNCATED, where, found=error) from error
    width, height = image.size
    if width * height > max_pixels:
        raise ImageError(
            ImageFault.OVERSIZED,
            where,
            expected=f"at most {max_pixels:,} pixels",
            found=f"{width:,} x {height:,} = {width * height:,} pixels",
        )
    exif = exif or image.info.get("exif", b"")
    return image, _orientation(exif)


def _unidentified(data: bytes, where: str) -> ImageError:
    if data.startswith(_SIGNATURES):
        return ImageError(
            ImageFault.TRUNCATED, where, found=f"{len(data):,} bytes with a broken header"
        )
    return ImageError(
        ImageFault.NOT_AN_IMAGE,
        where,
        expected=", ".join(FORMATS),
        found=f"{len(data):,} bytes that begin with {data[:12]!r}",
    )


def _load(image: Image.Image, where: str) -> None:
    try:
        image.load()
    except _DECODER_ERRORS as error:
        raise ImageError(ImageFault.TRUNCATED, where, found=error) from error


def _without_metadata(data: bytes) -> tuple[bytes, bytes]:
    """The first picture without what tells of others or of the camera, and a JPEG's EXIF.

    Pillow parses all of that while opening and warns about damage in it through global filters;
    the picture needs nothing of it but its orientation.
    """
    if data.startswith(b"\x89PNG"):
        return _without_animation(data), b""
    if not data.startswith(b"\xff\xd8"):
        return data, b""
    kept, exif, at = [data[:2]], b"", 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker, (length,) = data[at + 1], struct.unpack_from(">H", data, at + 2)
        segment = data[at : at + 2 + length]
        # 0xDA starts the picture; 0xFF is padding; too short a segment is for the decoder to judge.
        if marker in (0xDA, 0xFF) or length < 2 or len(segment) < length + 2:
            break
        if marker == 0xE1 and segment[4:].startswith(b"Exif\0\0"):
            exif = exif or segment[4:]
        elif marker not in (0xE1, 0xE2):
            kept.append(segment)
        at += 2 + length
    return b"".join((*kept, data[at:])), exif


def _without_animation(png: bytes) -> bytes:
    if b"acTL" not in png:
        return png
    kept, at = [png[:8]], 8
    while at + 12 <= len(png):
        (length,) = struct.unpack_from(">I", png, at)
        if png[at + 4 : at + 8] not in (b"acTL", b"fcTL", b"fdAT"):
            kept.append(png[at : at + 12 + length])
        at += 12 + length
    return b"".join((*kept, png[at:]))


def _orientation(exif: bytes) -> int:
    """The orientation tag of an EXIF block, 1 where it is absent or cannot be read."""
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
