"""Caches of pooled vectors alone: every way they are stored, exported and chosen."""

from dataclasses import replace

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
from feature_caches import WIDTH, assert_flips_are_found, expected, features, fingerprint, rows
from safetensors.numpy import load_file

from mvsa_pipe.cache import ExportFormat
from mvsa_pipe.cache.content import Rows
from mvsa_pipe.cache.export import export
from mvsa_pipe.cache.fingerprint import Fingerprint
from mvsa_pipe.cache.folder import CacheFolder, StatesNotKeptError
from mvsa_pipe.cache.merge import merge
from mvsa_pipe.cache.reading import DamagedRowsError, FeatureFile
from mvsa_pipe.cache.writer import open_writer
from mvsa_pipe.errors import CacheError
from mvsa_pipe.layers import Keep
from mvsa_pipe.modality import Modality

IDS = [f"post {n}" for n in range(9)]


@pytest.fixture(params=list(Modality))
def modality(request):
    return request.param


def write(root, modality, ids=IDS, *, join=float("inf"), keep=Keep.POOLED, shard="", **changes):
    own = fingerprint(modality, layers="none" if keep is Keep.POOLED else "last", **changes)
    with open_writer(CacheFolder(root), "set", own, shard) as writer:
        for part in filter(None, (ids[:4], ids[4:])):
            writer.commit(rows(part, modality, keep=keep))
        return writer.finish(ids, {}, join_below_bytes=join)


@pytest.mark.parametrize("join", [float("inf"), 0.0])
def test_it_holds_the_vectors_of_a_cache_of_all(tmp_path, modality, join):
    file = FeatureFile(write(tmp_path, modality, join=join).path)
    assert features(file) == expected(rows(IDS, modality, keep=Keep.POOLED))
    assert np.array_equal(file.pooled(np.arange(9)), rows(IDS, modality).pooled)
    assert file.header.payload_bytes == 9 * WIDTH * 2
    assert file.damaged_posts() == []
    assert file.has_whole_structure()
    with h5py.File(file.path) as raw:
        assert raw["hidden"].size == 0
        assert np.array_equal(raw["pooled"][:], rows(IDS, modality).pooled)


def test_it_says_what_it_keeps_in_a_field_of_its_fingerprint(tmp_path, modality):
    file = write(tmp_path, modality)
    alone, of_all = file.header.fingerprint, fingerprint(modality)
    assert (alone.keep, of_all.keep) == (Keep.POOLED, Keep.ALL)
    assert alone == of_all.without_states == replace(of_all, layers="none")
    assert alone.digest != of_all.digest
    assert "--keep pooled" in alone.command
    assert "--keep" not in of_all.command
    serving = of_all.with_same_vectors
    assert serving[0] == of_all
    assert alone in serving
    assert {each.layers for each in serving} == {"last", "last4", "all", "none"}
    assert {f.digest for f in alone.with_same_vectors} == {f.digest for f in serving}


@pytest.mark.parametrize("join", [float("inf"), 0.0])
def test_any_flipped_bit_is_found(tmp_path, modality, join):
    path = write(tmp_path, modality, join=join).path
    assert_flips_are_found(path, 200, modality.value)


def test_a_flipped_byte_of_a_vector_names_the_post(tmp_path, modality):
    file = write(tmp_path, modality)
    data = bytearray(file.path.read_bytes())
    data[file.place_of("pooled") + 2 * WIDTH * 2] ^= 0xFF
    file.path.write_bytes(data)
    assert FeatureFile(file.path).damaged_posts() == [IDS[2]]
    with pytest.raises(DamagedRowsError):
        FeatureFile(file.path).pooled(np.arange(9))


def test_states_under_a_fingerprint_without_them_are_no_cache(tmp_path, modality):
    own = fingerprint(modality, layers="none")
    with open_writer(CacheFolder(tmp_path), "set", own) as writer, pytest.raises(CacheError):
        writer.commit(rows(IDS, modality))


def test_shards_are_merged_and_two_kinds_are_not(tmp_path, modality):
    shards = [
        write(tmp_path, modality, ids, shard=f"{n}-of-2")
        for n, ids in enumerate((IDS[:5], IDS[5:]), 1)
    ]
    merged = merge(CacheFolder(tmp_path), shards, IDS)
    assert features(merged) == expected(rows(IDS, modality, keep=Keep.POOLED))
    other = write(tmp_path, modality, keep=Keep.ALL)
    with pytest.raises(CacheError, match="layers is 'last', requested 'none'"):
        merge(CacheFolder(tmp_path), [merged, other])


def test_exports_leave_hidden_states_out(tmp_path, modality):
    file, wanted = write(tmp_path, modality), rows(IDS, modality).pooled
    for form in ExportFormat:
        export(file, tmp_path / form, form)
    names = {path.name for path in (tmp_path / "npy").iterdir()}
    assert names == {"pooled.npy", "ids.json", "about.json"}
    assert np.array_equal(np.load(tmp_path / "npy" / "pooled.npy"), wanted)
    (tensor,) = load_file(tmp_path / "safetensors").items()
    assert tensor[0] == "pooled"
    assert np.array_equal(tensor[1], wanted)
    table = pq.read_table(tmp_path / "parquet")
    assert table.schema.names == ["id", "pooled"]
    assert np.array_equal(np.array(table["pooled"].to_pylist(), np.float16), wanted)


def test_caches_without_states_serve_where_none_are_read(tmp_path, modality):
    folder = CacheFolder(tmp_path)
    alone = write(tmp_path, modality)
    assert [f.path for f in folder.fitting("set", modality)] == [alone.path]
    with pytest.raises(StatesNotKeptError) as refusal:
        folder.fitting("set", modality, states=True)
    said = str(refusal.value)
    assert f"Heads over tokens read hidden states of the {modality}" in said
    assert "mvsa extract --data PATH --backbone small --keep all" in said
    assert "Head 'cmac' reads" in str(refusal.value.read_by(["cmac"]))
    of_all = write(tmp_path, modality, keep=Keep.ALL)
    assert [f.path for f in folder.fitting("set", modality, states=True)] == [of_all.path]
    assert len(folder.fitting("set", modality)) == 2


def test_rows_of_vectors_are_rows_of_any_cache(modality):
    own = rows(IDS, modality)
    alone = Rows.of_vectors(own.ids, own.digests, own.pooled, modality)
    assert alone.layers == 1
    assert Rows.joined([alone, alone]).pooled.shape == (18, WIDTH)
    assert (alone.checksums()[:, 0] == own.checksums()[:, 0]).all()


def test_a_fingerprint_without_states_is_read_from_its_line(modality):
    own = fingerprint(modality).without_states
    assert Fingerprint.from_json(own.to_json()) == own
