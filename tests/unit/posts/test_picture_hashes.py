"""Perceptual hashes: one picture in other sizes and qualities is near, others are not."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageFilter

from mvsa_pipe import file_stamps
from mvsa_pipe.posts import picture_hashes as hashes
from mvsa_pipe.posts import read_posts
from mvsa_pipe.posts.picture_hashes import MOST_BITS, near, picture_hash, picture_hashes
from mvsa_pipe.posts.synthetic.config import SyntheticConfig
from mvsa_pipe.posts.synthetic.write import write_synthetic
from mvsa_pipe.progress import NoProgress


def picture(seed, size=(200, 150)):
    generator = np.random.default_rng(seed)
    coarse = Image.fromarray(generator.integers(0, 256, (12, 16, 3), dtype=np.uint8))
    return coarse.resize(size, Image.Resampling.BICUBIC)


def data(image, kind="JPEG", **options):
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def bits_apart(one, other):
    return (one ^ other).bit_count()


@pytest.mark.parametrize(
    "changed",
    [
        lambda image: data(image, quality=30),
        lambda image: data(image.resize((90, 70)), quality=80),
        lambda image: data(image.filter(ImageFilter.GaussianBlur(1)), "PNG"),
        lambda image: data(image.convert("L").convert("RGB"), quality=70),
    ],
)
@pytest.mark.parametrize("seed", range(5))
def test_a_copy_is_near(changed, seed):
    whole = picture(seed)
    first, second = picture_hash(data(whole, quality=95)), picture_hash(changed(whole))
    assert bits_apart(first, second) <= MOST_BITS
    assert near([first], [second]).tolist() == [True]


def test_other_pictures_are_far():
    hashes = [picture_hash(data(picture(seed), "PNG")) for seed in range(40)]
    apart = [bits_apart(a, b) for n, a in enumerate(hashes) for b in hashes[:n]]
    assert min(apart) > MOST_BITS
    assert np.mean(apart) == pytest.approx(32, abs=2)


def test_an_even_surface_and_no_picture_have_no_hash():
    assert picture_hash(data(Image.new("RGB", (50, 50), (9, 9, 9)))) is None
    assert picture_hash(b"no picture") is None
    assert picture_hash(data(picture(0))[:300]) is None


def test_nothing_is_near_to_nothing():
    assert near([1, 2], []).tolist() == [False, False]
    assert near([], [1]).tolist() == []


def test_hashes_of_unchanged_files_are_remembered(tmp_path, monkeypatch):
    write_synthetic(tmp_path / "posts", SyntheticConfig(posts=30, image_px=32))
    posts, cache = read_posts(tmp_path / "posts"), tmp_path / "cache"
    ids = [post.id for post in posts.posts]
    monkeypatch.setattr(file_stamps, "SETTLED_SECONDS", 0.0)
    whole = picture_hashes(posts, ids, NoProgress(), cache)
    assert picture_hashes(posts, ids, NoProgress()) == whole
    changed = posts.posts[0]
    (tmp_path / "posts" / changed.image).write_bytes(data(picture(1)))
    seen = []
    monkeypatch.setattr(hashes, "picture_hash", lambda content: seen.append(content) or 7)
    assert picture_hashes(posts, ids, NoProgress(), cache) == whole | {changed.id: 7}
    assert len(seen) == 1
