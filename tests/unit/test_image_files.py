"""Only pixels decide: what lacks some is refused, and what is broken beside them is not missed."""

import struct
import subprocess
import sys
import warnings
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from mvsa_pipe import image_files
from mvsa_pipe.images import (
    IMAGE_FORMATS,
    ImageError,
    ImageFault,
    decode_image,
    decode_image_fast,
    inspect_image,
)

WAYS = (decode_image, decode_image_fast)
END = b"\xff\xd9"


def noise(size=(96, 64), mode="RGB") -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def judged(data: bytes) -> ImageFault | None:
    """The verdict of `data check`, which must be that of both ways of decoding."""
    verdict = inspect_image(data, "x")
    assert [fault_of(decode, data) for decode in WAYS] == [verdict, verdict]
    return verdict


def fault_of(decode, data: bytes) -> ImageFault | None:
    try:
        decode(data, "x")
    except ImageError as error:
        return error.reason
    return None


JPEGS = {
    "baseline": {},
    "progressive": {"progressive": True},
    "halved colours": {"subsampling": 2},
    "full colours": {"subsampling": 0},
    "optimized": {"optimize": True},
    "restarts": {"restart_marker_blocks": 3},
}


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("options", JPEGS.values(), ids=JPEGS)
def test_a_jpeg_whose_data_end_early_under_an_end_marker_is_cut_short(mode, options):
    whole = encoded(noise(mode=mode), "JPEG", **options)
    assert judged(whole) is None
    first = whole.index(b"\xff\xda") + 20
    for cut in (*range(first, len(whole) - 2, 997), len(whole) - 10, len(whole) - 3):
        data = whole[:cut].rstrip(b"\xff") + END
        assert judged(data) is ImageFault.TRUNCATED, cut


@pytest.mark.parametrize("image", [noise((33, 47)), Image.new("RGB", (640, 480), (9, 90, 200))])
@pytest.mark.parametrize("quality", [1, 30, 75, 95, 100])
@pytest.mark.parametrize("options", JPEGS.values(), ids=JPEGS)
def test_sound_jpegs_are_whole(image, quality, options):
    for mode in ("RGB", "L", "CMYK"):
        data = encoded(image.convert(mode), "JPEG", quality=quality, **options)
        assert judged(data) is None


def test_a_harmless_warning_hides_no_loss():
    whole = encoded(noise(), "JPEG", progressive=True)
    starts = segments(whole)
    more = whole[: starts[1]] + b"more" + whole[starts[1] :]
    assert judged(more) is None
    cut = more[:-42].rstrip(b"\xff") + END
    assert judged(cut) is ImageFault.TRUNCATED


def segments(jpeg: bytes) -> list[int]:
    """Where the scans of a JPEG begin, and where it ends."""
    starts, at = [], 0
    while (at := jpeg.find(b"\xff\xda", at)) >= 0:
        starts.append(at)
        at += 2
    return [*starts, len(jpeg) - 2]


def test_a_progressive_jpeg_without_its_last_scans_is_cut_short():
    whole = encoded(noise(), "JPEG", progressive=True)
    for start in segments(whole)[1:-1]:
        for end in (END, b""):
            assert judged(whole[:start] + end) is ImageFault.TRUNCATED


@pytest.mark.parametrize("options", JPEGS.values(), ids=JPEGS)
def test_a_jpeg_that_lacks_nothing_but_its_end_marker_is_used(options):
    whole = encoded(noise(), "JPEG", **options)
    assert judged(whole[:-2]) is None
    assert np.array_equal(decode_image(whole[:-2], "x"), decode_image(whole, "x"))


def test_a_header_of_many_pixels_over_few_bytes_is_refused_before_anything_is_decoded(monkeypatch):
    data = bytearray(encoded(Image.new("RGB", (16, 16)), "JPEG"))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", 9000, 9000)
    monkeypatch.setattr(Image.Image, "load", lambda _: pytest.fail("it was decoded"))
    assert judged(bytes(data)) is ImageFault.TRUNCATED


def test_damage_inside_the_data_of_a_jpeg_is_found():
    data = bytearray(encoded(noise(), "JPEG", restart_marker_blocks=2))
    at = data.rindex(b"\xff\xd3")
    data[at + 1] = 0xD6
    assert judged(bytes(data)) is ImageFault.TRUNCATED


@pytest.mark.parametrize("n_scans", [image_files.MOST_SCANS - 9, image_files.MOST_SCANS + 1, 2000])
def test_the_scans_of_a_jpeg_are_bounded(n_scans):
    whole = encoded(noise(), "JPEG", progressive=True)
    starts = segments(whole)
    refinement = whole[starts[-2] : starts[-1]]
    data = whole[:-2] + refinement * (n_scans - len(starts) + 1) + END
    allowed = n_scans <= image_files.MOST_SCANS
    # A refinement that is sent again is no sound picture, but it is decoded.
    assert inspect_image(data, "x") is not ImageFault.OVERSIZED if allowed else True
    assert allowed or judged(data) is ImageFault.OVERSIZED


