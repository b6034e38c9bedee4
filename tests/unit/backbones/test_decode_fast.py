"""Fast decoding: the same pixels, the same refusals, another fingerprint."""

import sys
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mvsa_pipe.backbones import crop_resizing, load_backbone, options
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
    assert_same(decode_image_fast(data, "x"), decode_image(data, "x"))


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_what_is_no_plain_jpeg_goes_the_exact_way(mode):
    data = jpeg(mode=mode)
    assert_same(decode_image_fast(data, "x"), decode_image(data, "x"))


def test_a_turned_picture_is_turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = jpeg(exif=exif)
    assert decode_image_fast(data, "x").shape == (300, 200, 3)
    assert_same(decode_image_fast(data, "x"), decode_image(data, "x"))


@pytest.mark.parametrize("keep", [0, 4, 40, 0.3, 0.98])
def test_what_is_cut_is_refused_alike(keep):
    data = jpeg()
    data = data[: int(keep * len(data)) if isinstance(keep, float) else keep]
    with pytest.raises(ImageError) as exact:
        decode_image(data, "x")
    with pytest.raises(ImageError) as fast:
        decode_image_fast(data, "x")
    assert str(fast.value) == str(exact.value)


def assert_same(one, other):
    np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


SIZES = [(600, 450), (450, 600), (183, 275), (256, 256), (512, 256), (500, 251), (577, 1024)]


def noise(size):
    draw = np.random.default_rng(size[0])
    coarse = draw.integers(0, 256, (size[1] // 3 + 1, size[0] // 3 + 1, 3), np.uint8)
    return Image.fromarray(coarse.repeat(3, 0).repeat(3, 1)[: size[1], : size[0]])


@pytest.mark.parametrize("interpolation", list(Interpolation))
@pytest.mark.parametrize("size", [*SIZES, (1200, 300), (300, 1200)])
@pytest.mark.parametrize(("resize_px", "rounding"), [(256, "round"), (232, "floor")])
def test_pixels_of_the_crop_are_the_same(interpolation, size, resize_px, rounding):
    rule = ImagePreprocessing(resize_px, 224, interpolation, CropRounding(rounding))
    fast = replace(rule, decode=Decode.FAST)
    for picture in (noise(size), decode_image(jpeg(size), "x")):
        assert_same(fast.pixels(np.asarray(picture)), rule.pixels(picture))


@settings(max_examples=150, deadline=None)
@given(
    short=st.integers(1, 700),
    longer=st.floats(1.0, 2.0),
    tall=st.booleans(),
    resize_px=st.integers(1, 300),
    kept=st.floats(0.0, 1.0),
    interpolation=st.sampled_from(Interpolation),
    rounding=st.sampled_from(CropRounding),
    seed=st.integers(0, 9),
)
def test_any_picture_is_resized_as_by_pillow(
    short, longer, tall, resize_px, kept, interpolation, rounding, seed
):
    """Shrunk and enlarged, of any shape that fast decoding resizes itself."""
    size = (short, int(short * longer))
    shape = (*(size[::-1] if tall else size), 3)
    picture = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    crop_px = max(1, round(kept * resize_px))
    rule = ImagePreprocessing(resize_px, crop_px, interpolation, rounding)
    with patch.object(crop_resizing, "resized_crop", wraps=crop_resizing.resized_crop) as own:
        fast = replace(rule, decode=Decode.FAST).pixels(picture)
    own.assert_called_once()
    assert_same(fast, rule.pixels(Image.fromarray(picture)))


@pytest.mark.parametrize("rounding", list(CropRounding))
@pytest.mark.parametrize("resize_px", [100, 222, 223])
def test_a_crop_beyond_the_picture_is_laid_over_black(rounding, resize_px):
    rule = ImagePreprocessing(resize_px, 224, Interpolation.BICUBIC, rounding)
    picture = noise((300, 200))
    fast = replace(rule, decode=Decode.FAST).pixels(np.asarray(picture))
    assert_same(fast, rule.pixels(picture))
    assert not fast[0].any() or not fast[-1].any()


def test_what_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr(options, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"needs the package numba\. Next: pip install"):
        BackboneOptions("tiny-image", decode=Decode.FAST)


def test_a_numba_that_cannot_be_loaded_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "mvsa_pipe.backbones.crop_resizing", None)
    with pytest.raises(ConfigError, match=r"numba, which cannot be loaded here.*--decode exact"):
        load_backbone(BackboneOptions("tiny-image", decode=Decode.FAST))


@pytest.mark.parametrize(
    "fault", [RuntimeError("no locator available"), OSError("disk full"), EOFError("cut")]
)
def test_without_a_folder_for_compiled_code_it_is_compiled_anew(monkeypatch, fault):
    kept = []

    def njit(types, *, cache=False, **options):
        if cache:
            raise fault
        kept.append((types, options))
        return lambda function: function

    monkeypatch.setattr(crop_resizing.numba, "njit", njit)
    assert crop_resizing._compiled("a", "b")(len)("four") == 4
    assert crop_resizing._compiled()(len)("four") == 4
    assert kept == [([("a", "b")], {"nogil": True}), (None, {"nogil": True})]


@pytest.mark.parametrize("interpolation", list(Interpolation))
@pytest.mark.parametrize("size", SIZES)
def test_pillow_resizes_columns_first(interpolation, size):
    """What the crop alone relies on; of pictures beyond 1:2 newer versions take rows first."""
    picture, resample = noise(size), Image.Resampling[interpolation.value.upper()]
    scale = 256 / min(size)
    target = int(size[0] * scale), int(size[1] * scale)
    narrow = picture.resize((target[0], size[1]), resample)
    assert narrow.resize(target, resample).tobytes() == picture.resize(target, resample).tobytes()


@pytest.mark.skipif(not REAL.is_file(), reason="the real posts are not beside the project")
@pytest.mark.parametrize("interpolation", list(Interpolation))
def test_pixels_of_real_pictures(interpolation):
    posts = read_posts(REAL)
    rule = ImagePreprocessing(256, 224, interpolation, CropRounding.ROUND)
    fast_rule = replace(rule, decode=Decode.FAST)
    for post in posts.posts[:60]:
        data = posts.storage.read(post.image)
        exact = rule.pixels(decode_image(data, post.image))
        assert_same(fast_rule.pixels(decode_image_fast(data, post.image)), exact)


def test_it_is_another_fingerprint():
    exact, other = (
        load_backbone(BackboneOptions("tiny-image", decode=d)).identity
        for d in (Decode.EXACT, Decode.FAST)
    )
    assert exact.preprocessing["decoder"] == "pillow"
    assert other.preprocessing["decoder"] == Decode.FAST.decoder != "pillow"
    assert {**other.preprocessing, "decoder": "pillow"} == exact.preprocessing


def test_every_decoder_is_told_from_its_fingerprint():
    assert [Decode.of_decoder(decode.decoder) for decode in Decode] == list(Decode)
    assert Decode.of_decoder(None) is Decode.EXACT


def test_a_processor_of_its_own_is_taken_as_it_is(tmp_path):
    with pytest.raises(ConfigError, match=r"processor of its own.*--decode exact"):
        load_backbone(BackboneOptions(f"hf-image:{tmp_path}", decode=Decode.FAST))
