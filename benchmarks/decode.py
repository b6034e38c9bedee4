"""Bytes of a JPEG to a backbone's pixels on one core: ``--decode fast`` against ``exact``.

``decode_pixels.py`` compares what they give.
"""

import tempfile
from functools import partial
from pathlib import Path

import material
import numpy as np
from record import seconds_of, summary, write_record

from mvsa_pipe.backbones.preprocessing import CropRounding, ImagePreprocessing, Interpolation
from mvsa_pipe.images import decode_image, decode_image_fast

POSTS, REPEATS = 400, 5


def main() -> None:
    """Measures both interpolations and records speed."""
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        posts = material.posts(POSTS, Path(folder))
        data = [posts.storage.read(str(post.image)) for post in posts.posts]
    for interpolation in Interpolation:
        rule = ImagePreprocessing(256, 224, interpolation, CropRounding.FLOOR)
        loops = {"exact": partial(_exact, data, rule), "fast": partial(_fast, data, rule)}
        rounds = [{how: seconds_of(loop) for how, loop in loops.items()} for _ in range(REPEATS)]
        results[interpolation.value] = {
            "fast_times_faster": summary([r["exact"] / r["fast"] for r in rounds]),
            "exact_pictures_per_second": summary([len(data) / r["exact"] for r in rounds]),
        }
    write_record("decode", {"pictures": POSTS, "repeats": REPEATS}, results)


def _exact(data: list[bytes], rule: ImagePreprocessing) -> list[np.ndarray]:
    return [rule.pixels(decode_image(each, "")) for each in data]


def _fast(data: list[bytes], rule: ImagePreprocessing) -> list[np.ndarray]:
    return [rule.pixels_of_array(decode_image_fast(each, "")) for each in data]


if __name__ == "__main__":
    main()
