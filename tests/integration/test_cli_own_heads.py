"""A head of a user's own file through every verb, and what a run folder cannot make it do."""

import hashlib
import json
import shutil

import pytest
from own_code import MINE, start_again, write_code

from mvsa_pipe.export.options import missing_packages

TRAINING = ("--epochs", "2")


@pytest.fixture(autouse=True)
def new_user(place, monkeypatch, tmp_path):
    """A user who has named nothing, in a folder with posts, caches and a head of their own."""
    start_again(monkeypatch, tmp_path / "state")
    write_code(place / "my_heads.py", MINE)


@pytest.fixture
def run(mvsa, place):
    result = mvsa(
        "fit", "--head", "my_heads.py:Mine", "--name", "own", "--set", "width=4", *TRAINING
    )
    assert result.exit_code == 0, result.output
    return place / "runs" / "own"


def test_every_verb_takes_it(mvsa, run, monkeypatch):
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    assert (config["head"], config["head_options"]["width"]) == ("mine", 4)
    assert config["head_source"]["name"] == "Mine"
    assert (run / "head.py").read_text(encoding="utf-8") == MINE
    start_again(monkeypatch)
    again = json.loads(mvsa("evaluate", run, "--json").stdout)
    fitted = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    assert again["scores"]["values"] == fitted["scores"]["test"]["values"]
    start_again(monkeypatch)
    picture = next((run.parents[1] / "data").rglob("*.jpg"))
    predicted = mvsa("predict", run, "--text", "a good day", "--image", picture)
    assert predicted.exit_code == 0, predicted.output
    compared = mvsa("compare", run, run.parent / "both")
    assert compared.exit_code == 0, compared.output
    assert "own" in compared.stdout


def test_bench_resumes_and_trains_what_changed_again(mvsa, place, monkeypatch):
    words = ["bench", "--head", "my_heads.py:Mine", "--head", "text", "--seeds", "2", *TRAINING]
    first = mvsa(*words, "--json")
    assert first.exit_code == 0, first.output
    runs = {entry["run"] for entry in json.loads(first.stdout)["runs"]}
    assert len([path for path in runs if "-mine-" in path]) == 2
    start_again(monkeypatch)
    assert "4 runs were recorded before" in mvsa(*words).stderr
    write_code(place / "my_heads.py", MINE + "# another head\n")
    start_again(monkeypatch)
    assert "2 runs were recorded before" in mvsa(*words).stderr


@pytest.mark.skipif(bool(missing_packages()), reason="the extra onnx is not installed")
def test_an_export_has_its_code_and_runs_it_only_when_told(mvsa, run, monkeypatch, tmp_path):
    from mvsa_pipe.errors import RunError
    from mvsa_pipe.export import load_exported

    target = tmp_path / "exported"
    result = mvsa("export", run, "--output", target)
    assert result.exit_code == 0, result.output
    assert (target / "head.onnx").is_file()
    assert (target / "head.py").read_text(encoding="utf-8") == MINE
    assert str(run.parents[1]) not in (target / "config.json").read_text(encoding="utf-8")
    assert load_exported(target, "cpu").predict(texts=["good"], images=[PICTURE])
    start_again(monkeypatch, tmp_path / "somebody else")
    with pytest.raises(RunError, match=r"code that you have not run before.*head=.*head\.py:"):
        load_exported(target, "cpu")
    shown = f"{target}/head.py:Mine"
    assert load_exported(target, "cpu", shown).predict(texts=["good"], images=[PICTURE])


PICTURE = (
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x02\x00\x00\x00\x90wS"
    b"\xde\x00\x00\x00\x0cIDATx\x9cc\xf8\xff\xff?\x00\x05\xfe\x02\xfe\r\xefF\xb8\x00\x00\x00\x00IEND"
    b"\xaeB`\x82"
)


def test_a_file_that_changed_is_told(mvsa, refused, run, place, monkeypatch):
    write_code(place / "my_heads.py", MINE + "# another\n")
    start_again(monkeypatch)
    result = mvsa("evaluate", run)
    assert result.exit_code == 0, result.output
    assert "my_heads.py has changed: head 'mine' is taken from" in result.stderr
    start_again(monkeypatch)
    result = mvsa("evaluate", run, "--head", "my_heads.py:Mine")
    assert "head 'mine' has changed since the run" in result.stderr
    (run / "head.py").unlink()
    start_again(monkeypatch)
    assert "--head" in refused("evaluate", run)
    (place / "my_heads.py").unlink()
    start_again(monkeypatch)
    message = refused("predict", run, "--text", "x", "--image", next(place.rglob("*.jpg")))
    assert "The class of head 'mine' cannot be found" in message
    assert "Next: --head FILE.py:Mine" in message


