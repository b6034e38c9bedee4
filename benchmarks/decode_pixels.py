"""Pixels of fast decoding against Pillow's: thousands of random JPEGs, and the posts' own pictures.

Every random JPEG is also prepared by a rule of its own: interpolation, size, crop and rounding are
drawn. A tenth of them is cut at random, which both ways must refuse in the same words. Nothing here
is timed.
"""

import tempfile
from collections import Counter
from pathlib import Path

import llvmlite
import material
import numba
import numpy as np
import PIL
import simplejpeg
from PIL import features
from record import write_record

from mvsa_pipe.backbones.decoding import ExactDecoding, FastDecoding
from mvsa_pipe.backbones.jpeg_samples import drawn
from mvsa_pipe.backbones.preprocessing import CropRounding, ImagePreprocessing, Interpolation
from mvsa_pipe.images import ImageError

RANDOM, SEED, POSTS = 6_000, 0, 500

PUBLISHED = (
    ImagePreprocessing(256, 224, Interpolation.BILINEAR, CropRounding.ROUND),  # resnet50
    ImagePreprocessing(256, 224, Interpolation.BICUBIC, CropRounding.FLOOR),  # dinov2
)


def main() -> None:
    """Compares all pictures and records how many differ in any pixel, or in what is said."""
    draws = np.random.default_rng(SEED)
    compared: Counter[str] = Counter()
    differing: list[str] = []
    for _ in range(RANDOM):
        sample = drawn(draws)
        data, kind = sample.encoded(), sample.subsampling
        if draws.random() < 0.1:
            data, kind = data[: int(draws.integers(len(data)))], "cut"
        compared[kind] += 1
        if not _same(data, (*PUBLISHED, _rule(draws))):
            differing.append(f"{kind}: {sample}, seed {sample.seed}")
    with tempfile.TemporaryDirectory() as folder:
        posts = material.posts(POSTS, Path(folder))
        for post in posts.posts:
            compared["posts"] += 1
            if not _same(posts.storage.read(str(post.image)), PUBLISHED):
                differing.append(f"post {post.id}")
    versions = {
        "pillow": PIL.__version__,
        "its libjpeg-turbo": features.version("libjpeg_turbo"),
        "simplejpeg": simplejpeg.__version__,
        "numba": numba.__version__,
        "llvmlite": llvmlite.__version__,
    }
    configuration = {"random": RANDOM, "seed": SEED, "real": material.real(), **versions}
    results = {"compared": dict(sorted(compared.items())), "differing": differing}
    write_record("decode_pixels", configuration, results)


def _rule(draws: np.random.Generator) -> ImagePreprocessing:
    return ImagePreprocessing(
        resize_px=int(draws.integers(1, 300)),
        crop_px=int(draws.integers(1, 300)),
        interpolation=Interpolation(draws.choice(list(Interpolation))),
        crop_rounding=CropRounding(draws.choice(list(CropRounding))),
    )


def _same(data: bytes, rules: tuple[ImagePreprocessing, ...]) -> bool:
    """Whether both ways give the same pixels, or refuse the picture in the same words."""
    exact, fast = ExactDecoding(), FastDecoding()
    try:
        picture = exact.open(data, "x")
    except ImageError as error:
        return _refusal(fast, data) == str(error)
    array = fast.open(data, "x")
    return np.array_equal(np.asarray(picture), array) and all(
        np.array_equal(rule.pixels(picture), rule.pixels_of_array(array)) for rule in rules
    )


def _refusal(decoding: FastDecoding, data: bytes) -> str | None:
    try:
        decoding.open(data, "x")
    except ImageError as error:
        return str(error)
    return None


if __name__ == "__main__":
    main()
