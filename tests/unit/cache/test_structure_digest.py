"""Any byte that was changed, added or cut off is found, whether or not anything reads it."""

import gzip
import random
from pathlib import Path

import pytest
from feature_caches import fingerprint, whole, write_cache

from mvsa_pipe.cache.checking import faults
from mvsa_pipe.cache.folder import CacheFolder
from mvsa_pipe.cache.reading import FeatureFile
from mvsa_pipe.errors import CacheError

IDS = [f"post-{n}" for n in range(6)]
# Written by version 0.1, with a copy of its structure instead of a digest.
OLD = Path(__file__).parents[2] / "golden" / "cache_0_1.h5.gz"


@pytest.fixture(params=["now", "0.1"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == "now":
        return write_cache(tmp_path, IDS).path
    path = CacheFolder(tmp_path).path_of("set", fingerprint())
    path.parent.mkdir()
    path.write_bytes(gzip.decompress(OLD.read_bytes()))
    return path


def is_found(path: Path) -> bool:
    try:
        return bool(faults(path))
    except CacheError:
        return True


def test_old_caches_are_read(path: Path, tmp_path: Path) -> None:
    assert whole(FeatureFile(path)) == whole(write_cache(tmp_path / "new", IDS))
    assert faults(path) == []


def test_any_flipped_bit_is_found_by_verify(path: Path) -> None:
    data = path.read_bytes()
    draw = random.Random(0)
    missed = []
    mark = max(0, data.find(b"mvsa-pipe spare"))
    for at in [*range(mark, mark + 110), *draw.sample(range(len(data)), 300)]:
        flipped = bytearray(data)
        flipped[at] ^= 1 << draw.randrange(8)
        path.write_bytes(flipped)
        if not is_found(path):
            missed.append(at)
    assert missed == []


def test_any_other_length_is_found_by_verify(path: Path) -> None:
    data = path.read_bytes()
    for other in (data + b"\0", data + data, data[:-1], data[:-64], data[: len(data) // 2], b""):
        path.write_bytes(other)
        assert is_found(path)
