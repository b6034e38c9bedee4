"""Files that were changed, cut, renamed, or never were caches."""

import random
from pathlib import Path

import h5py
import numpy as np
import pytest
from feature_caches import assert_flips_are_found, fingerprint, rows, whole, write_cache

from mvsa_pipe.cache.folder import CacheFolder
from mvsa_pipe.cache.reading import DamagedRowsError, FeatureFile
from mvsa_pipe.cache.writer import open_writer
from mvsa_pipe.errors import CacheError
from mvsa_pipe.modality import Modality

IDS = [f"post-{n}" for n in range(6)]


@pytest.mark.parametrize("modality", list(Modality))
def test_any_flipped_bit_is_found(tmp_path: Path, modality: Modality) -> None:
    """All 51,992 single flips of two such files were tried once; here a sample of them."""
    path = write_cache(tmp_path, IDS, modality).path
    assert_flips_are_found(path, 400, modality.value)


@pytest.mark.parametrize("modality", list(Modality))
def test_any_burst_of_damage_is_found(tmp_path: Path, modality: Modality) -> None:
    path = write_cache(tmp_path, IDS, modality).path
    data, truth = path.read_bytes(), whole(FeatureFile(path))
    draw = random.Random(modality.value)
    for _ in range(200):
        start = draw.randrange(len(data))
        count = draw.choice((2, 16, 512))
        hit = bytes(count) if draw.random() < 0.5 else draw.randbytes(count)
        path.write_bytes((data[:start] + hit + data[start + count :])[: len(data)])
        try:
            assert whole(FeatureFile(path)) == truth
        except CacheError:
            continue


@pytest.mark.parametrize("modality", list(Modality))
def test_any_cut_is_found(tmp_path: Path, modality: Modality) -> None:
    path = write_cache(tmp_path, IDS, modality).path
    data = path.read_bytes()
    for length in {*range(0, len(data), 41), *range(len(data) - 60, len(data))}:
        path.write_bytes(data[:length])
        with pytest.raises(CacheError, match=r"damaged, cut short.*mvsa cache remove"):
            whole(FeatureFile(path))


@pytest.mark.parametrize("name", ["pooled", "hidden"])
@pytest.mark.parametrize("modality", list(Modality))
def test_exactly_the_damaged_posts_are_named(tmp_path: Path, modality: Modality, name: str) -> None:
    path = write_cache(tmp_path, IDS, modality).path
    with h5py.File(path) as file:
        place = file[name].id.get_offset()
        offsets = file["offsets"][:] if "offsets" in file else np.arange(7)
    entry = np.dtype("f2").itemsize * 4 * (3 if modality is Modality.IMAGE else 1)
    data = bytearray(path.read_bytes())
    for row in (1, 4):
        start = row * 8 if name == "pooled" else int(offsets[row]) * entry
        data[place + start] ^= 1
    path.write_bytes(data)
    file = FeatureFile(path)
    assert file.damaged_posts() == ["post-1", "post-4"]
    assert file.damaged_posts(rows_a_time=1) == ["post-1", "post-4"]
    whole_rows = np.array([0, 2, 3, 5])
    file.pooled(whole_rows)
    file.hidden(whole_rows)
    read = file.pooled if name == "pooled" else file.hidden
    with pytest.raises(DamagedRowsError, match="2 damaged posts: post-1, post-4"):
        read(np.arange(6))


def test_a_damaged_old_file_is_never_joined_into_a_new_one(tmp_path: Path) -> None:
    path = write_cache(tmp_path, IDS).path
    with h5py.File(path) as file:
        place = file["hidden"].id.get_offset()
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    with open_writer(CacheFolder(tmp_path), "set", fingerprint()) as writer:
        writer.commit(rows(["new"]))
        with pytest.raises(DamagedRowsError, match="post-0"):
            writer.finish(IDS, {})
    assert path.read_bytes() == bytes(data)
    with open_writer(CacheFolder(tmp_path), "set", fingerprint()) as writer:
        assert "new" in writer.committed  # what was computed is not lost


def test_another_schema_version(tmp_path: Path) -> None:
    path = write_cache(tmp_path, ["a"]).path
    with h5py.File(path, "r+") as file:
        file.attrs.modify("schema", 99)
        del file.attrs["fingerprint"]  # who knows where schema 99 keeps it
    with pytest.raises(CacheError, match=r"another version.*schema 2\..*schema 99.*cache remove"):
        FeatureFile(path)


def test_what_never_was_a_cache(tmp_path: Path) -> None:
    folder = CacheFolder(tmp_path)
    path = folder.path_of("set", fingerprint())
    path.parent.mkdir()
    with h5py.File(path, "w") as file:
        file["pooled"] = np.zeros((2, 3))
    with pytest.raises(CacheError, match="is not marked as a feature cache"):
        FeatureFile(path)
    path.write_text("just a text")
    with pytest.raises(CacheError, match="damaged, cut short, or no feature cache"):
        FeatureFile(path)
    path.unlink()
    with pytest.raises(CacheError, match=r"no cache file here.*Found nothing"):
        FeatureFile(path)
    path.mkdir()
    with (
        pytest.raises(CacheError, match=r"no cache file here.*Found a folder"),
        open_writer(folder, "set", fingerprint()),
    ):
        pass
