"""Folders and archives: listed, read from threads, and refused when they are not safe."""

import os
import pickle
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mvsa_pipe.errors import DataError
from mvsa_pipe.posts import storage
from mvsa_pipe.posts.storage import FolderStorage, ZipStorage


def make_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


FILES = {"list.txt": b"one", "data/1.jpg": bytes(range(256)) * 40, "data/deep/2.txt": b""}


@pytest.fixture(params=["folder", "zip"])
def stored(request, tmp_path):
    if request.param == "zip":
        return ZipStorage(make_zip(tmp_path / "set.zip", FILES))
    for name, data in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    return FolderStorage(tmp_path)


def test_names_sizes_and_bytes(stored):
    assert sorted(stored.names()) == sorted(FILES)
    assert {name: stored.read(name) for name in FILES} == FILES
    assert {name: stored.size(name) for name in FILES} == {n: len(d) for n, d in FILES.items()}
    assert stored.has("data/1.jpg")
    assert not stored.has("data/9.jpg")
    assert not stored.has("data")


@pytest.mark.parametrize("method", ["read", "size"])
def test_a_file_that_is_not_there_is_named(stored, method):
    with pytest.raises(DataError, match=r"data/9\.jpg"):
        getattr(stored, method)("data/9.jpg")


def test_threads_read_the_same_bytes(stored):
    names = list(FILES) * 100
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(stored.read, names)) == [FILES[name] for name in names]


def test_a_worker_process_gets_its_own_storage(stored):
    assert pickle.loads(pickle.dumps(stored)).read("list.txt") == b"one"


@pytest.mark.parametrize("name", ["no\0file", "x" * 5000])
def test_an_impossible_name_is_no_file(stored, name):
    assert not stored.has(name)


def test_links_are_followed_once_and_hidden_folders_are_not_listed(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "1.txt").write_text("x")
    (tmp_path / "set" / ".git").mkdir(parents=True)
    (tmp_path / "set" / ".git" / "config").write_text("x")
    (tmp_path / "set" / "data").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "loop").symlink_to(tmp_path / "set")
    assert FolderStorage(tmp_path / "set").names() == ("data/1.txt",)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_listed_is_an_error(tmp_path):
    (tmp_path / "closed").mkdir(mode=0)
    with pytest.raises(DataError, match="cannot be listed"):
        FolderStorage(tmp_path).names()


def test_a_zip_cut_short_is_refused(tmp_path):
    whole = make_zip(tmp_path / "set.zip", FILES).read_bytes()
    for length in (0, 10, len(whole) // 2, len(whole) - 1):
        (tmp_path / "cut.zip").write_bytes(whole[:length])
        with pytest.raises(DataError, match="may be cut short"):
            ZipStorage(tmp_path / "cut.zip")


@pytest.mark.parametrize("name", ["../evil.txt", "data/../../evil", "/etc/passwd", "a\\b.txt"])
def test_a_path_that_leaves_the_archive_is_refused(tmp_path, name):
    with pytest.raises(DataError, match="leads out of it"):
        ZipStorage(make_zip(tmp_path / "set.zip", {"fine.txt": b"", name: b""}))


def test_two_dots_in_a_name_are_no_path_out(tmp_path):
    assert ZipStorage(make_zip(tmp_path / "set.zip", {"a..b/..c.txt": b"x"})).read("a..b/..c.txt")


def test_a_path_held_twice_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr("1.txt", "a")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("1.txt", "b")
    with pytest.raises(DataError, match=r"1 paths twice.*1\.txt"):
        ZipStorage(tmp_path / "set.zip")


def test_a_flipped_byte_is_found_by_the_checksum(tmp_path):
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("1.txt", "payload-payload")
    data = path.read_bytes()
    path.write_bytes(data.replace(b"payload-payload", b"payload-paylosd"))
    with pytest.raises(DataError, match=r"set\.zip/1\.txt"):
        ZipStorage(path).read("1.txt")


def test_broken_compressed_bytes_are_an_error_with_a_name(tmp_path):
    path = make_zip(tmp_path / "set.zip", {"1.bin": bytes(range(256)) * 50})
    data = bytearray(path.read_bytes())
    data[40:60] = b"\xff" * 20
    path.write_bytes(data)
    with pytest.raises(DataError, match="cannot be read"):
        ZipStorage(path).read("1.bin")


def test_an_encrypted_entry_is_an_error_with_a_name(tmp_path):
    path = make_zip(tmp_path / "set.zip", {"1.txt": b"secret"})
    data = bytearray(path.read_bytes())
    # Bit 0 of the flags, in the local header and in the directory.
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"1\.txt.*encrypted"):
        ZipStorage(path).read("1.txt")


def test_a_zip_bomb_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "MAX_ENTRY_BYTES", 10_000)
    archive = ZipStorage(make_zip(tmp_path / "set.zip", {"0.txt": bytes(10_001), "1.txt": b"ok"}))
    with pytest.raises(DataError, match="at most 10,000 bytes"):
        archive.read("0.txt")
    assert archive.read("1.txt") == b"ok"
