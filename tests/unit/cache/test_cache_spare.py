"""The copy of a file's structure: any one damage leaves either it or the structure whole."""

import random

import h5py
import pytest
from feature_caches import expected, features, rows, whole, write_cache

from mvsa_pipe.cache.mending import faults, restore
from mvsa_pipe.cache.reading import FeatureFile
from mvsa_pipe.cache.spare import find_spare, is_current, put_back, runs_beside
from mvsa_pipe.errors import CacheError
from mvsa_pipe.modality import Modality

IDS = [f"post-{n}" for n in range(30)]


@pytest.fixture(params=list(Modality))
def file(request, tmp_path):
    return write_cache(tmp_path, IDS, request.param)


def test_a_new_file_has_a_copy_of_all_but_its_features(file):
    spare = find_spare(file.path)
    assert spare.place == file.spare_place
    assert is_current(file.path, spare)
    size = file.path.stat().st_size
    copied = sum(length for _, length in spare.runs)
    assert size == 2 * copied + file.header.payload_bytes + 104
    assert faults(file.path) == []
    with h5py.File(file.path) as raw:
        assert bytes(raw["spare"][:16]) == b"mvsa-pipe spare\n"


def test_any_flipped_bit_beside_the_features_is_mended(file):
    """Bit for bit, wherever it is: in the superblock, an object header, ids, or the copy itself."""
    data, truth, draw = file.path.read_bytes(), whole(file), random.Random(0)
    at_features = [(file.place_of("pooled"), 1), (file.place_of("hidden"), 2)]
    pooled = len(IDS) * file.header.width * 2
    lengths = [pooled, file.header.payload_bytes - pooled]
    runs = runs_beside(len(data), [(p, n) for (p, _), n in zip(at_features, lengths, strict=True)])
    places = [at for first, length in runs for at in range(first, first + length)]
    for at in [8, 30, 44, 50, *draw.sample(places, 150)]:
        flipped = bytearray(data)
        flipped[at] ^= 1 << draw.randrange(8)
        file.path.write_bytes(flipped)
        assert restore(file.path) == [file.path], at
        assert file.path.read_bytes() == data, at
    assert whole(FeatureFile(file.path)) == truth
    assert restore(file.path) == []


def test_a_zeroed_front_is_mended(file):
    """The first sectors are what a failing disk or a stray write most often takes."""
    data = file.path.read_bytes()
    file.path.write_bytes(bytes(4096) + data[4096:])
    with pytest.raises(CacheError, match="mvsa cache repair"):
        FeatureFile(file.path)
    assert restore(file.path) == [file.path]
    assert file.path.read_bytes() == data


def test_a_file_cut_among_its_features_says_which_rows_are_gone(file):
    data, truth = file.path.read_bytes(), features(file)
    place = file.place_of("hidden") + 100
    file.path.write_bytes(data[:place])
    spare = find_spare(file.path)
    put_back(file.path, spare)
    again = FeatureFile(file.path)
    gone = again.damaged_posts()
    assert 0 < len(gone) < len(IDS)
    assert again.header.ids == file.header.ids
    kept = [n for n, post_id in enumerate(IDS) if post_id not in gone]
    assert {IDS[n]: truth[IDS[n]][0] for n in kept} == {IDS[n]: f"first-{IDS[n]}" for n in kept}


def test_a_copy_of_another_length_is_none(file):
    """Not even one whose digest is right: it would be put back beyond the file."""
    data = bytearray(file.path.read_bytes())
    file.path.write_bytes(data[: file.spare_place + 60])
    assert find_spare(file.path) is None
    assert restore(file.path) == []


def test_files_of_before_have_none(tmp_path):
    file = write_cache(tmp_path, IDS)
    with h5py.File(file.path, "r+") as raw:
        del raw["spare"]
    data = bytearray(file.path.read_bytes())
    data[file.spare_place] ^= 1
    file.path.write_bytes(data)
    old = FeatureFile(file.path)
    assert old.spare_place is None
    assert features(old) == expected(rows(IDS))
    assert faults(old.path) == []
    assert restore(file.path) == []
