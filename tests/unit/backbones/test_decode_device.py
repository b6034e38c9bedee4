"""Pixels as a device makes them: which JPEGs it is given, and how far they lie from exact ones.

A CPU stands in for the device, so that the decoder is libjpeg and the kernels are those for CPUs.
"""

from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mvsa_pipe.backbones import load_backbone
from mvsa_pipe.backbones.options import BackboneOptions, Decode
from mvsa_pipe.backbones.preprocessing import CropRounding, ImagePreprocessing, Interpolation
from mvsa_pipe.backbones.ruled import RuledImageBackbone
from mvsa_pipe.extraction.device_decoding import decode_jpegs
from mvsa_pipe.images import ImageError, decode_image, plain_jpeg_size
from mvsa_pipe.posts import read_posts

REAL = Path(__file__).parents[4] / "shared" / "data" / "MVSA_Single_dev.zip"
CPU = torch.device("cpu")
SIZES = [(600, 450), (450, 600), (183, 275), (256, 256), (120, 90), (500, 251), (1200, 300)]


def noise(size: tuple[int, int], block: int = 3) -> Image.Image:
    """Blocks of random colours: edges of full height, from which bicubic filters overshoot."""
    draw = np.random.default_rng(size[0])
    coarse = draw.integers(0, 256, (size[1] // block + 1, size[0] // block + 1, 3), np.uint8)
    return Image.fromarray(coarse.repeat(block, 0).repeat(block, 1)[: size[1], : size[0]])


def encoded(image: Image.Image, kind: str = "JPEG", **how: object) -> bytes:
    file = BytesIO()
    image.save(file, kind, **how)
    return file.getvalue()


def tensor(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def off(rule: ImagePreprocessing, image: Image.Image, decoded: torch.Tensor) -> np.ndarray:
    found = rule.tensor_pixels(decoded).numpy()
    exact = rule.pixels(image)
    assert found.shape == exact.shape
    return np.abs(exact.astype(int) - found)


def rotated(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def renamed(jpeg: bytes, names: bytes) -> bytes:
    """The same JPEG without its JFIF mark, its components named otherwise."""
    bare = jpeg[:2] + jpeg[20:]
    assert jpeg[2:4] == b"\xff\xe0"
    for place in (bare.index(b"\xff\xc0") + 10, bare.index(b"\xff\xda") + 5):
        step = 3 if bare[place - 10 : place - 8] == b"\xff\xc0" else 2
        for number, name in enumerate(names):
            at = place + step * number
            bare = bare[:at] + bytes([name]) + bare[at + 1 :]
    return bare


PLAIN = [
    encoded(noise((64, 48))),
    encoded(noise((64, 48)), quality=30, progressive=True),
    encoded(noise((64, 48)), subsampling=0),
    encoded(noise((64, 48)).convert("L")),
    encoded(noise((64, 48)), exif=rotated(1)),
]


@pytest.mark.parametrize("jpeg", PLAIN)
def test_plain_jpegs_are_for_the_device(jpeg: bytes) -> None:
    assert plain_jpeg_size(jpeg, "x") == (64, 48)
    (decoded,) = decode_jpegs([jpeg], CPU) or ()
    exact = np.asarray(decode_image(jpeg, "x")).astype(int)
    assert np.abs(exact - decoded.permute(1, 2, 0).numpy()).max() <= 1


@pytest.mark.parametrize(
    "other",
    [
        encoded(noise((64, 48)), "PNG"),
        encoded(noise((64, 48)), "GIF"),
        encoded(noise((64, 48)).convert("CMYK")),
        encoded(noise((64, 48)), exif=rotated(6)),
        encoded(noise((64, 48)), keep_rgb=True),  # RGB by Adobe's mark
        renamed(PLAIN[0], b"RGB"),
        PLAIN[0][:-2],
        PLAIN[0][:-200],
        PLAIN[0] + b"\0",
    ],
)
def test_everything_else_is_not(other: bytes) -> None:
    assert plain_jpeg_size(other, "x") is None


def test_what_the_header_tells_is_refused_alike() -> None:
    for broken in (b"", b"\xff\xd8", b"\xff\xd8\xff\xd9", b"\xff\xd8\xff\xe0no"):
        with pytest.raises(ImageError) as exact:
            decode_image(broken, "x")
        with pytest.raises(ImageError) as found:
            plain_jpeg_size(broken, "x") or decode_image(broken, "x")
        assert str(found.value) == str(exact.value)


def test_a_decoder_that_refuses_one_refuses_all() -> None:
    assert decode_jpegs([PLAIN[0], b"\xff\xd8\xff\xd9"], CPU) is None
    assert len(decode_jpegs(PLAIN[:2], CPU) or ()) == 2


def test_memory_is_no_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise RuntimeError("Error while decoding JPEG images: CUDA out of memory. Tried to …")

    monkeypatch.setattr("torchvision.io.decode_jpeg", full)
    with pytest.raises(torch.OutOfMemoryError, match="CUDA out of memory"):
        decode_jpegs(PLAIN, CPU)


@pytest.mark.parametrize("interpolation", list(Interpolation))
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("resize_px", "rounding"), [(256, "round"), (232, "floor")])
def test_pixels_are_within_two_levels(
    interpolation: Interpolation, size: tuple[int, int], resize_px: int, rounding: str
) -> None:
    rule = ImagePreprocessing(resize_px, 224, interpolation, CropRounding(rounding))
    for picture in (noise(size), noise(size, 20)):
        found = off(rule, picture, tensor(picture))
        assert found.max() <= 2
        assert (found > 0).mean() < 0.02


def test_a_crop_beyond_the_picture_is_laid_over_black() -> None:
    rule = ImagePreprocessing(40, 65, Interpolation.BILINEAR, CropRounding.ROUND)
    for size in ((40, 40), (40, 61), (90, 40)):
        assert off(rule, noise(size), tensor(noise(size))).max() <= 1


def test_what_kernels_for_gpus_do_not_take_is_resized_here() -> None:
    rule = ImagePreprocessing(8, 8, Interpolation.BICUBIC, CropRounding.ROUND)
    picture = noise((400, 330))
    assert off(rule, picture, tensor(picture)).max() == 0


@pytest.mark.skipif(not REAL.is_file(), reason="the real posts are not beside the project")
@pytest.mark.parametrize("interpolation", list(Interpolation))
def test_pixels_of_real_pictures(interpolation: Interpolation) -> None:
    posts = read_posts(REAL)
    rule = ImagePreprocessing(256, 224, interpolation, CropRounding.ROUND)
    for post in posts.posts[:60]:
        assert post.image is not None
        data = posts.storage.read(post.image)
        (decoded,) = decode_jpegs([data], CPU) or ()
        assert off(rule, decode_image(data, post.image), decoded).max() <= 2


def test_a_backbone_prepares_by_its_rule() -> None:
    backbone = load_backbone(BackboneOptions("tiny-image", decode=Decode.GPU))
    assert isinstance(backbone, RuledImageBackbone)
    assert backbone.decode is Decode.GPU
    picture = noise((100, 90))
    found = backbone.prepare_tensor(tensor(picture)).numpy().astype(int)
    exact = replace(backbone.rule, decode=Decode.EXACT).pixels(picture)
    assert np.array_equal(backbone.prepare(picture), exact)
    assert np.abs(found - exact).max() <= 1
