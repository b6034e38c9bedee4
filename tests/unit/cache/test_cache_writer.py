"""Parts, resuming, adding and joining: what was committed is never lost, mixed up or stale."""

import errno
import os
from dataclasses import replace

import numpy as np
import pytest
from cache_support import IMAGE, TEXT, rows_of, values_of

from mvsa_pipe.cache.content import parts_folder
from mvsa_pipe.cache.fingerprint import StoredDtype
from mvsa_pipe.cache.folder import CacheFolder
from mvsa_pipe.cache.reading import FeatureFile
from mvsa_pipe.cache.writer import open_writer
from mvsa_pipe.errors import CacheError, StorageError
from mvsa_pipe.modality import Modality

IDS = [f"post-{n}" for n in range(12)]


def fill(folder, fingerprint, parts, order=IDS):
    with open_writer(CacheFolder(folder), "set", fingerprint) as writer:
        for part in parts:
            writer.commit(rows_of(part, fingerprint))
        return writer.finish(order, {})


@pytest.mark.parametrize("fingerprint", [TEXT, IMAGE], ids=["text", "image"])
def test_parts_in_any_order_join_in_the_order_asked_for(tmp_path, fingerprint):
    joined = fill(tmp_path, fingerprint, [IDS[7:], IDS[3:7], IDS[:3]])
    assert joined.header.ids == tuple(IDS)
    whole = fill(tmp_path / "other", fingerprint, [IDS])
    assert values_of(joined) == values_of(whole)
    assert not parts_folder(joined.path).exists()


@pytest.mark.parametrize("committed", range(4))
def test_an_interrupted_writer_goes_on_after_any_part(tmp_path, committed):
    parts = [IDS[:4], IDS[4:8], IDS[8:]]
    with open_writer(CacheFolder(tmp_path), "set", TEXT) as first:
        for part in parts[:committed]:
            first.commit(rows_of(part))  # and never finished
    with open_writer(CacheFolder(tmp_path), "set", TEXT) as second:
        assert set(second.committed) == {i for part in parts[:committed] for i in part}
        for part in parts[committed:]:
            second.commit(rows_of(part))
        resumed = second.finish(IDS, {})
    assert values_of(resumed) == values_of(fill(tmp_path / "whole", TEXT, parts))


def test_added_posts_join_those_that_were_there(tmp_path):
    fill(tmp_path, IMAGE, [IDS[:5]])
    with open_writer(CacheFolder(tmp_path), "set", IMAGE) as writer:
        assert set(writer.committed) == set(IDS[:5])
        writer.commit(rows_of(IDS[5:], IMAGE))
        file = writer.finish(IDS, {})
    assert values_of(file) == values_of(fill(tmp_path / "whole", IMAGE, [IDS]))


def test_changed_posts_replace_their_old_features(tmp_path):
    fill(tmp_path, TEXT, [IDS])
    with open_writer(CacheFolder(tmp_path), "set", TEXT) as writer:
        writer.commit(rows_of(IDS[2:4], salt=" edited"))
        file = writer.finish(IDS, {})
    digests = dict(zip(file.header.ids, file.header.digests, strict=True))
    assert digests["post-2"] == "digest of post-2 edited"
    assert digests["post-4"] == "digest of post-4"
    fresh = rows_of(["post-2"], salt=" edited").pooled
    assert (file.pooled(np.array([2])) == fresh).all()


def test_a_second_writer_is_refused_while_the_first_writes(tmp_path):
    folder = CacheFolder(tmp_path)
    with (
        open_writer(folder, "set", TEXT),
        pytest.raises(CacheError, match=f"process {os.getpid()}"),
        open_writer(folder, "set", TEXT),
    ):
        pass
    with open_writer(folder, "set", TEXT) as later:
        assert later.committed == {}


@pytest.mark.parametrize(
    "field",
    [
        {"weights": "w1"},
        {"pooling": "cls"},
        {"precision": "bfloat16"},
        {"dtype": StoredDtype.FLOAT32},
        {"layers": "last4"},
        {"preprocessing": {"max_tokens": 32, "tokenizer": "t0"}},
    ],
    ids=lambda field: next(iter(field)),
)
def test_other_settings_never_reuse_a_cache(tmp_path, field):
    mine = fill(tmp_path, TEXT, [IDS])
    other = replace(TEXT, **field)
    assert CacheFolder(tmp_path).path_of("set", other) != mine.path
    with pytest.raises(CacheError) as refusal:
        other.require(mine.header.fingerprint, mine.path)
    message = str(refusal.value)
    assert next(iter(field)) in message
    assert "mvsa extract --backbone tiny-text" in message


def test_a_renamed_file_is_not_taken_for_another_fingerprint(tmp_path):
    mine = fill(tmp_path, TEXT, [IDS])
    other = replace(TEXT, weights="w1")
    mine.path.rename(CacheFolder(tmp_path).path_of("set", other))
    with (
        pytest.raises(CacheError, match="weights"),
        open_writer(CacheFolder(tmp_path), "set", other),
    ):
        pass


def test_numbers_beyond_half_precision_are_refused(tmp_path):
    rows = rows_of(IDS)
    rows.pooled[3, 2] = np.inf
    with (
        open_writer(CacheFolder(tmp_path), "set", TEXT) as writer,
        pytest.raises(CacheError, match="--dtype float32"),
    ):
        writer.commit(rows)


def test_a_full_disk_loses_nothing(tmp_path, monkeypatch):
    old = fill(tmp_path, TEXT, [IDS[:4]])
    before = old.path.read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with open_writer(CacheFolder(tmp_path), "set", TEXT) as writer:
        writer.commit(rows_of(IDS[4:8]))
        with monkeypatch.context() as patch:
            patch.setattr(os, "pwrite", full)
            with pytest.raises(StorageError, match="disk is full"):
                writer.commit(rows_of(IDS[8:]))
            with pytest.raises(StorageError, match="disk is full"):
                writer.finish(IDS, {})
    assert old.path.read_bytes() == before
    with open_writer(CacheFolder(tmp_path), "set", TEXT) as writer:
        assert set(writer.committed) == set(IDS[:8])
        writer.commit(rows_of(IDS[8:]))
        file = writer.finish(IDS, {})
    assert values_of(file) == values_of(fill(tmp_path / "whole", TEXT, [IDS]))


def test_the_newest_fitting_cache_is_taken_and_others_by_name(tmp_path):
    fill(tmp_path, TEXT, [IDS])
    other = replace(TEXT, backbone="bert")
    newest = fill(tmp_path, other, [IDS])
    os.utime(newest.path, (2e9, 2e9))
    folder = CacheFolder(tmp_path)
    assert folder.fitting("set", Modality.TEXT)[0].path == newest.path
    named = folder.fitting("set", Modality.TEXT, f"tiny-text@{TEXT.digest[:6]}")[0]
    assert named.header.fingerprint == TEXT
    with pytest.raises(CacheError, match="bert"):
        folder.fitting("set", Modality.TEXT, "roberta")
    assert isinstance(FeatureFile(newest.path), FeatureFile)
