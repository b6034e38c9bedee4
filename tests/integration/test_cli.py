"""Every verb from outside: what it prints, writes and exits with."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mvsa_pipe import __version__
from mvsa_pipe.backbones import IMAGE_BACKBONES, TEXT_BACKBONES
from mvsa_pipe.heads import HEADS


def test_the_module_is_the_command():
    run = [sys.executable, "-m", "mvsa_pipe", "--version"]
    done = subprocess.run(run, capture_output=True, text=True, check=True)
    assert done.stdout == f"mvsa-pipe {__version__}\n"
    beside = Path(sys.executable).with_name("mvsa")
    done = subprocess.run([beside, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"mvsa-pipe {__version__}\n"


def test_nothing_typed_shows_the_help(mvsa):
    result = mvsa()
    assert result.exit_code == 2
    assert "quickstart" in result.output


def test_heads_lists_every_row(mvsa):
    result = mvsa("heads")
    assert result.exit_code == 0
    for row in HEADS:
        assert f"│ {row.name} " in result.stdout


def test_backbones_lists_every_row(mvsa):
    result = mvsa("backbones")
    for row in (*TEXT_BACKBONES, *IMAGE_BACKBONES):
        assert f"│ {row.name} " in result.stdout
    records = json.loads(mvsa("backbones", "--json").stdout)
    assert [r["backbone"] for r in records] == [r.name for r in (*TEXT_BACKBONES, *IMAGE_BACKBONES)]
    (dinov3,) = next(r["published"] for r in records if r["backbone"] == "dinov3")
    assert (dinov3["gated"], dinov3["width"], dinov3["tokens"]) == (True, 768, 197)


@pytest.mark.usefixtures("place")
def test_extract_takes_the_partner_along_and_says_so(mvsa):
    result = mvsa("extract", "--backbone", "tiny-image", "--partner", "tiny-text", "--cache", "new")
    assert result.exit_code == 0, result.output
    assert "tiny-text is extracted too" in result.stderr
    assert "tiny-image: 100 extracted, 0 already cached" in result.stdout
    assert "tiny-text: 100 extracted" in result.stdout
    assert len(list(Path("new").glob("*/*.h5"))) == 2


@pytest.mark.usefixtures("place")
def test_extract_leaves_the_partner_alone_when_it_is_there(mvsa):
    result = mvsa("extract", "--backbone", "tiny-image")
    assert result.exit_code == 0, result.output
    assert "along" not in result.stderr
    assert "tiny-image: 0 extracted, 100 already cached" in result.stdout


@pytest.mark.usefixtures("place")
def test_extract_alone_is_alone(mvsa):
    result = mvsa("extract", "--backbone", "tiny-image", "--partner", "none", "--cache", "new")
    assert result.exit_code == 0, result.output
    assert [path.name[:10] for path in Path("new").glob("*/*.h5")] == ["tiny-image"]


@pytest.mark.usefixtures("place")
def test_extract_prints_records(mvsa):
    result = mvsa("extract", "--backbone", "tiny-image", "--json")
    (record,) = json.loads(result.stdout)
    assert (record["extracted"], record["reused"]) == (0, 100)


@pytest.mark.usefixtures("place")
def test_fit_says_which_caches_it_takes_and_where_the_run_is(mvsa):
    result = mvsa("fit", "--head", "native-cat", "--epochs", "1")
    assert result.exit_code == 0, result.output
    for modality in ("text", "image"):
        (path,) = Path("cache").glob(f"*/tiny-{modality}-*.h5")
        assert f"{modality}: {path}" in result.stderr
    assert "80 train, 10 val, 10 test" in result.stderr
    *_, run, repeat = result.stdout.splitlines()
    path = Path(run.removeprefix("run: "))
    assert (path / "head.safetensors").is_file()
    assert repeat == f"how to repeat: mvsa reproduce {path}"
    for word in ("majority", "chance", "accuracy %", "macro-F1 %", "→ positive"):
        assert word in result.stdout


@pytest.mark.usefixtures("place")
def test_fit_prints_one_document(mvsa):
    words = ["--seed", "4", "--set", "hidden=16", "--set", "dropout=0.1", "--epochs", "1"]
    result = mvsa("fit", "--head", "native-cat", "--json", *words)
    record = json.loads(result.stdout)
    assert record["seed"] == 4
    config = json.loads((Path(record["run"]) / "config.json").read_text())
    assert config["head_options"]["hidden"] == 16
    assert config["head_options"]["dropout"] == 0.1


def test_fit_takes_the_newest_cache_unless_one_is_named(place, mvsa):
    wide = ["--dtype", "float32", "--partner", "none"]
    assert mvsa("extract", "--backbone", "tiny-text", *wide).exit_code == 0
    old, new = sorted(
        (place / "cache").glob("*/tiny-text-*.h5"), key=lambda path: path.stat().st_mtime_ns
    )
    result = mvsa("fit", "--head", "text", "--epochs", "1")
    assert new.name in result.stderr
    digits = old.stem.split("-")[-2]
    result = mvsa("fit", "--head", "text", "--epochs", "1", "--text", f"tiny-text@{digits}")
    assert old.name in result.stderr


def test_caches_are_listed_shown_verified_and_removed(place, mvsa):
    result = mvsa("cache", "list")
    paths = sorted((place / "cache").glob("*/*.h5"))
    for path in paths:
        assert str(path.relative_to(place / "cache")) in result.stdout
    assert len(json.loads(mvsa("cache", "list", "--json").stdout)) == 2
    info = json.loads(mvsa("cache", "info", "tiny-text", "--json").stdout)
    assert info["fingerprint"]["backbone"] == "tiny-text"
    assert "tiny-text" in mvsa("cache", "info", "tiny-text").stdout
    verified = mvsa("cache", "verify")
    assert verified.exit_code == 0
    assert verified.stdout.count(": whole") == 2
    assert mvsa("cache", "remove", "tiny-text", "--yes").exit_code == 0
    assert len(list((place / "cache").glob("*/*.h5"))) == 1


@pytest.mark.usefixtures("place")
def test_check_exits_by_what_it_finds(mvsa):
    result = mvsa("data", "check", "data", "--split", "random-8:1:1")
    assert result.exit_code == 0, result.output
    assert "no faults that spoil results" in result.stdout
    Path("data/data/5.jpg").write_bytes(b"")
    result = mvsa("data", "check", "data")
    assert result.exit_code == 1
    assert "spoils results: An empty file for a picture: 1 post (5)." in result.stdout
    record = json.loads(mvsa("data", "check", "data", "--json").stdout)
    assert record["images"]["zero-byte"] == ["5"]


@pytest.mark.usefixtures("place")
def test_debug_shows_the_traceback(mvsa):
    words = ["fit", "--head", "text", "--data", "nowhere"]
    assert mvsa(*words).exit_code == 2
    shown = mvsa("--debug", *words)
    assert type(shown.exception).__name__ == "DataError"
    assert mvsa(*words).exit_code == 2  # and does not stay on
    run = [sys.executable, "-m", "mvsa_pipe", "--debug", *words]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "DataError" in done.stderr


@pytest.mark.usefixtures("place")
def test_a_defect_of_ours_is_owned_up_to(mvsa, monkeypatch):
    def broken(*_args, **_kwargs):
        raise RuntimeError("surprise")

    monkeypatch.setattr("mvsa_pipe.runs.prepare.prepare", broken)
    result = mvsa("fit", "--head", "text")
    assert result.exit_code == 3
    assert "internal error: RuntimeError: surprise" in result.stderr
    assert "mvsa --debug" in result.stderr


def test_a_reader_that_goes_away_is_no_error(place):
    assert place.is_dir()
    command = f"{sys.executable} -m mvsa_pipe data check data --json | head -c 10"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr
    assert "internal error" not in done.stderr
