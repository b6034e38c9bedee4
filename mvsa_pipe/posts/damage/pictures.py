"""Damage to upright RGB pictures.

Lengths are in shares of the shorter side, so that small and large pictures are damaged alike: most
backbones reduce it to 224 pixels.
"""

import io

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

# The shorter side, in pixels, for which ImageNet-C states its strengths.
_SIDE = 224


def resolution(picture: Image.Image, strength: float, _: np.random.Generator) -> Image.Image:
    """A reduced picture; smaller ones stay as they are.

    Args:
        picture: The picture.
        strength: Pixels of its shorter side afterwards.
    """
    ratio = strength / min(picture.size)
    return picture if ratio >= 1 else picture.resize(_scaled(picture, ratio), Image.Resampling.BOX)


def jpeg(picture: Image.Image, strength: float, _: np.random.Generator) -> Image.Image:
    """A picture after it was stored as JPEG.

    Args:
        picture: The picture.
        strength: The quality, as of libjpeg.
    """
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=round(strength))
    return Image.open(io.BytesIO(file.getvalue())).convert("RGB")


def blur(picture: Image.Image, strength: float, _: np.random.Generator) -> Image.Image:
    """A blurred picture.

    Args:
        picture: The picture.
        strength: Standard deviation of the Gaussian, in 1/224 of the shorter side.
    """
    return picture.filter(ImageFilter.GaussianBlur(strength * min(picture.size) / _SIDE))


def noise(picture: Image.Image, strength: float, generator: np.random.Generator) -> Image.Image:
    """A noisy picture, with grains of 1/224 of the shorter side.

    Finer grains would vanish where a backbone reduces the picture.

    Args:
        picture: The picture.
        strength: Standard deviation, with colours from 0 to 1.
        generator: Draws the noise.
    """
    width, height = picture.size
    across, down = _scaled(picture, min(1.0, _SIDE / min(picture.size)))
    grains = generator.standard_normal((down, across, 3), dtype=np.float32)
    rows, columns = np.arange(height) * down // height, np.arange(width) * across // width
    pixels = np.asarray(picture, np.float32) + 255 * strength * grains[rows][:, columns]
    return Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))


def grey(picture: Image.Image, strength: float, _: np.random.Generator) -> Image.Image:
    """A picture with less colour.

    Args:
        picture: The picture.
        strength: Share of the colour that is removed.
    """
    return ImageEnhance.Color(picture).enhance(1 - strength)


def crop(picture: Image.Image, strength: float, generator: np.random.Generator) -> Image.Image:
    """A part of a picture, at a random place.

    Args:
        picture: The picture.
        strength: Share of each side that is kept.
        generator: Draws the place.
    """
    width, height = _scaled(picture, strength)
    free = np.array(picture.size) - (width, height)
    left, top = (int(place) for place in np.rint(generator.random(2) * free))
    return picture.crop((left, top, left + width, top + height))


def _scaled(picture: Image.Image, ratio: float) -> tuple[int, int]:
    width, height = picture.size
    return max(1, round(width * ratio)), max(1, round(height * ratio))
