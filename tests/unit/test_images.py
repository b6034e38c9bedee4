"""Pictures: every mode becomes upright RGB, every broken file is named for what it is."""

import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from mvsa_pipe.errors import DataError
from mvsa_pipe.images import ImageError, ImageFault, decode_image, inspect_image


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def noise(mode: str = "RGB", size: tuple[int, int] = (48, 32)) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def exif_block(orientation: int, order: str = "<") -> bytes:
    mark = b"II*\0" if order == "<" else b"MM\0*"
    entry = struct.pack(f"{order}HHIHH", 0x0112, 3, 1, orientation, 0)
    return b"Exif\0\0" + mark + struct.pack(f"{order}IH", 8, 1) + entry + bytes(4)


def with_segment(jpeg: bytes, marker: int, payload: bytes) -> bytes:
    segment = bytes([0xFF, marker]) + struct.pack(">H", len(payload) + 2) + payload
    return jpeg[:2] + segment + jpeg[2:]


MODES = {
    "PNG": ["RGB", "L", "1", "P", "RGBA", "LA"],
    "JPEG": ["RGB", "L", "1", "CMYK", "YCbCr"],
    "GIF": ["RGB", "L", "1", "P", "RGBA", "LA"],
    "BMP": ["RGB", "L", "1", "P", "RGBA"],
    "WEBP": ["RGB", "L", "RGBA"],
}


@pytest.mark.parametrize(
    ("kind", "mode"), [(kind, mode) for kind, modes in MODES.items() for mode in modes]
)
def test_every_mode_becomes_rgb(kind, mode):
    image = decode_image(encoded(noise(mode), kind), "x")
    assert (image.mode, image.size) == ("RGB", (48, 32))


def test_png_pixels_come_back_as_they_were():
    image = noise()
    assert np.array_equal(decode_image(encoded(image, "PNG"), "x"), image)


def test_cmyk_jpeg_keeps_its_colours():
    red = Image.new("RGB", (16, 16), (220, 30, 40))
    decoded = decode_image(encoded(red.convert("CMYK"), "JPEG", quality=95), "x")
    assert np.abs(np.asarray(decoded).astype(int) - np.asarray(red)).max() < 12


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_laid_over_white(mode):
    clear = Image.new(mode, (4, 4), 0)
    assert np.asarray(decode_image(encoded(clear, "PNG"), "x")).min() == 255


def test_half_transparency_is_mixed_with_white():
    half = Image.new("RGBA", (4, 4), (0, 0, 0, 128))
    assert np.asarray(decode_image(encoded(half, "PNG"), "x"))[0, 0].tolist() == [127, 127, 127]


def test_a_transparent_palette_colour_becomes_white():
    image = Image.new("P", (4, 4), 1)
    image.putpalette([255, 0, 0, 0, 255, 0])
    assert decode_image(encoded(image, "GIF", transparency=1), "x").getpixel((0, 0)) == (255,) * 3
    by_bytes = encoded(image, "PNG", transparency=b"\xff\x00")
    assert decode_image(by_bytes, "x").getpixel((0, 0)) == (255,) * 3


def test_a_transparent_grey_and_rgb_key_colour_becomes_white():
    assert (
        decode_image(encoded(Image.new("L", (4, 4), 7), "PNG", transparency=7), "x").getpixel(
            (0, 0)
        )
        == (255,) * 3
    )
    assert (
        decode_image(
            encoded(Image.new("RGB", (4, 4), (1, 2, 3)), "PNG", transparency=(1, 2, 3)), "x"
        ).getpixel((0, 0))
        == (255,) * 3
    )


def test_sixteen_bit_grey_keeps_its_high_byte():
    grey = Image.fromarray(np.array([[0, 255, 256, 0x80FF, 0xFFFF]], dtype=np.uint16))
    decoded = np.asarray(decode_image(encoded(grey, "PNG"), "x"))
    assert decoded[0, :, 0].tolist() == [0, 0, 1, 0x80, 0xFF]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_orientation_is_applied_as_pillow_does(orientation, order, kind):
    from PIL import ImageOps

    block = exif_block(orientation, order)
    options = {"quality": 95} if kind != "PNG" else {}
    data = encoded(noise(), kind, exif=block, **options)
    with Image.open(BytesIO(data)) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    assert np.array_equal(decode_image(data, "x"), expected)


