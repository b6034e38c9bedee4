"""Machine code kept between runs: whole or not at all, and never trusted when damaged."""

import os
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest

from mvsa_pipe.backbones import machine_code
from mvsa_pipe.backbones.machine_code import archive_of, kept

SOURCE = Path(__file__)


def doubled(values):
    for i in range(len(values)):
        values[i] *= 2


compiled = []


def compile_(cache):
    function = numba.njit([(numba.int64[::1],)], cache=cache)(doubled)
    compiled.append((sum(function.stats.cache_hits.values()), cache))
    return function


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    compiled.clear()
    return tmp_path / "home" / "mvsa-pipe"


def works(function):
    values = np.arange(3)
    function(values)
    assert values.tolist() == [0, 2, 4]


def test_what_was_compiled_is_loaded_by_the_next(folder):
    before = numba.config.CACHE_DIR
    works(kept(compile_, SOURCE))
    (archive,) = folder.iterdir()
    written = archive.stat().st_mtime_ns
    works(kept(compile_, SOURCE))
    assert compiled == [(0, True), (1, True)]
    assert archive.stat().st_mtime_ns == written
    assert archive == archive_of(SOURCE)
    assert before == numba.config.CACHE_DIR


@pytest.mark.parametrize("damage", ["cut", "flipped", "zeros", "empty", "prefix"])
def test_a_damaged_archive_is_compiled_anew_and_replaced(folder, damage):
    kept(compile_, SOURCE)
    (archive,) = folder.iterdir()
    whole = archive.read_bytes()
    middle = len(whole) // 2
    archive.write_bytes(
        {
            "cut": whole[:middle],
            "flipped": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
            "zeros": whole[:middle] + bytes(len(whole) - middle),
            "empty": b"",
            "prefix": b"\0" * 32 + whole[32:],
        }[damage]
    )
    works(kept(compile_, SOURCE))
    works(kept(compile_, SOURCE))
    assert compiled == [(0, True), (0, True), (1, True)]


@pytest.mark.usefixtures("folder")
def test_files_that_numba_does_not_understand_are_compiled_anew():
    kept(compile_, SOURCE)
    files = machine_code._unpacked(archive_of(SOURCE))
    (name,) = [name for name in files if name.endswith(".nbc")]
    archive_of(SOURCE).write_bytes(machine_code._packed({**files, name: b"no pickle"}))
    works(kept(compile_, SOURCE))
    works(kept(compile_, SOURCE))
    assert [hits for hits, _ in compiled] == [0, 0, 1]


def test_code_of_another_machine_is_not_taken(folder, monkeypatch):
    kept(compile_, SOURCE)
    monkeypatch.setattr(
        machine_code.llvmlite.binding, "get_host_cpu_name", lambda: "a processor of another kind"
    )
    works(kept(compile_, SOURCE))
    assert len(list(folder.iterdir())) == 2


def test_archives_of_long_ago_are_removed(folder):
    folder.mkdir(parents=True)
    names = ["test_machine_code-0000.zip", "test_machine_code-1111.zip", "other-0000.zip"]
    for name in names:
        (folder / name).write_bytes(b"")
    for name in (names[0], names[2]):
        os.utime(folder / name, (0, 0))
    kept(compile_, SOURCE)
    left = {path.name for path in folder.iterdir()}
    assert left == {names[1], names[2], archive_of(SOURCE).name}


def test_a_folder_that_cannot_be_made_costs_compiling(folder):
    folder.parent.write_text("a file in its place")
    works(kept(compile_, SOURCE))
    works(kept(compile_, SOURCE))
    assert compiled == [(0, True), (0, True)]
    assert folder.parent.read_text() == "a file in its place"


def test_without_any_folder_it_is_compiled_in_memory(folder, monkeypatch):
    def refuse(**_):
        raise FileNotFoundError("no usable temporary directory found")

    monkeypatch.setattr(machine_code, "TemporaryDirectory", refuse)
    works(kept(compile_, SOURCE))
    assert compiled == [(0, False)]
    assert not folder.exists()


@pytest.mark.usefixtures("folder")
def test_a_user_without_a_home(monkeypatch):
    def refuse():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(machine_code.Path, "home", refuse)
    assert archive_of(SOURCE) is None
    works(kept(compile_, SOURCE))


@pytest.mark.parametrize(
    ("platform", "variables", "wanted"),
    [
        ("linux", {}, "HOME/.cache/mvsa-pipe"),
        ("linux", {"XDG_CACHE_HOME": "relative"}, "HOME/.cache/mvsa-pipe"),
        ("linux", {"XDG_CACHE_HOME": "/elsewhere"}, "/elsewhere/mvsa-pipe"),
        ("darwin", {"XDG_CACHE_HOME": "/elsewhere"}, "HOME/Library/Caches/mvsa-pipe"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/mvsa-pipe"),
        ("linux", {"NUMBA_CACHE_DIR": "/chosen"}, "/chosen/mvsa-pipe"),
    ],
)
def test_where_it_is_kept(platform, variables, wanted, monkeypatch, tmp_path):
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA", "NUMBA_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(machine_code.Path, "home", lambda: tmp_path)
    assert archive_of(SOURCE).parent == Path(wanted.replace("HOME", str(tmp_path)))


@pytest.mark.usefixtures("folder")
def test_numba_that_does_not_compile_is_told(monkeypatch):
    monkeypatch.setattr(numba.config, "DISABLE_JIT", 1)
    with pytest.raises(RuntimeError, match="NUMBA_DISABLE_JIT"):
        kept(compile_, SOURCE)


SCRIPT = """
import sys
from pathlib import Path
import numba, numpy
from mvsa_pipe.backbones.machine_code import kept

def doubled(values):
    for i in range(len(values)):
        values[i] *= 2

print("ready", flush=True)
sys.stdin.readline()
types = [(numba.int64[::1],)]
function = kept(lambda cache: numba.njit(types, cache=cache)(doubled), Path(__file__))
values = numpy.arange(3)
function(values)
print(values.tolist())
"""


def test_processes_that_start_together_all_compile_or_load(tmp_path):
    """Two at once over one folder: each gets working code, and one whole archive is left."""
    (tmp_path / "script.py").write_text(SCRIPT, encoding="utf-8")
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "kept")}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    running = [
        subprocess.Popen([sys.executable, tmp_path / "script.py"], env=environment, **pipes)
        for _ in range(2)
    ]
    assert [process.stdout.readline() for process in running] == ["ready\n"] * 2
    assert [process.communicate("go\n")[0].strip() for process in running] == ["[0, 2, 4]"] * 2
    (archive,) = (tmp_path / "kept" / "mvsa-pipe").iterdir()
    assert machine_code._unpacked(archive)
