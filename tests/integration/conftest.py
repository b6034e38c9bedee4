"""The command line from outside: in this process for most, in one of its own where that matters."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_support import files_below, paragraph
from click.testing import Result
from typer.testing import CliRunner

from mvsa_pipe.cli.app import app

Mvsa = Callable[..., Result]


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """No colours, and no debugging."""
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.delenv("MVSA_DEBUG", raising=False)


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
