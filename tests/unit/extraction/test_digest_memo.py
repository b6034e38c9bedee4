"""A remembered digest holds as long as the file is the same, whatever its time stamps claim."""

import hashlib
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from mvsa_pipe import file_stamps
from mvsa_pipe.errors import DataError
from mvsa_pipe.posts.digest_memo import DigestMemory
from mvsa_pipe.posts.storage.base import FolderStorage, Storage
from mvsa_pipe.posts.storage.zip_archive import ZipStorage


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(file_stamps, "SETTLED_SECONDS", -60.0)  # files here are seconds old
    (tmp_path / "posts").mkdir()
    for name in "ab":
        (tmp_path / "posts" / name).write_bytes(f"picture {name}".encode())
    return tmp_path / "posts"


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def known(folder: Path, memory: Path) -> Callable[[], str | None]:
    """What is remembered of ``a``, which was learned before."""
    learn(FolderStorage(folder), memory, "a", "b")
    return lambda: DigestMemory(FolderStorage(folder), memory).recall("a")


def learn(storage: Storage, memory: Path | None, *names: str) -> None:
    own = DigestMemory(storage, memory)
    for name in names:
        assert own.learn(name, digest) == digest(storage.read(name))
    own.keep()


def test_it_is_remembered(folder: Path, memory: Path, known: Callable[[], str | None]) -> None:
    assert known() == digest(b"picture a")
    other = DigestMemory(FolderStorage(folder), memory)
    assert other.recall("b") == digest(b"picture b")
    assert other.recall("never seen") is None


def test_only_where_it_may(folder: Path, tmp_path: Path) -> None:
    learn(FolderStorage(folder), None, "a")
    assert [path.name for path in tmp_path.iterdir()] == ["posts"]


@pytest.mark.parametrize("how", ["written into", "replaced", "replaced by a copy of that time"])
def test_another_content_of_the_same_size_with_its_time_put_back(
    folder: Path, how: str, known: Callable[[], str | None]
) -> None:
    path = folder / "a"
    before = path.stat()
    if how == "written into":
        path.write_bytes(b"picture X")
    else:
        other = folder / "other"
        other.write_bytes(b"picture X")
        os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
        other.replace(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert known() is None


def test_a_file_that_is_gone(folder: Path, known: Callable[[], str | None]) -> None:
    (folder / "a").unlink()
    assert known() is None


def test_a_young_file_is_not_remembered(
    folder: Path, memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It could change again within its time stamp's grain."""
    monkeypatch.setattr(file_stamps, "SETTLED_SECONDS", 60.0)
    learn(FolderStorage(folder), memory, "a")
    assert not memory.exists()


def test_what_cannot_be_read_is_not_remembered(folder: Path, memory: Path) -> None:
    own = DigestMemory(FolderStorage(folder), memory)
    with pytest.raises(DataError):
        own.learn("nothing", digest)
    own.keep()
    assert not memory.exists()


@pytest.mark.parametrize(
    "spoil",
    ["", "{", "[]", "null", "3", '{"a": 3}', '{"a": []}', '{"a": {}}', '{"a": null}', "\0\xff",
     '{"a": [1]}', "[" * 100_000, '{"a": ["x", 1, 2, 3, 4, 5]}'],
)  # fmt: skip
def test_a_damaged_memory_is_none(
    folder: Path, memory: Path, known: Callable[[], str | None], spoil: str
) -> None:
    (path,) = (memory / ".digests").iterdir()
    path.write_bytes(spoil.encode("latin-1"))
    assert known() is None
    learn(FolderStorage(folder), memory, "a")
    assert known() == digest(b"picture a")


def test_a_place_that_cannot_hold_it(folder: Path, memory: Path) -> None:
    memory.mkdir()
    (memory / ".digests").write_text("a file")
    learn(FolderStorage(folder), memory, "a")
    assert DigestMemory(FolderStorage(folder), memory).recall("a") is None


def test_an_archive(folder: Path, memory: Path) -> None:
    path = folder.with_suffix(".zip")

    def pack(content: bytes) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            for name in ("a", "b"):
                archive.writestr(zipfile.ZipInfo(name), content)

    pack(b"picture a")
    before = path.stat()
    learn(ZipStorage(path), memory, "a")
    assert DigestMemory(ZipStorage(path), memory).recall("a") == digest(b"picture a")
    assert DigestMemory(ZipStorage(path), memory).recall("b") is None
    pack(b"picture X")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    assert DigestMemory(ZipStorage(path), memory).recall("a") is None


def test_two_data_sets_with_equal_names(folder: Path, memory: Path, tmp_path: Path) -> None:
    learn(FolderStorage(folder), memory, "a")
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "a").write_bytes(b"others' a")
    assert DigestMemory(FolderStorage(tmp_path / "others"), memory).recall("a") is None
