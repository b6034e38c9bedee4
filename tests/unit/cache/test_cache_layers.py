"""Caches of several layers: the axis, every way they are stored, and which one a fit is given."""

import os
from dataclasses import replace

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
from feature_caches import TOKENS, WIDTH, expected, features, fingerprint, rows

from mvsa_pipe.cache import ExportFormat
from mvsa_pipe.cache.export import export
from mvsa_pipe.cache.folder import CacheFolder
from mvsa_pipe.cache.reading import DamagedRowsError, FeatureFile
from mvsa_pipe.cache.writer import open_writer
from mvsa_pipe.errors import CacheError
from mvsa_pipe.modality import Modality

IDS = [f"post {n}" for n in range(9)]
LAYERS = 4


@pytest.fixture(params=list(Modality))
def modality(request):
    return request.param


def write(root, modality, *, join=float("inf"), layers=LAYERS, **changes):
    own = fingerprint(modality, layers="last4" if layers > 1 else "last", **changes)
    with open_writer(CacheFolder(root), "set", own) as writer:
        for ids in (IDS[:4], IDS[4:]):
            writer.commit(rows(ids, modality, layers=layers))
        return writer.finish(IDS, {}, join_below_bytes=join)


@pytest.mark.parametrize("join", [float("inf"), 0.0])
def test_layers_have_an_axis_before_the_width(tmp_path, modality, join):
    file = FeatureFile(write(tmp_path, modality, join=join).path)
    wanted = rows(IDS, modality, layers=LAYERS)
    assert features(file) == expected(wanted)
    assert file.header.layers == LAYERS
    assert file.header.payload_bytes == wanted.pooled.nbytes + wanted.hidden.nbytes
    with h5py.File(file.path) as raw:
        tokens = (TOKENS,) if modality is Modality.IMAGE else ()
        assert raw["hidden"].shape[1:] == (*tokens, LAYERS, WIDTH)
        assert np.array_equal(raw["hidden"][:], wanted.hidden)


def test_one_layer_leaves_no_trace_of_layers(tmp_path, modality):
    file = write(tmp_path, modality, join=0.0, layers=1)
    assert file.header.layers == 1
    with h5py.File(file.path) as raw:
        assert b"layers" not in bytes(raw["segments"][()])
        assert raw["hidden"].ndim == (3 if modality is Modality.IMAGE else 2)


def test_a_flipped_byte_of_any_layer_is_found(tmp_path, modality):
    file = write(tmp_path, modality)
    raw = bytearray(file.path.read_bytes())
    raw[file.place_of("hidden") + 2 * WIDTH] ^= 1  # of the first post's second layer
    file.path.write_bytes(raw)
    again = FeatureFile(file.path)
    assert again.damaged_posts() == IDS[:1]
    with pytest.raises(DamagedRowsError):
        again.hidden(np.array([0]))


def test_exports_hold_all_layers(tmp_path, modality):
    file = write(tmp_path / "cache", modality)
    wanted = rows(IDS, modality, layers=LAYERS)
    export(file, tmp_path / "npy", ExportFormat.NPY)
    assert np.array_equal(np.load(tmp_path / "npy" / "hidden.npy"), wanted.hidden)
    export(file, tmp_path / "table", ExportFormat.PARQUET)
    table = pq.read_table(tmp_path / "table").to_pydict()
    bounds = wanted.bounds()
    for n in range(len(IDS)):
        own = wanted.hidden[bounds[n] : bounds[n + 1]].reshape(-1, WIDTH)
        assert np.array_equal(np.array(table["hidden"][n], np.float16), own)


def test_the_layers_are_part_of_the_identity(modality):
    several = fingerprint(modality, layers="last4")
    with pytest.raises(CacheError, match="layers is 'last', requested 'last4'"):
        several.require(fingerprint(modality), "here")
    assert "--layers last4" in several.command
    assert "--layers" not in replace(several, layers="last").command


def test_the_layers_asked_for_go_before_newer_caches(tmp_path, modality):
    one, four = write(tmp_path, modality, layers=1), write(tmp_path, modality)
    folder = CacheFolder(tmp_path)
    for stamp, (newer, older) in enumerate([(one, four), (four, one)]):
        os.utime(older.path, (stamp, stamp))
        os.utime(newer.path, (9, 9))
        assert folder.fitting("set", modality)[0].path == one.path
        assert folder.fitting("set", modality, several_layers=True)[0].path == four.path
    named = f"small@{four.header.fingerprint.digest[:8]}"
    assert folder.fitting("set", modality, named)[0].path == four.path
    one.path.unlink()
    assert folder.fitting("set", modality)[0].path == four.path