def test_the_segments_of_a_file_are_bounded(monkeypatch):
    monkeypatch.setattr(image_files, "MOST_SEGMENTS", 30)
    jpeg = encoded(noise(), "JPEG")
    assert judged(jpeg[:2] + b"\xff\xfe\0\2" * 10 + jpeg[2:]) is None
    assert judged(jpeg[:2] + b"\xff\xfe\0\2" * 40 + jpeg[2:]) is ImageFault.OVERSIZED
    png = encoded(noise(), "PNG")
    assert judged(png[:33] + chunk(b"tEXt", b"") * 10 + png[33:]) is None
    assert judged(png[:33] + chunk(b"tEXt", b"") * 40 + png[33:]) is ImageFault.OVERSIZED


def with_segment(jpeg: bytes, marker: int, payload: bytes) -> bytes:
    return (
        jpeg[:2] + bytes([0xFF, marker]) + struct.pack(">H", len(payload) + 2) + payload + jpeg[2:]
    )


@pytest.mark.parametrize("marker", [0xE1, 0xE2, 0xED, 0xFE])
@pytest.mark.parametrize(
    "payload", [b"", b"ICC_PROFILE\0\1\1junk", b"Photoshop 3.0\x008BIM\4\4", bytes(65533)]
)
def test_what_is_broken_beside_a_jpegs_pixels_is_not_missed(marker, payload):
    plain = encoded(noise(), "JPEG")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = with_segment(plain, marker, payload)
        assert judged(data) is None
        assert np.array_equal(decode_image(data, "x"), decode_image(plain, "x"))


def chunk(kind: bytes, body: bytes, check: int | None = None) -> bytes:
    check = zlib.crc32(kind + body) if check is None else check
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", check)


PNG_EXTRAS = {
    "a broken profile": chunk(b"iCCP", b"name\0\0not deflated"),
    "a profile that is a bomb": chunk(b"iCCP", b"name\0\0" + zlib.compress(bytes(2**24))),
    "a profile of a wrong checksum": chunk(b"iCCP", b"name\0\0x", check=1),
    "a text of a wrong checksum": chunk(b"tEXt", b"a\0b", check=1),
    "a text without a key": chunk(b"tEXt", b""),
    "a text that is a bomb": chunk(b"zTXt", b"key\0\0" + zlib.compress(bytes(2**24))),
    "an international text that is a bomb": chunk(
        b"iTXt", b"key\0\1\0\0\0" + zlib.compress(bytes(2**24))
    ),
    "a broken EXIF block": chunk(b"eXIf", b"II*\0\xff\xff\xff\xff"),
    "an unknown chunk": chunk(b"abCd", b"x"),
}


@pytest.mark.parametrize("extra", PNG_EXTRAS.values(), ids=PNG_EXTRAS)
def test_what_is_broken_beside_a_pngs_pixels_is_not_missed(extra):
    plain = encoded(noise(), "PNG")
    for data in (plain[:33] + extra + plain[33:], plain[:-12] + extra + plain[-12:]):
        assert judged(data) is None
        assert np.array_equal(decode_image(data, "x"), noise())


def test_a_png_without_its_end_is_used():
    assert judged(encoded(noise(), "PNG")[:-12]) is None


def test_a_png_that_lacks_its_palette_is_damaged():
    whole = encoded(noise().convert("P"), "PNG")
    at = whole.index(b"PLTE") - 4
    end = whole.index(b"IDAT") - 4
    assert judged(whole[:at] + whole[end:]) is ImageFault.TRUNCATED
    assert judged(whole.replace(b"PLTE", b"PLTF")) is ImageFault.TRUNCATED


