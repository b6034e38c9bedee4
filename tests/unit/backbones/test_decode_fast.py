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


@pytest.mark.parametrize("interpolation", list(Interpolation))
@pytest.mark.parametrize("size", [(600, 450), (450, 600), (183, 275), (256, 256), (1200, 300)])
def test_pixels_of_the_crop_alone(interpolation, size):
    rule = ImagePreprocessing(256, 224, interpolation, CropRounding.ROUND)
    picture = decode_image(jpeg(size), "x")
    exact = rule.pixels(picture).astype(int)
    fast = replace(rule, decode=Decode.FAST).pixels(picture)
    assert fast.shape == exact.shape
    off = np.abs(exact - fast)
    assert off.max() <= 2
    assert (off > 1).mean() < 1e-4


@pytest.mark.skipif(not REAL.is_file(), reason="the real posts are not beside the project")
def test_pixels_of_real_pictures():
    posts = read_posts(REAL)
    rule = ImagePreprocessing(256, 224, Interpolation.BILINEAR, CropRounding.ROUND)
    fast_rule = replace(rule, decode=Decode.FAST)
    for post in posts.posts[:60]:
        data = posts.storage.read(post.image)
        exact = rule.pixels(decode_image(data, post.image)).astype(int)
        fast = fast_rule.pixels(decode_image_fast(data, post.image))
        assert np.abs(exact - fast).max() <= 1


def test_it_is_another_fingerprint():
    exact, fast = (
        load_backbone(BackboneOptions("tiny-image", decode=decode)).identity for decode in Decode
    )
    assert exact.preprocessing["decoder"] == "pillow"
    assert fast.preprocessing["decoder"] != "pillow"
    assert {**fast.preprocessing, "decoder": "pillow"} == exact.preprocessing


def test_a_processor_of_its_own_is_taken_as_it_is(tmp_path):
    with pytest.raises(ConfigError, match=r"processor of its own.*--decode exact"):
        load_backbone(BackboneOptions(f"hf-image:{tmp_path}", decode=Decode.FAST))
