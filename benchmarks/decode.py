"""Bytes of a JPEG to a backbone's pixels on one core: ``--decode fast`` against ``exact``."""

import tempfile
from functools import partial
from pathlib import Path

import material
import numpy as np
from record import seconds_of, summary, write_record

from mvsa_pipe.backbones.options import Decode
from mvsa_pipe.backbones.preprocessing import CropRounding, ImagePreprocessing, Interpolation
from mvsa_pipe.images import decode_image, decode_image_fast

POSTS, REPEATS = 400, 5


def main() -> None:
    """Measures both interpolations and records speed and deviation."""
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        posts = material.posts(POSTS, Path(folder))
        data = [posts.storage.read(str(post.image)) for post in posts.posts]
    for interpolation in Interpolation:
        both = {
            d: ImagePreprocessing(256, 224, interpolation, CropRounding.FLOOR, decode=d)
            for d in (Decode.EXACT, Decode.FAST)
        }
        loops = {d: partial(_all, data, rule) for d, rule in both.items()}
        rounds = [{d: seconds_of(loop) for d, loop in loops.items()} for _ in range(REPEATS)]
        exact, fast = (loop() for loop in loops.values())
        off = [np.abs(a.astype(int) - b).max() for a, b in zip(exact, fast, strict=True)]
        results[interpolation.value] = {
            "fast_times_faster": summary([r[Decode.EXACT] / r[Decode.FAST] for r in rounds]),
            "exact_pictures_per_second": summary([len(data) / r[Decode.EXACT] for r in rounds]),
            "pictures_by_largest_difference": np.bincount(off).tolist(),
        }
    write_record("decode", {"pictures": POSTS, "repeats": REPEATS}, results)


def _all(data: list[bytes], rule: ImagePreprocessing) -> list[np.ndarray]:
    decode = decode_image if rule.decode is Decode.EXACT else decode_image_fast
    return [rule.pixels(decode(each, "")) for each in data]


if __name__ == "__main__":
    main()
