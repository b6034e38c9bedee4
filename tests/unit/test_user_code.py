"""Classes that users bring: where they are found, and when code is run."""

import hashlib
import sys

import pytest
from own_code import write_code

from mvsa_pipe import user_code
from mvsa_pipe.errors import ConfigError, RunError
from mvsa_pipe.user_code import (
    Origin,
    is_known,
    is_reference,
    load_recorded,
    load_reference,
    load_same,
    origin_of,
    source_file,
)

THING = "class Thing:\n    pass\n"


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch, tmp_path):
    """A user who has named nothing, in an empty folder."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(user_code, "_named", set())
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def forget(monkeypatch):
    """What another user, or another machine, knows."""
    monkeypatch.setenv("XDG_STATE_HOME", "/nowhere/at-all")
    monkeypatch.setattr(user_code, "_named", set())


def test_references_are_told_from_names():
    assert is_reference("my_heads.py:Mine")
    assert is_reference("my_heads.py")
    assert is_reference("package.module:Mine")
    assert not is_reference("dual-attention")


def test_a_class_of_a_file(tmp_path):
    path = write_code(tmp_path / "here" / "things.py", THING)
    kind = load_reference("things.py:Thing")
    assert load_reference(f"{path}:Thing") is kind
    origin = origin_of(kind)
    assert (origin.name, origin.file, origin.module) == ("Thing", str(path), "")
    assert source_file(kind) == path.read_bytes()
    assert Origin.from_record(origin.as_record()) == origin
    path.write_text(THING + "\n# other\n", encoding="utf-8")
    changed = load_reference("things.py:Thing")
    assert changed is not kind
    assert origin_of(changed).sha256 != origin.sha256
    assert origin_of(kind) == origin, "what was loaded is what was loaded"


def test_a_class_of_a_module_in_the_working_directory(tmp_path):
    for name in ("__init__", "parts", "things"):
        write_code(tmp_path / "here" / "own_package" / f"{name}.py", THING)
    origin = origin_of(load_reference("own_package.things:Thing"))
    assert (origin.module, origin.file) == ("own_package.things", "")
    assert load_same(origin) is load_reference("own_package.things:Thing")
    write_code(tmp_path / "here" / "own_package" / "parts.py", "x = 1\n")
    with pytest.raises(RunError, match="has changed since"):
        load_recorded(origin, "head 'thing'", "runs/one", "--head")


def test_installed_packages_are_named_with_their_version():
    origin = origin_of(load_reference("typer.main:Typer"))
    assert origin.distribution == "typer"
    assert origin.version
    assert f"of typer {origin.version}" in str(origin)


def test_classes_of_this_package_have_no_origin():
    assert origin_of(Origin) is None


@pytest.mark.parametrize(
    ("reference", "code", "expected"),
    [
        ("absent.py:Thing", None, r"no such file .*absent\.py"),
        ("things.py", THING, r"things\.py names no class.*things\.py:CLASS.*classes Thing"),
        ("things.py:Thong", THING, r"no class 'Thong'.*one of Thing"),
        ("things.py:x", "x = 1\n" + THING, r"no class 'x'.*x is a int"),
        ("things.py:Thing", "class Thing\n", r"line 1\).*SyntaxError"),
        ("things.py:Thing", "x = 1\n1 / 0\n", r"things\.py, line 2\).*ZeroDivisionError"),
        ("things.py:Thing", "raise SystemExit(3)", r"line 1\).*SystemExit.*__main__"),
        ("things.py:Thing", "import beside_it", r"beside_it.*package\.module:CLASS"),
        ("absent_package.things:Thing", None, r"no module 'absent_package'.*FILE\.py:Thing"),
        ("json.absent:Thing", None, r"no module 'json\.absent'"),
        ("json:nothing", None, "no class 'nothing'"),
    ],
)
def test_what_cannot_be_had_is_one_paragraph(tmp_path, reference, code, expected):
    if code is not None:
        write_code(tmp_path / "here" / "things.py", code)
    with pytest.raises(ConfigError, match=expected) as caught:
        load_reference(reference)
    assert "\n" not in str(caught.value)


def test_naming_a_class_is_remembered(tmp_path, monkeypatch):
    write_code(tmp_path / "here" / "things.py", THING)
    origin = origin_of(load_reference("things.py:Thing"))
    assert is_known(origin.sha256)
    monkeypatch.setattr(user_code, "_named", set())  # another process of the same user
    assert is_known(origin.sha256)
    kind, remark = load_recorded(origin, "head 'thing'", "runs/one", "--head")
    assert (kind.__name__, remark) == ("Thing", "")
    forget(monkeypatch)
    assert not is_known(origin.sha256)


def test_a_record_does_not_run_code_that_was_never_named(tmp_path):
    """Such as a file that came along with a run, at a path that can be guessed."""
    trap = tmp_path / "trap"
    path = write_code(
        tmp_path / "evil.py", f"from pathlib import Path\nPath({str(trap)!r}).touch()\n{THING}"
    )
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    origin = Origin("Thing", file=str(path), sha256=sha256)
    with pytest.raises(RunError, match="Head 'x' is code that you have not run before") as caught:
        load_recorded(origin, "head 'x'", "runs/one", "--head")
    assert f"--head {path}:Thing" in caught.value.hint
    write_code(tmp_path / "here" / "evil_module.py", path.read_text(encoding="utf-8"))
    digest = user_code._package_digest("evil_module")
    recorded = Origin("Thing", module="evil_module", sha256=digest)
    with pytest.raises(RunError, match="have not run before"):
        load_recorded(recorded, "head 'x'", "runs/one", "--head")
    assert not trap.exists()
    load_reference(f"{path}:Thing")
    assert trap.exists()
    assert load_recorded(origin, "head 'x'", "runs/one", "--head")[0].__name__ == "Thing"


def test_a_file_that_is_gone_or_has_changed(tmp_path):
    path = write_code(tmp_path / "here" / "things.py", THING)
    origin = origin_of(load_reference("things.py:Thing"))
    copy = write_code(tmp_path / "run" / "head.py", THING)
    path.write_text(THING * 2, encoding="utf-8")
    with pytest.raises(RunError, match=r"has changed since.*--head .*things\.py:Thing takes it as"):
        load_recorded(origin, "head 'thing'", "runs/one", "--head")
    kind, remark = load_recorded(origin, "head 'thing'", "runs/one", "--head", copy)
    assert origin_of(kind).sha256 == origin.sha256
    assert "has changed: head 'thing' is taken from" in remark
    path.unlink()
    _, remark = load_recorded(origin, "head 'thing'", "runs/one", "--head", copy)
    assert "is gone" in remark
    copy.write_text(THING * 3, encoding="utf-8")
    with pytest.raises(RunError, match=r"cannot be found.*no file .*--head FILE\.py:Thing"):
        load_recorded(origin, "head 'thing'", "runs/one", "--head", copy)
    with pytest.raises(RunError, match="a script or a notebook, which left no file"):
        load_recorded(Origin("Thing", module="__main__"), "head 'thing'", "runs/one", "--head")
    with pytest.raises(ConfigError, match="not the same on this machine"):
        load_same(origin)


@pytest.mark.parametrize("record", [{}, {"file": "x"}, {"name": 3}, {"name": "a", "more": "b"}])
def test_a_damaged_record(record):
    with pytest.raises(ValueError, match="no record of a class"):
        Origin.from_record(record)
