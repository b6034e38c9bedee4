"""The command line from outside: in this process for most, in one of its own where that matters."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from mvsa_pipe.cli.app import app

Mvsa = Callable[..., Result]


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """No colours, and no second thread that waits for whatever else the machine does."""
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.delenv("MVSA_DEBUG", raising=False)
    monkeypatch.setattr("mvsa_pipe.training.fitting.usable_cores", lambda: 1)


@pytest.fixture
def mvsa() -> Mvsa:
    """``mvsa`` with some arguments, in this process."""

    def run(*arguments: object) -> Result:
        words = [str(word) for word in arguments]
        return CliRunner().invoke(app, words, prog_name="mvsa", catch_exceptions=True)

    return run


@pytest.fixture
def refused(mvsa: Mvsa) -> Callable[..., str]:
    """``mvsa`` with arguments that it must refuse, losing nothing; returns its one paragraph."""

    def run(*arguments: object, keeps: bool = True) -> str:
        before = files_below(Path.cwd())
        result = mvsa(*arguments)
        assert not keeps or files_below(Path.cwd()) == before
        return paragraph(result.exit_code, result.stderr)

    return run


def files_below(root: Path) -> dict[str, bytes]:
    """Every file below a folder with its bytes."""
    return {str(path): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def paragraph(exit_code: int, stderr: str) -> str:
    """The paragraph of a command that refused its input; all else on stderr was progress."""
    lines = [line for line in stderr.splitlines() if line.strip()]
    assert exit_code == 2, stderr
    assert "Traceback" not in stderr
    assert [line for line in lines if "error: " in line] == lines[-1:], stderr
    return lines[-1].removeprefix("error: ")


def environment(**changed: str) -> dict[str, str]:
    """The environment of a process of its own."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", **changed}


def spawn(*arguments: str, **how: object) -> subprocess.Popen[str]:
    """``mvsa`` as a process of its own."""
    command = [sys.executable, "-m", "mvsa_pipe", *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment(), **how)  # type: ignore[call-overload,no-any-return]


@pytest.fixture(scope="session")
def fitted(pipeline: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Posts, caches, and runs ``both`` and ``text`` made by the command line; read it only."""
    root = tmp_path_factory.mktemp("fitted") / "workplace"
    shutil.copytree(pipeline, root)
    for name, head in (("both", "native-cat"), ("text", "text")):
        where = ["--data", root / "data", "--cache", root / "cache", "--runs", root / "runs"]
        words = ["fit", "--head", head, "--name", name, "--epochs", "2", *where]
        result = CliRunner().invoke(app, [str(word) for word in words])
        assert result.exit_code == 0, result.output
    return root


@pytest.fixture
def place(fitted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of all that, as the working directory; the runs still name the original posts."""
    root = tmp_path / "workplace"
    shutil.copytree(fitted, root)
    monkeypatch.chdir(root)
    return root