def test_a_run_of_a_stranger_runs_no_code(mvsa, refused, run, place, monkeypatch, tmp_path):
    """Its record names a file that came with it, with the right digest."""
    trap = tmp_path / "trap"
    bomb = f"from pathlib import Path\nPath({str(trap)!r}).touch()\n{MINE}"
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    write_code(run / "head.py", bomb)
    config["head_source"] |= {
        "file": str(run / "head.py"),
        "sha256": hashlib.sha256(bomb.encode()).hexdigest(),
    }
    (run / "config.json").write_text(json.dumps(config), encoding="utf-8")
    shutil.copy(run / "head.py", place / "evil.py")
    start_again(monkeypatch)
    for words in (("evaluate", run), ("export", run, "--output", tmp_path / "out")):
        assert "code that you have not run before" in refused(*words)
    (run / "head.py").unlink()
    config["head_source"] = {"name": "Mine", "module": "evil", "sha256": "0" * 64}
    (run / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert "has changed since" in refused("evaluate", run)
    assert not trap.exists()
    result = mvsa("evaluate", run, "--head", "my_heads.py:Mine")
    assert result.exit_code == 0, result.output
    assert not trap.exists()


def test_finetune_starts_from_it(mvsa, run, monkeypatch, place):
    start_again(monkeypatch)
    words = ("finetune", "--from", run, "--unfreeze", "none", "--name", "tuned", "--epochs", "1")
    result = mvsa(*words)
    assert result.exit_code == 0, result.output
    tuned = json.loads((place / "runs/tuned/config.json").read_text(encoding="utf-8"))
    assert tuned["head"] == "mine"
    assert tuned["head_source"]["sha256"]


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ("absent.py:Mine", "no such file"),
        ("my_heads.py", "names no class"),
        ("my_heads.py:Yours", "no class 'Yours'"),
        ("my_heads.py:nn", "no class 'nn'"),
        ("mine", "No head is named 'mine'"),
    ],
)
@pytest.mark.parametrize("verb", ["fit", "bench", "finetune", "heads check"])
def test_what_is_no_head_is_refused(refused, verb, head, expected):
    words = [*verb.split(), *(["--head"] if verb != "heads check" else []), head]
    assert expected in refused(*words)


def test_the_name_of_a_built_in_head_is_refused(refused, place):
    write_code(place / "my_heads.py", MINE.replace("class Mine", "class Gated"))
    assert "there is a head 'gated'" in refused("fit", "--head", "my_heads.py:Gated")


def test_heads_check(mvsa, place):
    result = mvsa("heads", "check", "my_heads.py:Mine", "--set", "width=3")
    assert result.exit_code == 0, result.output
    assert result.stdout.count("passed") == 7
    mixing = MINE.replace("self.text(text) * self.image(image))", "self.text(text)).softmax(0)")
    write_code(place / "mixing.py", mixing)
    result = mvsa("heads", "check", "mixing.py:Mine")
    assert result.exit_code == 2
    assert "there is a head 'mine'" in result.stderr


def test_heads_check_of_one_that_mixes_posts(mvsa, refused, place):
    mixing = MINE.replace("self.text(text) * self.image(image))", "self.text(text)).softmax(0)")
    write_code(place / "my_heads.py", mixing)
    result = mvsa("heads", "check", "my_heads.py:Mine", "--json")
    assert result.exit_code == 1
    record = json.loads(result.stdout)
    assert record["passed"] is False
    failed = {check["check"] for check in record["checks"] if not check["passed"]}
    assert "companions" in failed
    message = refused("fit", "--head", "mine", "--name", "no")
    assert "breaks the contract of heads (companions)" in message
    assert "baseline of scikit-learn" in refused("heads", "check", "logistic")


def test_workers_of_a_cluster_load_the_same_class(place, monkeypatch):
    import pickle

    from mvsa_pipe.benches.loaded import LoadSpec
    from mvsa_pipe.errors import ConfigError
    from mvsa_pipe.heads import HEADS, named_head
    from mvsa_pipe.runs.options import CacheChoice, DataChoice

    spec = LoadSpec(DataChoice(), CacheChoice(), (named_head("my_heads.py:Mine"), "text"), None)
    sent = pickle.dumps(spec.anywhere())
    start_again(monkeypatch)
    assert pickle.loads(sent).load().first.posts.posts
    assert "mine" in HEADS.names
    write_code(place / "my_heads.py", MINE + "# another\n")
    start_again(monkeypatch)
    with pytest.raises(ConfigError, match="not the same on this machine"):
        pickle.loads(sent).load()
