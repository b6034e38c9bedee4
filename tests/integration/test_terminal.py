"""Terminals of every kind, and data sets that try to control them: safe output that never fails."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cli_support import on_terminal
from PIL import Image

ISOLATED_LABEL, BIDI_LABEL, MARKUP = "\u2066good\u2067", "bad\u202eknil", "[link=x]m[/link]"
FORBIDDEN = {*map(chr, range(0x20)), *map(chr, range(0x7F, 0xA0)), "\u202e", "\u2066"} - {
    "\n",
    "\t",
}
UNPRINTED = {"\x1b]", "\x07", "\u202e", "\x9b"}


@pytest.fixture
def posts(tmp_path: Path) -> Path:
    """A table whose ids and labels hold control sequences and markup."""
    rows = ["id\ttext\timage\tlabel"]
    for n in range(12):
        Image.new("RGB", (40, 40), (n * 20, 10, 10)).save(tmp_path / f"{n}.jpg", quality=95)
        label = (ISOLATED_LABEL, BIDI_LABEL, MARKUP)[n % 3]
        rows.append(f"пост\x9b{n}\u2066\ttext {n}\t{n}.jpg\t{label}")
    table = tmp_path / "posts.tsv"
    table.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return table


def mvsa(*words: object, env: dict[str, str] | None = None, **how: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr, as bytes that are read as UTF-8 where they are."""
    done = subprocess.run(
        [sys.executable, "-m", "mvsa_pipe", *map(os.fsencode, map(str, words))],
        env={**os.environ, **(env or {})},
        check=False,
        **({"capture_output": True} | how),
    )
    decoded = [(s or b"").decode("utf-8", "surrogateescape") for s in (done.stdout, done.stderr)]
    assert "Traceback" not in decoded[1]
    assert "internal error" not in decoded[1]
    return done.returncode, *decoded


def test_nothing_printed_controls_a_terminal(posts: Path) -> None:
    code, out, err = mvsa("data", "check", posts)
    assert code in (0, 1)
    assert not FORBIDDEN & set(out + err)
    assert "\\u2066good" in out
    assert MARKUP in out
    _, written = on_terminal("data", "check", posts)
    assert "\x1b[" in written  # colours of our own
    assert not [sign for sign in UNPRINTED if sign in written]
    assert "\\u2066good" in written


def test_json_is_whole_and_safe(posts: Path) -> None:
    for encoding in ("utf-8", "ascii", "cp1252"):
        _, out, _ = mvsa("data", "check", posts, "--json", env={"PYTHONIOENCODING": encoding})
        assert not FORBIDDEN & set(out)
        assert {ISOLATED_LABEL, BIDI_LABEL} <= set(json.loads(out)["labels"])


@pytest.mark.parametrize(
    "words",
    [
        ["data", "check", "no\x1b[31m\u202e"],
        ["data", "check", "x", "--format", "no\x1b[31m\u202e"],
        ["data", "check", "x", "--no\x1b[31m\u202e"],
        ["no\x1b[31m\u202e"],
        ["--no\x1b[31m\u202e"],
        ["data", "check", "x", "--split-seed", "no\x1b[31m\u202e"],
        ["--debug", "data", "check", "no\x1b[31m\u202e"],
        ["cache", "info", "no\x1b[31m\u202e"],
    ],
)
def test_errors_quote_arguments_safely(words: list[str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mvsa_pipe", *words], capture_output=True, cwd=tmp_path, check=False
    )
    shown = (done.stdout + done.stderr).decode()
    assert done.returncode == (1 if "--debug" in words else 2)
    assert not FORBIDDEN & set(shown)
    assert all(sign not in on_terminal(*words)[1] for sign in ("\x1b[31m\\u", "\u202e"))


POSIX = {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.parametrize(
    "env",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "cp1252"},
        {"PYTHONIOENCODING": "ascii:strict", "COLUMNS": "20", "TERM": "dumb"},
        POSIX,
    ],
)
@pytest.mark.usefixtures("workplace")
def test_a_terminal_that_is_not_utf8(env: dict[str, str]) -> None:
    for name in ("fit", "evaluate"):
        words = (
            ["fit", "--head", "native-cat", "--epochs", "1", "--name", "tüp"]
            if name == "fit"
            else []
        )
        code, out, err = mvsa(*(words or ["evaluate", "runs/tüp"]), env=env)
        assert code == 0, err
        assert out
        assert (out + err).isascii() or env.get("PYTHONIOENCODING") == "cp1252"
    assert Path("runs/tüp/metrics.json").is_file()


