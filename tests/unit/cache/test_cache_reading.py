"""A reader hands out the right values or a clear error, whatever became of the file."""

import json
import random
import shutil

import h5py
import numpy as np
import pytest
from cache_support import IMAGE, TEXT, rows_of, values_of

from mvsa_pipe.cache.folder import CacheFolder
from mvsa_pipe.cache.reading import DamagedRowsError, FeatureFile
from mvsa_pipe.cache.writer import open_writer
from mvsa_pipe.errors import CacheError

IDS = [f"post-{n}" for n in range(9)]


@pytest.fixture(params=[TEXT, IMAGE], ids=["text", "image"])
def file(request, tmp_path):
    with open_writer(CacheFolder(tmp_path), "set", request.param) as writer:
        writer.commit(rows_of(IDS, request.param))
        return writer.finish(IDS, {"device": "cpu"})


def test_rows_come_back_in_the_order_asked_for(file):
    wanted = np.array([7, 2, 3, 4, 0])
    expected = rows_of([IDS[i] for i in wanted], file.header.fingerprint)
    assert (file.pooled(wanted) == expected.pooled).all()
    hidden, bounds = file.hidden(wanted)
    assert (hidden == expected.hidden).all()
    assert (bounds == expected.bounds()).all()


def test_h5py_alone_reads_it(file):
    rows = rows_of(IDS, file.header.fingerprint)
    with h5py.File(file.path) as raw:
        assert [i.decode() for i in raw["ids"][:].tolist()] == IDS
        assert (raw["pooled"][:] == rows.pooled).all()
        assert (raw["hidden"][:] == rows.hidden).all()
        if rows.lengths is not None:
            assert (np.diff(raw["offsets"][:]) == rows.lengths).all()
        line = raw.attrs["fingerprint"]
        fingerprint = json.loads(line if isinstance(line, str) else line.decode())
        assert fingerprint["backbone"] == file.header.fingerprint.backbone


def test_a_flipped_feature_byte_names_its_post(file):
    with h5py.File(file.path) as raw:
        place = raw["pooled"].id.get_offset()
    data = bytearray(file.path.read_bytes())
    data[place + 4 * 5 * 2] ^= 1  # the fifth post's first number
    file.path.write_bytes(data)
    damaged = FeatureFile(file.path)
    assert damaged.damaged_posts() == ["post-4"]
    with pytest.raises(DamagedRowsError, match="post-4"):
        damaged.pooled(np.arange(9))
    assert (damaged.pooled(np.array([3])) == file.pooled(np.array([3]))).all()


def test_any_flipped_bit_gives_an_error_or_the_right_values(file):
    right = values_of(file)
    data = file.path.read_bytes()
    generator = random.Random(0)
    refused = 0
    for _ in range(250):
        broken = bytearray(data)
        broken[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
        file.path.write_bytes(broken)
        try:
            assert values_of(FeatureFile(file.path)) == right
        except CacheError:
            refused += 1
    assert refused


def test_any_truncation_is_refused(file):
    data = file.path.read_bytes()
    for length in sorted({0, 1, 7, 100, len(data) // 3, len(data) // 2, len(data) - 1}):
        file.path.write_bytes(data[:length])
        with pytest.raises(CacheError):
            values_of(FeatureFile(file.path))


def test_another_schema_is_refused(file):
    with h5py.File(file.path, "r+") as raw:
        raw.attrs["schema"] = 99
    with pytest.raises(CacheError, match="99"):
        FeatureFile(file.path)


def test_what_is_no_cache_is_refused(tmp_path):
    with pytest.raises(CacheError):
        FeatureFile(tmp_path / "absent.h5")
    (tmp_path / "text.h5").write_text("not HDF5")
    with pytest.raises(CacheError):
        FeatureFile(tmp_path / "text.h5")
    with h5py.File(tmp_path / "other.h5", "w") as raw:
        raw["something"] = [1, 2]
    with pytest.raises(CacheError):
        FeatureFile(tmp_path / "other.h5")


def test_a_damaged_cache_is_listed_and_can_be_removed(file):
    file.path.write_bytes(file.path.read_bytes()[:200])
    folder = CacheFolder(file.path.parents[1])
    (entry,) = folder.entries()
    assert entry.file is None
    assert entry.fault
    folder.remove(entry.path)
    assert folder.entries() == []


def test_a_copy_reads_the_same(file, tmp_path):
    copy = tmp_path / "elsewhere.h5"
    shutil.copy(file.path, copy)
    assert values_of(FeatureFile(copy)) == values_of(file)