def test_an_avif_is_used_where_pillow_can():
    if "AVIF" not in IMAGE_FORMATS:
        pytest.skip("this Pillow reads no AVIF")
    whole = encoded(noise(), "AVIF", quality=100)
    assert judged(whole) is None
    assert judged(whole[: len(whole) // 2]) is not None


def png(width: int, height: int, rows: int, colour=2, depth=8, channels=3) -> bytes:
    row = b"\0" + b"\x80" * -(-width * channels * depth // 8)
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    data = chunk(b"IHDR", head)
    if colour == 3:
        data += chunk(b"PLTE", bytes(range(48)))
    data += chunk(b"IDAT", zlib.compress(row * rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + data


@pytest.mark.parametrize(
    ("colour", "depth", "channels"),
    [(0, 1, 1), (0, 16, 1), (2, 8, 3), (3, 4, 1), (4, 8, 2), (6, 16, 4)],
)
def test_a_png_of_too_few_rows_is_cut_short(colour, depth, channels):
    kind = {"colour": colour, "depth": depth, "channels": channels}
    assert judged(png(37, 20, 20, **kind)) is None
    assert judged(png(37, 20, 19, **kind)) is ImageFault.TRUNCATED


@pytest.mark.parametrize("options", [{}, {"lossless": True}])
def test_what_is_broken_beside_a_webps_pixels_is_not_missed(options):
    plain = encoded(noise(), "WEBP", icc_profile=bytes(1001), exif=b"Exif\0\0junk", **options)
    expected = decode_image(encoded(noise(), "WEBP", **options), "x")
    at = plain.index(b"EXIF")
    for data in (plain, plain[: at + 10], plain + b"XMP \xff\xff\xff\xff"):
        assert judged(data) is None
        assert np.array_equal(decode_image(data, "x"), expected)


def test_a_webp_animation_whose_later_frames_are_cut_is_used():
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "blue", "green")]
    data = encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    cut = data[: data.rindex(b"ANMF") + 12]
    assert judged(cut) is None
    assert decode_image(cut, "x").getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize(
    ("size", "fault"),
    [
        ((3000, 1), ImageFault.NARROW),
        ((2, 2500), ImageFault.NARROW),
        ((257, 1), ImageFault.NARROW),
        ((256, 1), None),
        ((1, 256), None),
        ((1, 1), None),
    ],
)
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF"])
def test_how_narrow_a_picture_may_be(kind, size, fault):
    assert judged(encoded(Image.new("RGB", size), kind)) is fault


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (encoded(noise(), "TIFF"), "a TIFF"),
        (b"8BPS\0\1", "a PSD, EPS"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "a PSD, EPS"),
        (b"\0\0\0\x18ftypheic", "a HEIC"),
        (b"<?xml version='1.0'?>\n<svg/>", "an SVG"),
        (b"<!DOCTYPE html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    ],
)
def test_what_is_not_read_is_named(data, named):
    with pytest.raises(ImageError, match=named) as caught:
        decode_image(data, "x")
    assert caught.value.reason is ImageFault.NOT_AN_IMAGE
    assert caught.value.what.startswith("A file is")
    assert judged(data) is ImageFault.NOT_AN_IMAGE


SEEDS = [
    *(encoded(noise((24, 20)), "JPEG", **options) for options in JPEGS.values()),
    *(encoded(noise((24, 20), mode), "PNG") for mode in ("RGB", "P", "1", "RGBA")),
    *(encoded(noise((24, 20)), kind, exif=b"Exif\0\0II*\0") for kind in ("WEBP", "PNG")),
    *(encoded(noise((24, 20)), kind) for kind in IMAGE_FORMATS),
]


@pytest.mark.parametrize("seed", SEEDS)
def test_damage_is_judged_alike_and_never_an_error_of_another_kind(seed):
    draws = np.random.default_rng(0)
    for _ in range(100):
        data = bytearray(seed)
        for _ in range(draws.integers(1, 4)):
            at, n_bytes = draws.integers(len(data) - 8), draws.integers(1, 8)
            match draws.integers(4):
                case 0:
                    data[at] = draws.integers(256)
                case 1:
                    del data[at : at + n_bytes]
                case 2:
                    data[at:at] = draws.bytes(n_bytes)
                case 3:
                    data[at] = 0xFF
        judged(bytes(data))


# What each costs in memory, beyond a process that has decoded a small picture.
_MEASURED = """\
import sys
from pathlib import Path
from mvsa_pipe.images import inspect_image

def peak():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])

small, bomb = (Path(path).read_bytes() for path in sys.argv[1:])
assert inspect_image(small, "x") is None
before = peak()
print(inspect_image(bomb, "x"))
print(peak() - before)
"""


def header_of_many_pixels() -> bytes:
    data = bytearray(encoded(Image.new("RGB", (16, 16)), "JPEG"))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", 9000, 9000)
    return bytes(data)


def many_scans() -> bytes:
    whole = encoded(noise((640, 480)), "JPEG", progressive=True)
    starts = segments(whole)
    return whole[:-2] + whole[starts[-2] : starts[-1]] * 2000 + END


BOMBS = {
    "a JPEG header of 9000² over 16² data": header_of_many_pixels,
    "a JPEG of 2,000 scans": many_scans,
    "a PNG text of 256 MB": lambda: (
        png(8, 8, 8)[:33]
        + chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(2**28)))
        + png(8, 8, 8)[33:]
    ),
    "a PNG of 9000² pixels with one row": lambda: png(9000, 9000, 1),
    "a PNG of 8 rows and 256 MB of data": lambda: png(8, 8, 2**23),
}


@pytest.mark.skipif(sys.platform != "linux", reason="memory is counted as Linux does")
@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
def test_a_bomb_takes_little_memory(tmp_path, bomb):
    (tmp_path / "small").write_bytes(encoded(noise(), "JPEG"))
    data = bomb()
    (tmp_path / "bomb").write_bytes(data)
    words = [sys.executable, "-c", _MEASURED, tmp_path / "small", tmp_path / "bomb"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    kilobytes = int(done.stdout.split()[-1])
    assert kilobytes * 1024 < 2**24 + 4 * len(data), done.stdout
