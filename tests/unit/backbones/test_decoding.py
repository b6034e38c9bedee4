"""Fast decoding: the same pixels, the same refusals, the same fingerprint, a self-test first."""

import sys
from io import BytesIO
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mvsa_pipe.backbones import crop_resizing, decoding, load_backbone
from mvsa_pipe.backbones.base import ImageBackbone
from mvsa_pipe.backbones.decoding import FEWEST_FAST, choose_decoding, self_test
from mvsa_pipe.backbones.jpeg_samples import SELF_TEST, SUBSAMPLINGS, drawn
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
    for picture in (noise(size), decode_image(jpeg(size), "x")):
        assert_same(rule.pixels_of_array(np.asarray(picture)), rule.pixels(picture))


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
        fast = rule.pixels_of_array(picture)
    own.assert_called_once()
    assert_same(fast, rule.pixels(Image.fromarray(picture)))


@pytest.mark.parametrize("rounding", list(CropRounding))
@pytest.mark.parametrize("resize_px", [100, 222, 223])
def test_a_crop_beyond_the_picture_is_laid_over_black(rounding, resize_px):
    rule = ImagePreprocessing(resize_px, 224, Interpolation.BICUBIC, rounding)
    picture = noise((300, 200))
    fast = rule.pixels_of_array(np.asarray(picture))
    assert_same(fast, rule.pixels(picture))
    assert not fast[0].any() or not fast[-1].any()


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
    for post in posts.posts[:60]:
        data = posts.storage.read(post.image)
        exact = rule.pixels(decode_image(data, post.image))
        assert_same(rule.pixels_of_array(decode_image_fast(data, post.image)), exact)


RULES = [
    ImagePreprocessing(256, 224, Interpolation.BICUBIC, CropRounding.FLOOR),
    ImagePreprocessing(232, 224, Interpolation.BILINEAR, CropRounding.ROUND),
    ImagePreprocessing(51, 37, Interpolation.BICUBIC, CropRounding.ROUND),
]


@pytest.mark.parametrize("seed", range(8))
def test_random_jpegs_have_the_same_pixels(seed):
    """Two hundred in all; ``benchmarks/decode.py`` compares thousands."""
    draws = np.random.default_rng(seed)
    for _ in range(25):
        sample = drawn(draws)
        data, name = sample.encoded(), str(sample)
        exact, fast = decode_image(data, name), decode_image_fast(data, name)
        np.testing.assert_array_equal(np.asarray(exact), fast, err_msg=name)
        for rule in RULES:
            wanted = rule.pixels(exact)
            np.testing.assert_array_equal(rule.pixels_of_array(fast), wanted, err_msg=name)


@pytest.fixture
def backbone():
    return load_backbone(BackboneOptions("tiny-image"))


@pytest.fixture
def untested():
    """No process keeps a self-test that another test has made fail."""
    self_test.cache_clear()
    yield
    self_test.cache_clear()


def test_the_self_test_covers_what_can_differ():
    assert 12 <= len(SELF_TEST) <= 20
    assert {sample.subsampling for sample in SELF_TEST} == set(SUBSAMPLINGS)
    assert {sample.progressive for sample in SELF_TEST} == {True, False}
    assert {rule.interpolation for rule in decoding._RULES} == set(Interpolation)
    assert {rule.crop_rounding for rule in decoding._RULES} == set(CropRounding)
    for rule in decoding._RULES:
        sides = [min(sample.width, sample.height) for sample in SELF_TEST]
        assert min(sides) < rule.resize_px < max(sides)
    drawings = [sample.encoded() for sample in SELF_TEST]
    assert len(set(drawings)) == len(drawings)
    assert drawings == [sample.encoded() for sample in SELF_TEST]


@pytest.mark.usefixtures("untested")
@pytest.mark.parametrize("decode", [Decode.AUTO, Decode.FAST])
def test_many_pictures_are_decoded_fast_where_both_agree(backbone, decode):
    said = []
    chosen = choose_decoding(decode, [backbone], FEWEST_FAST, said.append)
    assert chosen.name is Decode.FAST
    assert not [line for line in said if "exactly" in line]
    picture = jpeg()
    exact = choose_decoding(Decode.EXACT, [backbone], FEWEST_FAST, said.append)
    assert exact.name is Decode.EXACT
    assert_same(
        chosen.prepare(backbone, chosen.open(picture, "x")),
        exact.prepare(backbone, exact.open(picture, "x")),
    )


def test_few_pictures_are_decoded_exactly_without_a_self_test(backbone, monkeypatch):
    monkeypatch.setattr(decoding, "self_test", lambda: pytest.fail("it was tested"))
    said = []
    chosen = choose_decoding(Decode.AUTO, [backbone], FEWEST_FAST - 1, said.append)
    assert (chosen.name, said) == (Decode.EXACT, [])


def other_decoder(data, where):
    pixels = decode_image_fast(data, where).copy()
    pixels[-1, -1, 0] ^= 1
    return pixels


def other_resizing(*arguments):
    pixels = crop_resizing_of(*arguments).copy()
    pixels[0, 0, 2] ^= 1
    return pixels


crop_resizing_of = crop_resizing.resized_crop


@pytest.fixture(params=["decoder", "resizing", "import"])
def difference(request, untested, monkeypatch):  # noqa: ARG001  # keeps the order of both
    """What differs here from Pillow, by one bit, or cannot be loaded."""
    if request.param == "decoder":
        monkeypatch.setattr(decoding, "decode_image_fast", other_decoder)
        return "simplejpeg and Pillow differ in a JPEG of 97 x 61 pixels"
    if request.param == "resizing":
        monkeypatch.setattr(crop_resizing, "resized_crop", other_resizing)
        return "compiled code and Pillow differ in a JPEG of 97 x 61 pixels"
    monkeypatch.setitem(sys.modules, "mvsa_pipe.backbones.crop_resizing", None)
    return "ModuleNotFoundError: import of mvsa_pipe.backbones.crop_resizing halted"


def test_pixels_that_differ_by_one_bit_are_not_taken(backbone, difference):
    said = []
    chosen = choose_decoding(Decode.AUTO, [backbone], FEWEST_FAST, said.append)
    assert chosen.name is Decode.EXACT
    assert "pictures are decoded exactly" in said[-1]
    assert difference in said[-1]
    with pytest.raises(
        ConfigError, match=r"--decode fast cannot be used here.*--decode exact"
    ) as e:
        choose_decoding(Decode.FAST, [backbone], 1, said.append)
    assert difference in str(e.value)
    assert choose_decoding(Decode.EXACT, [backbone], FEWEST_FAST, said.append).name == "exact"


def test_backbones_with_a_processor_of_their_own_are_decoded_exactly_unless_asked(untested):  # noqa: ARG001
    class Own(ImageBackbone):
        def __init__(self):
            pass

        def encode(self, pixels):
            raise NotImplementedError

        def prepare(self, picture):
            return np.asarray(picture.resize((8, 8)))

    own = Own()
    assert choose_decoding(Decode.AUTO, [own], FEWEST_FAST, print).name is Decode.EXACT
    fast = choose_decoding(Decode.FAST, [own], FEWEST_FAST, print)
    assert fast.name is Decode.FAST
    picture = jpeg()
    wanted = own.prepare(decode_image(picture, "x"))
    assert_same(fast.prepare(own, fast.open(picture, "x")), wanted)


def test_no_decoding_is_in_the_fingerprint(backbone):
    assert backbone.identity.preprocessing["decoder"] == "pillow"
    assert "decode" not in BackboneOptions("tiny-image").as_record()
