"""The published preprocessing, pixel for pixel, against who published it."""

from io import BytesIO

import numpy as np
import pytest
import torch
from backbone_support import load_image, noise
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from test_backbone_dinov2 import published_processor
from torchvision import models
from transformers import BaseImageProcessor

from mvsa_pipe.backbones.dinov2 import DinoV2
from mvsa_pipe.backbones.options import BackboneOptions
from mvsa_pipe.backbones.preprocessing import ImagePreprocessing
from mvsa_pipe.backbones.torchvision import _published_rule
from mvsa_pipe.images import decode_image

SIDES = st.integers(8, 400)


def ours(rule: ImagePreprocessing, image: Image.Image) -> torch.Tensor:
    return rule.normalised(torch.from_numpy(rule.pixels(image).copy())[None])[0]


@pytest.fixture(scope="module")
def processor(tmp_path_factory: pytest.TempPathFactory) -> BaseImageProcessor:
    return published_processor(tmp_path_factory.mktemp("processor"))


@settings(max_examples=25, deadline=None)
@given(width=SIDES, height=SIDES)
@example(width=256, height=256)
@example(width=224, height=225)
@example(width=341, height=256)
@example(width=1, height=40)
@example(width=333, height=500)
def test_dinov2_as_its_processor(processor: BaseImageProcessor, width: int, height: int) -> None:
    image = noise(width, height)
    wanted = processor(images=image, return_tensors="pt")["pixel_values"][0]
    torch.testing.assert_close(ours(DinoV2.rule, image), wanted, atol=1e-5, rtol=0)


WEIGHTS = {
    "resnet50": (models.ResNet50_Weights.IMAGENET1K_V1, models.ResNet50_Weights.IMAGENET1K_V2),
    "squeezenet1_0": (models.SqueezeNet1_0_Weights.IMAGENET1K_V1,),
    "swin_t": (models.Swin_T_Weights.IMAGENET1K_V1,),
}


@settings(max_examples=25, deadline=None)
@given(width=SIDES, height=SIDES, name=st.sampled_from(sorted(WEIGHTS)), which=st.integers(0, 1))
@example(333, 500, "resnet50", 0)
@example(500, 333, "swin_t", 0)
@example(257, 256, "resnet50", 0)
@example(1, 40, "resnet50", 1)
def test_torchvision_as_its_transforms(width: int, height: int, name: str, which: int) -> None:
    weights = WEIGHTS[name][which % len(WEIGHTS[name])]
    rule = _published_rule(weights, BackboneOptions(f"torchvision:{name}"))
    image = noise(width, height)
    torch.testing.assert_close(ours(rule, image), weights.transforms()(image), atol=1e-5, rtol=0)


def test_every_supported_torchvision_rule_is_read() -> None:
    """No published weights resize below their crop, which would need padding."""
    for name in models.list_models(module=models):
        for weights in models.get_model_weights(name):
            rule = _published_rule(weights, BackboneOptions(f"torchvision:{name}"))
            assert rule.resize_px >= rule.crop_px, name


def _encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("mode", ["RGBA", "P", "L", "CMYK", "LA", "1", "I;16"])
def test_every_mode_ends_in_rgb_pixels(mode: str) -> None:
    picture = Image.new("L", (90, 70), 40).convert("I;16") if mode == "I;16" else None
    picture = picture or noise(90, 70).convert(mode)
    data = _encoded(picture, "JPEG" if mode == "CMYK" else "PNG")
    pixels = load_image("tiny-image").prepare(decode_image(data, "test"))
    assert pixels.shape == (64, 64, 3)
    assert pixels.dtype == np.uint8


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = noise(80, 60)
    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(turns[orientation]) if orientation > 1 else upright
    seen = decode_image(_encoded(stored, "PNG", exif=exif), "test")
    backbone = load_image("tiny-image")
    np.testing.assert_array_equal(backbone.prepare(seen), backbone.prepare(upright))
