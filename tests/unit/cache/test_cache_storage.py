"""Disks that are full, limited, or not to be written."""

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from feature_caches import expected, features, fingerprint, rows, write_cache

from mvsa_pipe.cache import file_writing
from mvsa_pipe.cache.folder import CacheFolder
from mvsa_pipe.cache.reading import FeatureFile
from mvsa_pipe.cache.writer import open_writer
from mvsa_pipe.errors import StorageError

IDS = [str(n) for n in range(200)]

LIMITED = """
import resource, signal, sys
from pathlib import Path
from feature_caches import *
from mvsa_pipe.errors import StorageError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
limit = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
ids = [str(n) for n in range(200)]
try:
    with open_writer(CacheFolder(Path(sys.argv[1])), "set", fingerprint()) as writer:
        writer.commit(rows(ids[100:]))
        writer.finish(ids, {})
except StorageError as error:
    print(error)
"""


@pytest.mark.parametrize("share", [0.02, 0.2, 0.4, 0.7, 0.99])
def test_a_file_size_limit(tmp_path: Path, share: float) -> None:
    """At any share of what the whole file will take: in a part, and in the whole."""
    limit = int(share * write_cache(tmp_path / "elsewhere", IDS).path.stat().st_size)
    old = write_cache(tmp_path, IDS[:100])
    command = [sys.executable, "-c", LIMITED, str(tmp_path), str(limit)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    # Python would keep the bytecode that it could not write completely, for all processes.
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stderr) == (0, "")  # no traceback of HDF5's, no crash at the end
    assert "`ulimit -f`" in done.stdout
    _nothing_was_lost(tmp_path, old)


def _extend(root: Path, *parts: list[str]) -> None:
    with open_writer(CacheFolder(root), "set", fingerprint()) as writer:
        for ids in parts:
            writer.commit(rows(ids))
        writer.finish(IDS, {})


def _nothing_was_lost(root: Path, old: FeatureFile) -> None:
    assert features(FeatureFile(old.path)) == expected(rows(IDS[:100]))
    assert not list(root.rglob("*.tmp"))
    with open_writer(CacheFolder(root), "set", fingerprint()) as writer:
        if len(writer.committed) == 100:
            writer.commit(rows(IDS[100:]))
        file = writer.finish(IDS, {})
    assert features(file) == expected(rows(IDS))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, with a megabyte for a start."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system is not permitted here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("pages", range(7))
def test_a_full_disk(small_disk: Path, pages: int) -> None:
    """With that many pages free: some have room for the part, none for the whole beside it."""
    old = write_cache(small_disk, IDS[:100])
    disk = os.statvfs(small_disk)
    size = (disk.f_blocks - disk.f_bfree + pages) * disk.f_frsize
    subprocess.run(["mount", "-o", f"remount,size={size}", str(small_disk)], check=True)
    with pytest.raises(StorageError, match=r"disk is full; nothing already committed was lost"):
        _extend(small_disk, IDS[100:])
    assert features(FeatureFile(old.path)) == expected(rows(IDS[:100]))
    assert not list(small_disk.rglob("*.tmp"))


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("function", ["posix_fallocate", "pwrite", "fsync", "ftruncate"])
@pytest.mark.parametrize("moment", [0, 1, 3])
def test_a_disk_that_fills_up_at_any_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, moment: int, code: int
) -> None:
    old = write_cache(tmp_path, IDS[:100])
    honest, calls = getattr(os, function), []

    def refuse(*arguments: object) -> object:
        calls.append(arguments)
        if len(calls) > moment:
            raise OSError(code, os.strerror(code))
        return honest(*arguments)

    monkeypatch.setattr(os, function, refuse)
    with pytest.raises(StorageError, match="disk is full"):
        _extend(tmp_path, IDS[100:130], IDS[130:160], IDS[160:])
    monkeypatch.undo()
    assert features(FeatureFile(old.path)) == expected(rows(IDS[:100]))
    with open_writer(CacheFolder(tmp_path), "set", fingerprint()) as writer:
        missing = [i for i in IDS if i not in writer.committed]
        if missing:
            writer.commit(rows(missing))
        assert features(writer.finish(IDS, {})) == expected(rows(IDS))
    assert not list(tmp_path.rglob("*.tmp"))


def test_file_systems_that_cannot_reserve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "not supported")

    monkeypatch.setattr(file_writing.os, "posix_fallocate", refuse)
    assert features(write_cache(tmp_path, IDS)) == expected(rows(IDS))


def test_a_folder_that_may_not_be_written(tmp_path: Path) -> None:
    """Root may write anywhere but where nobody may: chattr's immutable folders."""
    folder = tmp_path / "cache"
    old = write_cache(folder, IDS[:3])
    place = old.path.parent
    if os.geteuid() == 0:
        change = subprocess.run(["chattr", "+i", str(place)], capture_output=True, check=False)
        if change.returncode:
            pytest.skip("root writes everywhere, and chattr does not work here")
    else:
        place.chmod(0o555)
    try:
        assert len(features(FeatureFile(old.path))) == 3
        with (
            pytest.raises(StorageError, match=r"cannot be written to.*pass another --cache"),
            open_writer(CacheFolder(folder), "set", fingerprint()) as writer,
        ):
            writer.commit(rows(["new"]))
        with pytest.raises(StorageError, match="cannot be written to"):
            CacheFolder(folder).remove(old.path)
    finally:
        if os.geteuid() == 0:
            subprocess.run(["chattr", "-i", str(place)], check=True)
        place.chmod(0o755)


def test_a_file_in_the_cache_s_place(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with (
        pytest.raises(StorageError, match="There is a file where a folder is needed"),
        open_writer(CacheFolder(tmp_path / "cache"), "set", fingerprint()),
    ):
        pass
