"""Writes tweets and paints pictures that show a given cue."""

from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mvsa_pipe.posts.synthetic.relations import BETWEEN_SIDES, SIDES


def _words(text: str) -> NDArray[np.str_]:
    return np.array(text.split())


# Few words, so that a few hundred posts show every one of them often enough to learn it.
_POLAR = {
    "positive": _words("love happy great wonderful beautiful smile joy proud"),
    "negative": _words("hate sad awful terrible angry ugly pain fear"),
}
_PLAIN = _words(
    "the a this my today tonight morning street train city park window coffee photo walk "
    "river house garden market school week friend here with from about before still going waiting"
)
_TOPICS = _words("news travel food music sport weather work family film book art style")

# Mean colour of a background, and of the shapes upon it.
_BACKGROUND = {"positive": (228, 186, 92), "neutral": (142, 150, 142), "negative": (52, 58, 92)}
_SHAPE = {"positive": (240, 110, 130), "neutral": (110, 118, 112), "negative": (110, 24, 30)}
_QUALITY = 85
# Pillow's default, and all colours: subsampled ones are interpolated across the border of sides,
# so that each would show a little of the other.
_SUBSAMPLED, _ALL_COLOURS = -1, 0

_Pixels = NDArray[np.float64]


def tweet(cue: str, generator: np.random.Generator) -> str:
    """A short text of plain words, with two or three polar words or the name of a side.

    A neutral text has neither. The name of a side is one word, so fewer are around it.
    """
    least, past = (2, 5) if cue in SIDES else (4, 9)
    words = _draw(_PLAIN, int(generator.integers(least, past)), generator)
    if cue in _POLAR:
        words += _draw(_POLAR[cue], int(generator.integers(2, 4)), generator)
    elif cue in SIDES:
        words.append(cue)
    generator.shuffle(words)
    words.append(f"#{_draw(_TOPICS, 1, generator)[0]}")
    if generator.random() < 0.3:
        words[:0] = ["RT", f"@user{generator.integers(1000)}:"]
    if generator.random() < 0.3:
        words.append(f"http://t.co/{generator.integers(16**8):08x}")
    return " ".join(words)


def _draw(words: NDArray[np.str_], count: int, generator: np.random.Generator) -> list[str]:
    return [str(word) for word in generator.choice(words, size=count, replace=False)]


def picture(cue: str, image_px: int, generator: np.random.Generator) -> bytes:
    """A JPEG with a gradient, two to five shapes and noise; one on each side for two cues.

    Round and bright is positive, square and grey neutral, pointed and dark negative.
    """
    sides = cue.split(BETWEEN_SIDES)
    colours = _SUBSAMPLED
    if len(sides) == 1:
        canvas = _canvas(cue, image_px, generator)
    else:
        colours = _ALL_COLOURS
        halves = [_canvas(each, image_px, generator)[:, : -(-image_px // 2)] for each in sides]
        canvas = np.concatenate(halves, axis=1)[:, :image_px]
    buffer = BytesIO()
    pixels = np.clip(canvas, 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(buffer, "JPEG", quality=_QUALITY, subsampling=colours)
    return buffer.getvalue()


def _canvas(cue: str, side_px: int, generator: np.random.Generator) -> _Pixels:
    """The pixels of one cue, ``[side, side, 3]``."""
    down, across = np.mgrid[0:side_px, 0:side_px] / side_px
    angle = generator.uniform(0, 2 * np.pi)
    slope = (np.cos(angle) * across + np.sin(angle) * down)[..., None]
    canvas = _colour(_BACKGROUND[cue], generator) + 36 * slope
    for _ in range(generator.integers(2, 6)):
        centre, radius = generator.uniform(0.15, 0.85, size=2), generator.uniform(0.08, 0.2)
        inside = _shape(cue, across - centre[0], down - centre[1], radius)
        canvas[inside] = _colour(_SHAPE[cue], generator)
    noisy: _Pixels = canvas + generator.normal(0, 9, size=canvas.shape)
    return noisy


def _colour(mean: tuple[int, int, int], generator: np.random.Generator) -> _Pixels:
    return np.asarray(mean, dtype=np.float64) + generator.normal(0, 14, size=3)


def _shape(cue: str, right: _Pixels, below: _Pixels, radius: float) -> NDArray[np.bool_]:
    """Where a shape covers the canvas, from the distances to its centre."""
    if cue == "positive":
        return np.hypot(right, below) < radius
    if cue == "negative":
        return (np.abs(right) < (below + radius) / 2) & (np.abs(below) < radius)
    return np.maximum(np.abs(right), np.abs(below)) < radius
