"""Fast decoding: nearly the same pixels, the same refusals, another fingerprint."""

from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mvsa_pipe.backbones import load_backbone
from mvsa_pipe.backbones.options import BackboneOptions, Decode
from mvsa_pipe.backbones.preprocessing import CropRounding, ImagePreprocessing, Interpolation
from mvsa_pipe.errors import ConfigError
from mvsa_pipe.images import ImageError, decode_image, decode_image_fast
from mvsa_pipe.posts import read_posts

REAL = Path(__file__).parents[4] / "shared" / "data" / "MVSA_Single_dev.zip"


def jpeg(size=(300, 200), mode="RGB", **options):
    draw = np.random.default_rng(0)
    waves = np.add.outer(np.sin(np.arange(size[1]) / 9), np.cos(np.arange(size[0]) / 7))
    noise = draw.normal(0, 12, (size[1], size[0], 3)) + 60 * waves[..., None] + 128
    buffer = BytesIO()
    picture = Image.fromarray(noise.clip(0, 255).astype(np.uint8))
    picture.convert(mode).save(buffer, "JPEG", **options)
    return buffer.getvalue()


@pytest.mark.parametrize("quality", [30, 75, 95])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_has_the_same_pixels(quality, progressive):
    data = jpeg(quality=quality, progressive=progressive)
    exact = np.asarray(decode_image(data, "x")).astype(int)
    assert np.abs(exact - np.asarray(decode_image_fast(data, "x"))).max() <= 1


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_what_is_no_plain_jpeg_goes_the_exact_way(mode):
    data = jpeg(mode=mode)
    assert decode_image(data, "x").tobytes() == decode_image_fast(data, "x").tobytes()


def test_a_turned_picture_is_turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = jpeg(exif=exif)
    assert decode_image_fast(data, "x").size == (200, 300)
    assert decode_image(data, "x").tobytes() == decode_image_fast(data, "x").tobytes()


@pytest.mark.parametrize("keep", [0, 4, 40, 0.3, 0.98])
def test_what_is_cut_is_refused_alike(keep):
    data = jpeg()
    data = data[: int(keep * len(data)) if isinstance(keep, float) else keep]
    with pytest.raises(ImageError) as exact:
        decode_image(data, "x")
    with pytest.raises(ImageError) as fast:
        decode_image_fast(data, "x")
    assert str(fast.value) == str(exact.value)


SIZES = [(600, 450), (450, 600), (183, 275), (256, 256), (512, 256), (500, 251), (577, 1024)]


def noise(size):
    draw = np.random.default_rng(size[0])
    coarse = draw.integers(0, 256, (size[1] // 3 + 1, size[0] // 3 + 1, 3), np.uint8)
    return Image.fromarray(coarse.repeat(3, 0).repeat(3, 1)[: size[1], : size[0]])


@pytest.mark.parametrize("interpolation", list(Interpolation))
@pytest.mark.parametrize("size", [*SIZES, (1200, 300), (300, 1200)])
@pytest.mark.parametrize(("resize_px", "rounding"), [(256, "round"), (232, "floor")])
def test_pixels_of_the_crop_are_within_one_level(interpolation, size, resize_px, rounding):
    rule = ImagePreprocessing(resize_px, 224, interpolation, CropRounding(rounding))
    for picture in (noise(size), decode_image(jpeg(size), "x")):
        exact = rule.pixels(picture).astype(int)
        fast = replace(rule, decode=Decode.FAST).pixels(picture)
        assert fast.shape == exact.shape
        assert np.abs(exact - fast).max() <= 1


@pytest.mark.parametrize("interpolation", list(Interpolation))
@pytest.mark.parametrize("size", SIZES)
def test_pillow_resizes_columns_first(interpolation, size):
    """What the crop alone relies on; of pictures beyond 1:2 newer versions take rows first."""
    picture, resample = noise(size), Image.Resampling[interpolation.value.upper()]
    scale = 256 / min(size)
    target = int(size[0] * scale), int(size[1] * scale)
    narrow = picture.resize((target[0], size[1]), resample)
    assert narrow.resize(target, resample).tobytes() == picture.resize(target, resample).tobytes()


def test_exact_corners_give_the_exact_pixels():
    """A short side of 256 makes every corner of it a float32; the rounding is the long side's."""
    exact = ImagePreprocessing(256, 224, Interpolation.BICUBIC, CropRounding.ROUND)
    for size in ((300, 300), (600, 450)):  # the columns of the second are resized whole
        fast = replace(exact, decode=Decode.FAST)
        assert fast.pixels(noise(size)).tobytes() == exact.pixels(noise(size)).tobytes()


@pytest.mark.skipif(not REAL.is_file(), reason="the real posts are not beside the project")
@pytest.mark.parametrize("interpolation", list(Interpolation))
def test_pixels_of_real_pictures(interpolation):
    posts = read_posts(REAL)
    rule = ImagePreprocessing(256, 224, interpolation, CropRounding.ROUND)
    fast_rule = replace(rule, decode=Decode.FAST)
    for post in posts.posts[:60]:
        data = posts.storage.read(post.image)
        exact = rule.pixels(decode_image(data, post.image)).astype(int)
        fast = fast_rule.pixels(decode_image_fast(data, post.image))
        assert np.abs(exact - fast).max() <= 1


@pytest.mark.parametrize("decode", [Decode.FAST, Decode.GPU])
def test_it_is_another_fingerprint(decode):
    exact, other = (
        load_backbone(BackboneOptions("tiny-image", decode=d)).identity
        for d in (Decode.EXACT, decode)
    )
    assert exact.preprocessing["decoder"] == "pillow"
    assert other.preprocessing["decoder"] == decode.decoder != "pillow"
    assert {**other.preprocessing, "decoder": "pillow"} == exact.preprocessing


def test_every_decoder_is_told_from_its_fingerprint():
    assert [Decode.of_decoder(decode.decoder) for decode in Decode] == list(Decode)
    assert Decode.of_decoder(None) is Decode.EXACT


@pytest.mark.parametrize("decode", [Decode.FAST, Decode.GPU])
def test_a_processor_of_its_own_is_taken_as_it_is(tmp_path, decode):
    with pytest.raises(ConfigError, match=r"processor of its own.*--decode exact"):
        load_backbone(BackboneOptions(f"hf-image:{tmp_path}", decode=decode))
