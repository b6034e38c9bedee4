"""Folders and archives: listed, read from threads, and refused when they are not safe."""

import os
import pickle
import struct
import tracemalloc
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mvsa_pipe.errors import DataError
from mvsa_pipe.posts.storage import zip_archive
from mvsa_pipe.posts.storage.base import FolderStorage
from mvsa_pipe.posts.storage.joined import JoinedStorage
from mvsa_pipe.posts.storage.zip_archive import ZipStorage


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
    joined = JoinedStorage(stored.root, {"a": stored})
    assert pickle.loads(pickle.dumps(joined)).read("a:list.txt") == b"one"


def test_a_relative_root_is_found_from_any_working_directory(tmp_path, monkeypatch):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "list.txt").write_bytes(b"one")
    monkeypatch.chdir(tmp_path)
    sent = pickle.dumps(FolderStorage(Path("set")))
    monkeypatch.chdir("/")
    assert pickle.loads(sent).read("list.txt") == b"one"


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


@pytest.mark.parametrize(
    "name",
    ["../evil.txt", "data/../../evil", "/etc/passwd", "C:\\b.txt", "..\\b.txt", "\\\\host\\b.txt"],
)
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


@pytest.mark.parametrize("kind", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_bomb_is_not_unpacked(tmp_path, kind):
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w", kind) as archive:
        archive.writestr("0.txt", bytes(10_001))
        archive.writestr("1.txt", b"ok")
    archive = ZipStorage(path)
    with pytest.raises(DataError, match="at most 10,000 bytes"):
        archive.read("0.txt", most=10_000)
    assert archive.read("0.txt", most=10_001) == bytes(10_001)
    assert archive.read("1.txt", most=10_000) == b"ok"


def test_what_is_packed_beyond_belief_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(zip_archive, "_SMALL_BYTES", 10_000)
    archive = ZipStorage(
        make_zip(tmp_path / "set.zip", {"t.csv": bytes(10**6), "s.csv": b"a" * 9000})
    )
    with pytest.raises(DataError, match="1,000,000 bytes, compressed to"):
        archive.read("t.csv", most=2**30)
    assert len(archive.read("s.csv", most=2**30)) == 9000


def understated(path: Path, n_bytes: int) -> Path:
    """A zip whose one member claims to hold a hundred bytes."""
    data = bytearray(make_zip(path, {"1.txt": bytes(n_bytes)}).read_bytes())
    for at in (22, data.index(b"PK\x01\x02") + 24):
        data[at : at + 4] = struct.pack("<I", 100)
    path.write_bytes(data)
    return path


def test_a_size_that_is_understated_bounds_what_is_unpacked(tmp_path):
    archive = ZipStorage(understated(tmp_path / "set.zip", 2**26))
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=r"1\.txt.*CRC"):
            archive.read("1.txt")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2**20


@pytest.mark.parametrize("kind", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_what_python_unpacks_without_a_limit_is_refused(tmp_path, kind):
    with zipfile.ZipFile(tmp_path / "set.zip", "w", kind) as archive:
        archive.writestr("1.txt", "x")
    with pytest.raises(DataError, match=r"1\.txt.*deflate"):
        ZipStorage(tmp_path / "set.zip").read("1.txt")


def test_files_that_share_packed_bytes_are_refused(tmp_path):
    path = make_zip(tmp_path / "set.zip", {"1.txt": bytes(5000), "2.txt": bytes(5000)})
    data = bytearray(path.read_bytes())
    second = data.index(b"PK\x01\x02", data.index(b"PK\x01\x02") + 4)
    data[second + 42 : second + 46] = struct.pack("<I", 0)
    path.write_bytes(data)
    with pytest.raises(DataError, match="overlap"):
        ZipStorage(path)


def test_backslashes_of_windows_separate_folders(tmp_path):
    archive = ZipStorage(make_zip(tmp_path / "set.zip", {"my\\": b"", "my\\a\\1.txt": b"x"}))
    assert list(archive.names()) == ["my/a/1.txt"]
    assert archive.read("my/a/1.txt") == b"x"


def test_a_name_is_held_twice_in_either_spelling(tmp_path):
    with pytest.raises(DataError, match="1 paths twice"):
        ZipStorage(make_zip(tmp_path / "set.zip", {"a/1.txt": b"", "a\\1.txt": b""}))


def zip_named(path: Path, raw: bytes) -> Path:
    """A zip whose member's name is in some encoding that is not recorded."""
    stand_in = "x" * len(raw)
    data = make_zip(path, {stand_in: b"x"}).read_bytes()
    path.write_bytes(data.replace(stand_in.encode(), raw))
    return path


def test_names_in_utf_8_are_read_also_without_the_mark(tmp_path):
    archive = ZipStorage(zip_named(tmp_path / "set.zip", "é/图.jpg".encode()))
    assert archive.has("é/图.jpg")
    assert archive.read("é/图.jpg") == b"x"


@pytest.mark.parametrize(
    ("name", "encoding"), [("图片/图.jpg", "gbk"), ("画像.jpg", "cp932"), ("été.jpg", "cp1252")]
)
def test_names_in_other_encodings_have_their_spellings(tmp_path, name, encoding):
    archive = ZipStorage(zip_named(tmp_path / "set.zip", name.encode(encoding)))
    (stored,) = archive.names()
    assert archive.spellings()[name] == stored
    assert archive.read(stored) == b"x"


def test_what_macos_packs_along_is_left_out(tmp_path):
    files = {"._1.txt": b"", "a/._1.txt": b"", "__MACOSX/a/1.txt": b"", "a/1.txt": b""}
    assert list(ZipStorage(make_zip(tmp_path / "set.zip", files)).names()) == ["a/1.txt"]
    (tmp_path / "set" / "__MACOSX").mkdir(parents=True)
    for name in ("._1.txt", "1.txt", "__MACOSX/2.txt"):
        (tmp_path / "set" / name).write_text("x")
    assert FolderStorage(tmp_path / "set").names() == ("1.txt",)


def test_a_link_in_a_zip_is_no_file(tmp_path):
    link = zipfile.ZipInfo("1.jpg")
    link.create_system, link.external_attr = 3, 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    assert not ZipStorage(tmp_path / "set.zip").has("1.jpg")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_named_pipe_is_no_file_and_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "1.jpg")
    (tmp_path / "2.jpg").symlink_to("/dev/zero")
    folder = FolderStorage(tmp_path)
    assert folder.names() == ()
    for name in ("1.jpg", "2.jpg"):
        assert not folder.has(name)
        with pytest.raises(DataError, match="not a regular file"):
            folder.read(name)


def test_a_file_too_large_for_what_it_is_read_as_is_refused(tmp_path):
    (tmp_path / "1.txt").write_bytes(bytes(1001))
    folder = FolderStorage(tmp_path)
    with pytest.raises(DataError, match=r"1\.txt.*at most 1,000 bytes.*1,001 bytes"):
        folder.read("1.txt", most=1000)
    assert folder.read("1.txt", most=1001) == bytes(1001)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no files without a size here")
def test_a_file_that_does_not_tell_its_size_is_read_within_bounds():
    folder = FolderStorage(Path("/proc/self"))
    assert folder.read("status").startswith(b"Name:")
    with pytest.raises(DataError, match="more than 10 bytes"):
        folder.read("status", most=10)
