"""One writer at a time, and none that a dead process keeps out."""

import fcntl
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from feature_caches import fingerprint, rows, write_cache

from mvsa_pipe.cache.folder import CacheFolder
from mvsa_pipe.cache.writer import open_writer
from mvsa_pipe.errors import CacheError
from mvsa_pipe.locks import exclusive, lock_file

HOLD = """
import sys, time
from pathlib import Path
from mvsa_pipe.locks import exclusive
with exclusive(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_writer_is_refused_until_the_first_is_dead(tmp_path: Path) -> None:
    folder = CacheFolder(tmp_path)
    path = folder.path_of("set", fingerprint())
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        refused = pytest.raises(CacheError, match=f"Another process.*process {holder.pid}")
        with refused, open_writer(folder, "set", fingerprint()):
            pass
        with refused:
            folder.remove(path)
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with open_writer(folder, "set", fingerprint()) as writer:
        writer.commit(rows(["a"]))


def test_an_error_under_the_lock_passes_through_and_frees_it(tmp_path: Path) -> None:
    path = tmp_path / "set" / "a.h5"
    with pytest.raises(OSError, match="not the disk's"), exclusive(path):
        raise OSError("not the disk's")
    with exclusive(path):
        pass


def test_a_lock_file_that_is_removed_while_it_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between our opening and our locking, who held it removes the cache with its lock."""
    path = write_cache(tmp_path, ["a"]).path
    honest, calls = fcntl.flock, []

    def flock(file: int, how: int) -> None:
        if not calls:
            lock_file(path).unlink()
        calls.append(how)
        honest(file, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    with exclusive(path):
        assert len(calls) > 1
        with pytest.raises(CacheError, match="Another process"), exclusive(path):
            pass


def test_a_lock_file_of_an_unknown_holder(tmp_path: Path) -> None:
    path = write_cache(tmp_path, ["a"]).path
    with exclusive(path):
        lock_file(path).write_bytes(b"\xff" * 10_000)
        with pytest.raises(CacheError, match="Another process") as caught, exclusive(path):
            pass
    assert len(str(caught.value)) < 1000
