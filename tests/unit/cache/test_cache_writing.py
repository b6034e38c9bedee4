"""What goes into a cache comes out of it, in whatever steps it went in."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from feature_caches import expected, features, fingerprint, rows, write_cache

from mvsa_pipe.cache import writer as writer_module
from mvsa_pipe.cache.fingerprint import StoredDtype
from mvsa_pipe.cache.folder import CacheFolder, parts_folder
from mvsa_pipe.cache.reading import FeatureFile
from mvsa_pipe.cache.writer import open_writer
from mvsa_pipe.errors import CacheError
from mvsa_pipe.modality import Modality

IDS = ["7", "post-2", "ünï/×", "", "a b", "x" * 300]


@pytest.mark.parametrize("dtype", list(StoredDtype))
@pytest.mark.parametrize("modality", list(Modality))
def test_round_trip(tmp_path: Path, modality: Modality, dtype: StoredDtype) -> None:
    wanted = rows(IDS, modality, dtype=dtype.value)
    own = fingerprint(modality, dtype=dtype)
    with open_writer(CacheFolder(tmp_path), "set", own) as writer:
        writer.commit(wanted)
        written = writer.finish(IDS, {"device": "cpu"})
    file = FeatureFile(written.path)
    assert features(file) == expected(wanted)
    assert file.header.fingerprint == own
    assert file.header.ids == tuple(IDS)
    assert file.header.notes == {"device": "cpu"}
    assert file.header.payload_bytes == wanted.pooled.nbytes + wanted.hidden.nbytes
    assert file.damaged_posts() == []
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == sorted(
        [file.path.name, f".{file.path.stem}.lock"]
    )


def test_parts_are_kept_without_finishing_and_joined_at_last(tmp_path: Path) -> None:
    folder = CacheFolder(tmp_path)
    for ids in (["a", "b"], ["c"], ["d", "e", "f"]):
        with open_writer(folder, "set", fingerprint()) as writer:
            writer.commit(rows(ids))
            assert writer.unfinished
    with open_writer(folder, "set", fingerprint()) as writer:
        assert list(writer.committed) == list("abcdef")
        assert not writer.path.exists()
        (entry,) = folder.entries()
        assert (entry.file, entry.parts) == (None, 3)
        file = writer.finish(["f", "a", "not there"], {})
    assert file.header.ids == ("f", "a", "b", "c", "d", "e")
    assert features(file) == expected(rows(list("fabcde")))
    assert not parts_folder(file.path).exists()


def test_added_and_changed_posts(tmp_path: Path) -> None:
    write_cache(tmp_path, ["a", "b", "c"], written="first")
    with open_writer(CacheFolder(tmp_path), "set", fingerprint()) as writer:
        assert writer.committed == {i: f"first-{i}" for i in "abc"}
        assert not writer.unfinished
        writer.commit(rows(["d"]))
        writer.commit(rows(["b"], version="second"))
        assert writer.committed["b"] == "second-b"
        file = writer.finish(list("abcd"), {"device": "cpu"})
    wanted = expected(rows(list("acd"))) | expected(rows(["b"], version="second"))
    assert features(file) == wanted
    assert file.header.notes == {"written": "first", "device": "cpu"}


def test_posts_that_left_the_data_set_stay(tmp_path: Path) -> None:
    write_cache(tmp_path, ["a", "b", "c"])
    with open_writer(CacheFolder(tmp_path), "set", fingerprint()) as writer:
        writer.commit(rows(["d"]))
        assert writer.finish(["d", "b"], {}).header.ids == ("d", "b", "a", "c")


@pytest.mark.parametrize("modality", list(Modality))
def test_joining_in_small_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, modality: Modality
) -> None:
    monkeypatch.setattr(writer_module, "PART_BYTES", 40)
    ids = [str(n) for n in range(30)]
    with open_writer(CacheFolder(tmp_path), "set", fingerprint(modality)) as writer:
        for start in range(0, 30, 7):
            writer.commit(rows(ids[start : start + 7], modality))
        file = writer.finish(ids[::-1], {})
    assert file.header.ids == tuple(ids[::-1])
    assert features(file) == expected(rows(ids, modality))


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("where", ["pooled", "hidden"])
def test_numbers_that_are_none(tmp_path: Path, where: str, value: float) -> None:
    bad = rows(["a", "b"])
    getattr(bad, where)[1, 2] = value
    with open_writer(CacheFolder(tmp_path), "set", fingerprint()) as writer:
        with pytest.raises(CacheError, match=r"not finite in float16.*--dtype float32"):
            writer.commit(bad)
        assert writer.committed == {}
    wide = fingerprint(dtype=StoredDtype.FLOAT32)
    with open_writer(CacheFolder(tmp_path), "set", wide) as writer:
        wider = replace(bad, pooled=bad.pooled.astype("f4"), hidden=bad.hidden.astype("f4"))
        with pytest.raises(CacheError, match=r"not finite in float32.*check the weights"):
            writer.commit(wider)


def test_notes_of_any_length(tmp_path: Path) -> None:
    """More than the 64 kB that an HDF5 attribute can hold."""
    skipped = {f"post-{n}": "A picture is cut short or damaged" for n in range(3000)}
    path = write_cache(tmp_path, ["a"], skipped=skipped, word="ünï ×").path
    assert FeatureFile(path).header.notes == {"skipped": skipped, "word": "ünï ×"}


def test_notes_of_parts_are_joined_by_post(tmp_path: Path) -> None:
    with open_writer(CacheFolder(tmp_path), "set", fingerprint()) as writer:
        writer.commit(rows(["a"]), {"refused": {"x": "1", "y": "2"}})
        writer.commit(rows(["b"]), {"refused": {"y": "3"}})
    with open_writer(CacheFolder(tmp_path), "set", fingerprint()) as writer:
        assert writer.noted("refused") == {"x": "1", "y": "3"}
        assert writer.noted("skipped") == {}


def test_what_killed_writers_left_is_swept(tmp_path: Path) -> None:
    path = write_cache(tmp_path, ["a"]).path
    stale = path.with_name(f".{path.name}.4242.tmp")
    other = path.with_name(".other.h5.4242.tmp")
    for file in (stale, other):
        file.write_bytes(b"half a file")
    with open_writer(CacheFolder(tmp_path), "set", fingerprint()):
        pass
    assert not stale.exists()
    assert other.exists()


def test_a_finished_cache_whose_parts_were_not_yet_swept(tmp_path: Path) -> None:
    """Killed between the rename of the file and the removal of its parts."""
    with open_writer(CacheFolder(tmp_path), "set", fingerprint()) as writer:
        writer.commit(rows(["a", "b"]))
        part = next(parts_folder(writer.path).glob("part-*.h5")).read_bytes()
        file = writer.finish(["a", "b"], {})
    parts_folder(file.path).mkdir()
    (parts_folder(file.path) / "part-000000.h5").write_bytes(part)
    with open_writer(CacheFolder(tmp_path), "set", fingerprint()) as writer:
        assert writer.unfinished
        writer.commit(rows(["c"]))
        assert features(writer.finish(list("abc"), {})) == expected(rows(list("abc")))


def test_an_open_reader_never_mixes_two_files(tmp_path: Path) -> None:
    old = write_cache(tmp_path, ["a", "b"])
    with open_writer(CacheFolder(tmp_path), "set", fingerprint()) as writer:
        writer.commit(rows(["0", "1", "2"]))
        new = writer.finish(["0", "1", "2"], {})
    with pytest.raises(CacheError, match=r"replaced by a newer one.*run the same again"):
        old.pooled(np.array([0]))
    assert len(features(new)) == 5