def test_names_are_not_ascii_where_the_terminal_is(tmp_path: Path) -> None:
    rows = ["id,text,image,label"]
    for n in range(4):
        Image.new("RGB", (40, 40), (n * 60, 10, 10)).save(tmp_path / f"bär{n}.jpg")
        rows.append(f"é{n},größe {n},bär{n}.jpg,{'añ'[n % 2]}")
    table = tmp_path / "größe.csv"
    table.write_text("\n".join(rows) + "\n", encoding="utf-8")
    _, out, _ = mvsa("data", "check", table, "--json", env=POSIX)
    report = json.loads(out)
    assert report["images"] == json.loads(mvsa("data", "check", table, "--json")[1])["images"]
    assert set(report["labels"]) == {"a", "ñ"}


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&-", "<&- >&- 2>&-"])
@pytest.mark.usefixtures("workplace")
def test_streams_that_are_closed(closed: str) -> None:
    command = f'"{sys.executable}" -m mvsa_pipe fit --head native-cat --epochs 1 --name x {closed}'
    assert subprocess.run(["bash", "-c", command], check=False).returncode == 0
    assert Path("runs/x/metrics.json").is_file()


@pytest.mark.usefixtures("workplace")
def test_readers_that_leave_early() -> None:
    for words in (
        "heads",
        "--help",
        "cache list --json",
        "fit --head native-cat --epochs 1 --name x",
    ):
        code, said = piped(f"{words} 2>err", "head -c 1 >/dev/null"), Path("err").read_text()
        assert code == 0, said
        assert "Traceback" not in said
        assert "BrokenPipe" not in said
    assert Path("runs/x/metrics.json").is_file()


def piped(words: str, reader: str) -> int:
    """The exit code of a command whose output another one reads."""
    line = f'"{sys.executable}" -m mvsa_pipe {words} | {reader}; exit ${{PIPESTATUS[0]}}'
    return subprocess.run(["bash", "-c", line], check=False).returncode


@pytest.mark.usefixtures("workplace")
def test_work_goes_on_when_nobody_reads_its_progress() -> None:
    words = "extract --data data --cache other --backbone tiny-text --partner none"
    assert piped(f"{words} 2>&1 >/dev/null", "true") == 0
    assert list(Path("other").rglob("*.h5"))


@pytest.mark.usefixtures("workplace")
def test_output_to_a_full_disk() -> None:
    with Path("/dev/full").open("w") as full:
        code, _, err = mvsa(
            *("fit", "--head", "native-cat", "--epochs", "1", "--name", "x"),
            capture_output=False,
            stdout=full,
            stderr=subprocess.PIPE,
        )
    assert code == 2
    assert "output could not be written completely" in err
    assert Path("runs/x/metrics.json").is_file()
    with Path("/dev/full").open("w") as full:
        code, out, _ = mvsa("heads", capture_output=False, stdout=subprocess.PIPE, stderr=full)
    assert code == 0
    assert out


def test_a_file_name_that_is_no_text(tmp_path: Path) -> None:
    table = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.csv")
    Image.new("RGB", (40, 40)).save(tmp_path / "1.jpg")
    Path(table).write_text("id,text,image,label\n1,a,1.jpg,x\n2,b,1.jpg,y\n")
    code, out, err = mvsa("data", "check", table)
    assert code == 1, err
    assert "2 posts" in out
    code, _, err = mvsa("data", "check", f"{table}x")
    assert code == 2
    assert "caf\\xe9.csvx" in err


@pytest.mark.parametrize(
    "words",
    [
        ["data", "check", "n" * 300],
        ["fit", "--head", "text", "--runs", "n" * 300],
        ["evaluate", "n" * 300],
        ["predict", "n" * 300, "--text", "x"],
        ["extract", "--backbone", f"hf-text:{'n' * 300}"],
    ],
)
@pytest.mark.usefixtures("workplace")
def test_paths_that_the_system_refuses(refused, words: list[str]) -> None:
    assert "name too long" in refused(*words)
