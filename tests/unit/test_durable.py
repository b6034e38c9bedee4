"""Writes that are whole or absent."""

import errno
import json
import os
from pathlib import Path

import pytest

from mvsa_pipe import durable
from mvsa_pipe.disk import make_folder
from mvsa_pipe.durable import leftovers, replacing, whole_folder, write_bytes, write_json
from mvsa_pipe.errors import DataError, StorageError


def test_writing_and_replacing(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "value.json"
    for value in ({"ü": [1, 2.5, None]}, "shorter"):
        write_json(path, value)
        assert json.loads(path.read_text(encoding="utf-8")) == value
        assert list(path.parent.iterdir()) == [path]
    write_bytes(path, memoryview(b"bytes"))
    assert path.read_bytes() == b"bytes"


@pytest.mark.parametrize("error", [DataError("no"), KeyboardInterrupt(), RuntimeError("no")])
def test_whatever_goes_wrong_the_old_file_stays(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "file"
    write_bytes(path, b"old")

    def spoil() -> None:
        with replacing(path) as temporary:
            temporary.write_bytes(b"half of the ne")
            raise error

    with pytest.raises(type(error)):
        spoil()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (errno.ENOSPC, "disk is full"),
        (errno.EDQUOT, "disk is full"),
        (errno.EFBIG, "ulimit -f"),
        (errno.EROFS, "cannot be written to"),
        (errno.EACCES, "cannot be written to"),
        (errno.EPERM, "cannot be written to"),
        (errno.ENOTDIR, "There is a file where a folder is needed"),
        (errno.EIO, "Reading or writing failed"),
    ],
)
@pytest.mark.parametrize("function", ["fsync", "open"])
def test_what_the_disk_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, says: str, function: str
) -> None:
    path = tmp_path / "file"
    write_bytes(path, b"old")

    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(durable.os, function, refuse)
    with pytest.raises(StorageError, match=says) as caught:
        write_bytes(path, b"new")
    monkeypatch.undo()
    assert str(path) in str(caught.value)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_in_a_folder_s_place(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="There is a file where a folder is needed"):
        make_folder(tmp_path / "file" / "below")
    with pytest.raises(StorageError, match="There is a file where a folder is needed"):
        make_folder(tmp_path / "file")
    (tmp_path / "folder").mkdir()
    with pytest.raises(StorageError, match="There is a file where a folder is needed"):
        write_bytes(tmp_path / "folder", b"")


def test_the_rename_comes_after_the_content_and_before_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Synced in another order, a power cut could leave an empty file under the right name."""
    steps: list[str] = []
    honest, rename = os.fsync, Path.replace
    monkeypatch.setattr(
        durable.os, "fsync", lambda fd: (steps.append(f"sync {_kind(fd)}"), honest(fd))[1]
    )
    monkeypatch.setattr(
        Path, "replace", lambda own, to: (steps.append("rename"), rename(own, to))[1]
    )
    write_bytes(tmp_path / "file", b"new")
    assert steps == ["sync file", "rename", "sync folder"]


def _kind(descriptor: int) -> str:
    return "folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file"  # noqa: PTH112


def test_leftovers(tmp_path: Path) -> None:
    stale = tmp_path / ".value.h5.123.tmp"
    for name in (stale.name, "value.h5", ".value.h5", ".value.h5x.1.tmp", "value.h5.1.tmp"):
        (tmp_path / name).touch()
    assert leftovers(tmp_path / "value.h5") == [stale]
    assert leftovers(tmp_path / "nowhere" / "value.h5") == []


def test_a_folder_appears_whole_and_open_to_others(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "folder"
    with whole_folder(path) as folder:
        (folder / "part").mkdir()
        (folder / "part" / "file").write_bytes(b"some")
        (folder / "part" / "file").chmod(0o600)
        assert not path.exists()
    assert (path / "part" / "file").read_bytes() == b"some"
    assert [p.stat().st_mode & 0o777 for p in (path, path / "part" / "file")] == [0o755, 0o644]
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [DataError("no"), KeyboardInterrupt(), RuntimeError("no")])
def test_of_a_folder_that_goes_wrong_nothing_is_left(tmp_path: Path, error: BaseException) -> None:
    def spoil() -> None:
        with whole_folder(tmp_path / "folder") as folder:
            (folder / "file").write_bytes(b"half")
            raise error

    with pytest.raises(type(error)):
        spoil()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_takes_the_place_of_none(tmp_path: Path) -> None:
    path = tmp_path / "folder"

    def too_late() -> None:
        with whole_folder(path) as folder:
            (folder / "mine").write_bytes(b"mine")
            path.mkdir()
            (path / "theirs").write_bytes(b"theirs")

    with pytest.raises(FileExistsError):
        too_late()
    assert [p.name for p in tmp_path.rglob("*")] == ["folder", "theirs"]


@pytest.mark.parametrize("path", ["/", ".", ""])
def test_a_path_that_is_a_folder_by_its_form(path):
    with pytest.raises(StorageError, match="A folder is in the place"):
        write_bytes(Path(path), b"x")


def test_what_killed_writers_left_is_swept_and_what_is_written_now_is_not(tmp_path: Path) -> None:
    dead, young, other = (
        tmp_path / name for name in (".run.0123abcd.tmp", ".run.4567abcd.tmp", ".mine.0123abcd")
    )
    for folder in (dead, young, other):
        folder.mkdir()
        (folder / "config.json").touch()
    for folder in (dead, other):
        os.utime(folder, (0, 0))
    stale, fresh = tmp_path / ".file.1.tmp", tmp_path / ".file.2.tmp"
    for file in (stale, fresh):
        file.touch()
    os.utime(stale, (0, 0))
    with whole_folder(tmp_path / "first") as living:
        os.utime(living, (0, 0))
        with whole_folder(tmp_path / "second") as folder:
            (folder / "file").touch()
        assert living.is_dir()
        (living / "file").touch()
    write_bytes(tmp_path / "file", b"some")
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        [young.name, other.name, fresh.name, "file", "first", "second"]
    )
    assert [p.name for p in (tmp_path / "first").iterdir()] == ["file"]


def test_a_device_is_written_to_and_stays_one(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_bytes(pipe, b"some")
    assert os.read(reader, 9) == b"some"
    os.close(reader)
    assert pipe.is_fifo()
    assert list(tmp_path.iterdir()) == [pipe]
    write_bytes(Path(os.devnull), b"some")
    assert Path(os.devnull).is_char_device()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_device_that_is_full_is_one_clear_paragraph() -> None:
    with pytest.raises(StorageError, match="full"):
        write_bytes(Path("/dev/full"), b"some")
    assert Path("/dev/full").is_char_device()