@pytest.mark.parametrize(
    "payload",
    [
        b"Exif\0\0",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        exif_block(6)[:20],
        exif_block(42),
        b"Exif\0\0II*\0" + struct.pack("<IH", 8, 9000),
        b"http://ns.adobe.com/xap/1.0/\0<x/>",
    ],
)
def test_damaged_metadata_neither_warns_nor_turns(payload):
    plain = encoded(noise(), "JPEG")
    # Without a JFIF header, Pillow looks into EXIF while it opens the file.
    bare = plain[:2] + plain[2 + 2 + struct.unpack(">H", plain[4:6])[0] :]
    expected = np.asarray(decode_image(bare, "x"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(decode_image(with_segment(bare, 0xE1, payload), "x"), expected)


@pytest.mark.parametrize("n_fill", [1, 2, 3])
def test_fill_bytes_before_a_segment_hide_nothing(n_fill):
    data = encoded(noise(), "JPEG", exif=exif_block(6))
    at = data.index(b"\xff\xe1")
    filled = data[:at] + b"\xff" * n_fill + data[at:]
    assert np.array_equal(decode_image(filled, "x"), decode_image(data, "x"))
    assert decode_image(filled, "x").size == (32, 48)


def test_a_damaged_multi_picture_index_does_not_warn():
    data = with_segment(encoded(noise(), "JPEG"), 0xE2, b"MPF\0II*\0junk")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode_image(data, "x").size == (48, 32)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_only_the_first_frame_of_an_animation_is_taken(kind):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert decode_image(data, "x").getpixel((0, 0)) == (255, 0, 0)


def test_a_damaged_animation_does_not_warn():
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], "PNG", save_all=True, append_images=frames[1:])
    at = data.index(b"acTL")
    none = struct.pack(">II", 0, 0)
    check = struct.pack(">I", zlib.crc32(b"acTL" + none))
    broken = data[: at + 4] + none + check + data[at + 16 :]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode_image(broken, "x").getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP"])
def test_every_cut_is_found_and_check_agrees_with_decode(kind):
    whole = encoded(noise(), kind)
    assert inspect_image(whole, "x") is None
    for length in range(16, len(whole) - 16, 7):
        cut = whole[:length]
        with pytest.raises(ImageError) as caught:
            decode_image(cut, "x")
        assert caught.value.reason is ImageFault.TRUNCATED
        assert inspect_image(cut, "x") is ImageFault.TRUNCATED


def test_a_progressive_jpeg_cut_short_is_found():
    whole = encoded(noise(size=(200, 100)), "JPEG", progressive=True)
    assert inspect_image(whole, "x") is None
    assert inspect_image(whole[: len(whole) // 2], "x") is ImageFault.TRUNCATED


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", ImageFault.ZERO_BYTE),
        (b"<!DOCTYPE html><html>404</html>", ImageFault.NOT_AN_IMAGE),
        (b"\xff\xd8\xff", ImageFault.TRUNCATED),
        (b"\x89PNG\r\n\x1a\n", ImageFault.TRUNCATED),
    ],
)
def test_what_is_no_picture_is_named_for_what_it_is(data, reason):
    assert inspect_image(data, "x") is reason
    with pytest.raises(ImageError, match=r"posts/3\.jpg") as caught:
        decode_image(data, "posts/3.jpg")
    assert caught.value.reason is reason
    assert isinstance(caught.value, DataError)
    assert "--on-bad-image skip" in str(caught.value)


def bomb(width: int, height: int) -> bytes:
    """A GIF whose header claims a size that its few bytes do not hold."""
    head = b"GIF89a" + struct.pack("<HH", width, height) + b"\0\0\0"
    return head + b"," + struct.pack("<HHHH", 0, 0, width, height) + b"\0\x02\x01\x44\0;"


def test_a_bomb_is_refused_from_its_header_without_a_warning():
    with pytest.raises(ImageError, match=r"60,000 x 60,000") as caught:
        decode_image(bomb(60_000, 60_000), "x")
    assert caught.value.reason is ImageFault.OVERSIZED
    # Between Pillow's own warning and its own error.
    assert inspect_image(bomb(10_000, 10_000), "x") is ImageFault.OVERSIZED


def test_the_limit_is_inclusive():
    data = encoded(noise(), "PNG")
    assert inspect_image(data, "x", max_pixels=48 * 32) is None
    assert inspect_image(data, "x", max_pixels=48 * 32 - 1) is ImageFault.OVERSIZED


def test_threads_agree():
    data = [encoded(noise(size=(40 + n, 40)), "JPEG") for n in range(8)] + [b"", b"no"]
    alone = [inspect_image(each, "x") for each in data]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda each: inspect_image(each, "x"), data)) == alone
