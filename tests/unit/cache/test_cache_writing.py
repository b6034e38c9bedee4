"""What goes into a cache comes out of it, in whatever steps it went in."""

import shutil
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from feature_caches import expected, features, fingerprint, rows, write_cache

from mvsa_pipe.cache import row_joining
from mvsa_pipe.cache.content import Refusal, parts_folder
from mvsa_pipe.cache.fingerprint import StoredDtype
from mvsa_pipe.cache.folder import CacheFolder
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
    monkeypatch.setattr(row_joining, "JOIN_BYTES", 40)
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
        with pytest.raises(CacheError, match=r"not finite in float32.*NaN or infinite"):
            writer.commit(wider)


def test_notes_of_any_length(tmp_path: Path) -> None:
    """More than the 64 kB that an HDF5 attribute can hold."""
    skipped = {f"post-{n}": "A picture is cut short or damaged" for n in range(3000)}
    path = write_cache(tmp_path, ["a"], skipped=skipped, word="ünï ×").path
    assert FeatureFile(path).header.notes == {"skipped": skipped, "word": "ünï ×"}


def test_the_quarantines_of_parts_are_joined_by_post(tmp_path: Path) -> None:
    x, old, new = Refusal("x", "1", "why"), Refusal("y", "2", "why"), Refusal("y", "3", "ünï")
    with open_writer(CacheFolder(tmp_path), "set", fingerprint()) as writer:
        writer.commit(rows(["a"]), quarantine=[x, old])
        writer.commit(rows(["b"]), quarantine=[new])
    with open_writer(CacheFolder(tmp_path), "set", fingerprint()) as writer:
        assert writer.quarantine == {"x": x, "y": new}
        writer.commit(rows(["x"]))
        assert writer.quarantine == {"y": new}
        file = writer.finish(["a", "b"], {}, writer.quarantine.values())
    assert FeatureFile(file.path).header.quarantine == (new,)


def test_a_quarantine_is_in_the_order_of_the_posts(tmp_path: Path) -> None:
    refused = [Refusal(post_id, "1", "why") for post_id in ("z", "c", "y", "a")]
    with open_writer(CacheFolder(tmp_path), "set", fingerprint()) as writer:
        writer.commit(rows(["b"]))
        file = writer.finish(["a", "b", "c"], {}, refused)
    assert [row.id for row in file.header.quarantine] == ["a", "c", "y", "z"]


def test_of_a_post_in_several_parts_the_last_counts(tmp_path: Path) -> None:
    first, second = rows(list("ab")), rows(list("bc"), version="second")
    with open_writer(CacheFolder(tmp_path), "set", fingerprint()) as writer:
        writer.commit(first)
        writer.commit(second)
        file = writer.finish(list("abc"), {})
    assert features(file) == expected(first) | expected(second)


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


def test_a_finished_cache_whose_parts_were_not_yet_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between the rename of the file and the removal of its parts."""
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda *_, **__: None)
        file = write_cache(tmp_path, ["a", "b"])
    assert parts_folder(file.path).exists()
    with open_writer(CacheFolder(tmp_path), "set", fingerprint()) as writer:
        assert not writer.unfinished
        assert not parts_folder(file.path).exists()
        writer.commit(rows(["c"]))
        assert features(writer.finish(list("abc"), {})) == expected(rows(list("abc")))


@pytest.mark.parametrize("removed", [0, 1])
def test_a_kill_while_parts_are_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, removed: int
) -> None:
    """What is finished is found finished, and no older version of a post comes back."""
    for version in ("first", "second"):
        with open_writer(CacheFolder(tmp_path), "set", fingerprint()) as writer:
            writer.commit(rows(["a", "b"], version=version))

    unlink, gone = Path.unlink, []

    def killed(path: Path, missing_ok: bool = False) -> None:
        if path.name.startswith("part-"):
            if len(gone) == removed:
                raise KeyboardInterrupt
            gone.append(path.name)
        unlink(path, missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", killed)
        with (
            pytest.raises(KeyboardInterrupt),
            open_writer(CacheFolder(tmp_path), "set", fingerprint()) as writer,
        ):
            writer.finish(["a", "b"], {})
    assert len(list(tmp_path.rglob("part-*.h5"))) == 2 - removed
    with open_writer(CacheFolder(tmp_path), "set", fingerprint()) as writer:
        assert not writer.unfinished
        assert writer.committed == {i: f"second-{i}" for i in "ab"}
    assert not list(tmp_path.rglob("part-*.h5"))
    (entry,) = CacheFolder(tmp_path).entries()
    assert entry.file is not None
    assert features(entry.file) == expected(rows(["a", "b"], version="second"))


def test_a_part_that_was_never_entered_was_never_committed(tmp_path: Path) -> None:
    """Killed between the rename of a part and its line in the manifest."""
    with open_writer(CacheFolder(tmp_path), "set", fingerprint()) as writer:
        writer.commit(rows(["a"]))
        writer.write_part("part-000001.h5", [rows(["b"])])
    with open_writer(CacheFolder(tmp_path), "set", fingerprint()) as writer:
        assert list(writer.committed) == ["a"]
        assert [p.name for p in parts_folder(writer.path).glob("part*")] == ["part-000000.h5"]


def test_halves_of_parts_are_swept_from_a_cache_that_stays_in_parts(tmp_path: Path) -> None:
    """Killed while a part was being written."""
    with open_writer(CacheFolder(tmp_path), "set", fingerprint()) as writer:
        writer.commit(rows(["a"]))
        file = writer.finish([], {}, join_below_bytes=0)
    half = parts_folder(file.path) / ".part-000001.h5.4242.tmp"
    half.write_bytes(b"half a part")
    with open_writer(CacheFolder(tmp_path), "set", fingerprint()) as writer:
        assert list(writer.committed) == ["a"]
    assert not half.exists()


@pytest.mark.parametrize("cut", [1, 20, 80])
def test_a_line_of_the_manifest_that_a_kill_cut_short(tmp_path: Path, cut: int) -> None:
    with open_writer(CacheFolder(tmp_path), "set", fingerprint()) as writer:
        writer.commit(rows(["a"]))
        writer.commit(rows(["b"]))
        manifest = parts_folder(writer.path) / "manifest.jsonl"
    manifest.write_bytes(manifest.read_bytes()[:-cut])
    with open_writer(CacheFolder(tmp_path), "set", fingerprint()) as writer:
        assert list(writer.committed) == ["a"]
        writer.commit(rows(["b"], version="second"))
    with open_writer(CacheFolder(tmp_path), "set", fingerprint()) as writer:
        assert writer.committed == {"a": "first-a", "b": "second-b"}


def test_a_manifest_changed_in_the_middle(tmp_path: Path) -> None:
    with open_writer(CacheFolder(tmp_path), "set", fingerprint()) as writer:
        writer.commit(rows(["a"]))
        writer.commit(rows(["b"]))
        manifest = parts_folder(writer.path) / "manifest.jsonl"
    data = bytearray(manifest.read_bytes())
    data[12] ^= 1
    manifest.write_bytes(data)
    with (
        pytest.raises(
            CacheError,
            match=r"(?s)list of this cache.s parts was changed.*mvsa cache repair.*rebuilds",
        ),
        open_writer(CacheFolder(tmp_path), "set", fingerprint()),
    ):
        pass


@pytest.mark.parametrize("join_below", [0, float("inf")])
@pytest.mark.parametrize("left", [None, b"", b"half a line"])
def test_a_lost_manifest_costs_no_part(
    tmp_path: Path, left: bytes | None, join_below: float
) -> None:
    """Neither of an extraction that was interrupted, nor of a cache that refers to its parts."""
    with open_writer(CacheFolder(tmp_path), "set", fingerprint()) as writer:
        writer.commit(rows(["a", "b"]))
        if not join_below:
            writer.finish(["a", "b"], {}, join_below_bytes=0)
        writer.commit(rows(["c"]))
        folder = parts_folder(writer.path)
    manifest = folder / "manifest.jsonl"
    manifest.unlink()
    if left is not None:
        manifest.write_bytes(left)
    with open_writer(CacheFolder(tmp_path), "set", fingerprint()) as writer:
        assert sorted(writer.committed) == ["a", "b", "c"]
        assert len(manifest.read_bytes().splitlines()) == 2
        file = writer.finish(list("abc"), {}, join_below_bytes=join_below)
    assert features(file) == expected(rows(list("abc")))


def test_a_lost_manifest_brings_back_no_part_that_is_damaged_or_of_another(tmp_path: Path) -> None:
    with open_writer(CacheFolder(tmp_path), "set", fingerprint()) as writer:
        for post_id in "abc":
            writer.commit(rows([post_id]))
        folder = parts_folder(writer.path)
    with open_writer(CacheFolder(tmp_path / "other"), "another", fingerprint()) as writer:
        writer.commit(rows(["z"]))
        stranger = parts_folder(writer.path) / "part-000000.h5"
    (folder / "manifest.jsonl").unlink()
    (folder / "part-000000.h5").write_bytes(stranger.read_bytes())
    damaged = bytearray((folder / "part-000001.h5").read_bytes())
    place = FeatureFile(folder / "part-000001.h5").place_of("hidden")
    damaged[place] ^= 1
    (folder / "part-000001.h5").write_bytes(damaged)
    with open_writer(CacheFolder(tmp_path), "set", fingerprint()) as writer:
        assert list(writer.committed) == ["c"]


def test_a_part_in_the_place_of_another(tmp_path: Path) -> None:
    with open_writer(CacheFolder(tmp_path), "set", fingerprint()) as writer:
        writer.commit(rows(["a"]))
        folder = parts_folder(writer.path)
    with open_writer(CacheFolder(tmp_path / "other"), "set", fingerprint()) as writer:
        writer.commit(rows(["b"]))
        other = parts_folder(writer.path)
    (folder / "part-000000.h5").write_bytes((other / "part-000000.h5").read_bytes())
    with (
        pytest.raises(CacheError, match="not the one that was committed"),
        open_writer(CacheFolder(tmp_path), "set", fingerprint()),
    ):
        pass


@pytest.mark.parametrize("modality", list(Modality))
def test_a_cache_above_the_limit_stays_in_parts_and_reads_alike(
    tmp_path: Path, modality: Modality
) -> None:
    own, folder = fingerprint(modality), CacheFolder(tmp_path)
    with open_writer(folder, "set", own) as writer:
        writer.commit(rows(list("abc"), modality))
        joined = writer.finish(list("abc"), {})
    with open_writer(folder, "set", own) as writer:
        writer.commit(rows(list("de"), modality))
        writer.commit(rows(["b"], modality, version="second"))
        file = writer.finish(list("abcde"), {"device": "cpu"}, join_below_bytes=0)
    wanted = expected(rows(list("acde"), modality)) | expected(
        rows(["b"], modality, version="second")
    )
    assert joined.path == file.path
    assert len(file.header.segments) == 3  # de, b, and a with c out of the joined file
    assert features(FeatureFile(file.path)) == wanted
    with h5py.File(file.path) as plain:  # a reader with HDF5 alone sees the same
        every = np.arange(len(file.header.ids))
        assert plain["pooled"][:].tobytes() == file.pooled(every).tobytes()
        assert plain["hidden"][:].tobytes() == file.hidden(every)[0].tobytes()
    with open_writer(folder, "set", own) as writer:
        assert not writer.unfinished
        writer.commit(rows(["a", "f"], modality, version="third"))
        again = writer.finish([], {}, join_below_bytes=0)
        wanted |= expected(rows(["a", "f"], modality, version="third"))
        assert features(again) == wanted
        assert [s.rows for s in again.header.segments] == [2, 1, 1, 2]  # c alone of its part
    with open_writer(folder, "set", own) as writer:
        back = writer.finish(list("abcdef"), {})
    assert back.header.ids == tuple("abcdef")
    assert features(back) == wanted
    assert not parts_folder(back.path).exists()


def test_parts_that_a_cache_refers_to_cannot_go_unnoticed(tmp_path: Path) -> None:
    with open_writer(CacheFolder(tmp_path), "set", fingerprint()) as writer:
        writer.commit(rows(list("ab")))
        writer.commit(rows(list("cd")))
        file = writer.finish([], {}, join_below_bytes=0)
    part = parts_folder(file.path) / "part-000001.h5"
    data = part.read_bytes()
    part.write_bytes(data + b"more")
    with pytest.raises(CacheError, match="another size"):
        features(file)
    part.unlink()
    with pytest.raises(CacheError, match="a part of the cache, is missing"):
        features(file)
    flipped = bytearray(data)
    flipped[file._sources["pooled"][1].place] ^= 1
    part.write_bytes(flipped)
    assert file.damaged_posts() == ["c"]


def test_an_open_reader_never_mixes_two_files(tmp_path: Path) -> None:
    old = write_cache(tmp_path, ["a", "b"])
    with open_writer(CacheFolder(tmp_path), "set", fingerprint()) as writer:
        writer.commit(rows(["0", "1", "2"]))
        new = writer.finish(["0", "1", "2"], {})
    with pytest.raises(CacheError, match=r"replaced by a newer one.*run the same again"):
        old.pooled(np.array([0]))
    assert len(features(new)) == 5
