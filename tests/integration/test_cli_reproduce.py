"""``mvsa reproduce`` from outside, and the lines that say how to repeat."""

import json
import shlex
import shutil
from pathlib import Path

import pytest
from own_code import MINE, start_again, write_code

import mvsa_pipe as mv
from mvsa_pipe.errors import ConfigError

TRAINING = ("--epochs", "2")


@pytest.fixture(autouse=True)
def here(place):
    """The working directory has posts, caches and runs."""


def typed(output, prefix):
    """The words of the command that a line of the output names."""
    (line,) = (line for line in output.splitlines() if line.startswith(prefix))
    words = shlex.split(line.removeprefix(prefix))
    assert words[0] == "mvsa"
    return words[1:]


def test_fit_names_the_command_that_repeats_it(mvsa):
    shutil.move("cache", "other cache")
    done = mvsa("fit", "--head", "text", "--cache", "other cache", "--seeds", "3", "--ensemble",
                "--class-weights", "balanced", *TRAINING)  # fmt: skip
    assert done.exit_code == 0, done.output
    command = typed(done.stdout, "how to repeat: ")
    assert command[-2:] == ["--cache", "other cache"]
    again = mvsa(*command)
    assert again.exit_code == 0, again.output
    assert "same: runs/" in again.stdout
    assert "as recorded" in again.stdout


def test_answers_and_exit_codes(mvsa, refused):
    record = json.loads(mvsa("reproduce", "runs/both", "--json").stdout)
    assert (record["answer"], record["other_predictions"], record["kept"]) == ("same", 0, None)
    assert record["scores"]["test"]["accuracy"][0] == record["scores"]["test"]["accuracy"][1]
    path = Path("runs/both/predictions.csv")
    classes = json.loads(Path("runs/both/config.json").read_text())["data"]["classes"]
    header, *rows = path.read_text().splitlines()
    turned = []
    for row in rows:
        post_id, part, label, predicted, *shares = row.split(",")
        following = classes[(classes.index(predicted) + 1) % len(classes)]
        turned.append(",".join([post_id, part, label, following, shares[-1], *shares[:-1]]))
    path.write_text("\n".join([header, *turned]) + "\n")
    other = mvsa("reproduce", "runs/both", "--data", "data")
    assert other.exit_code == 1, other.output
    assert "different: runs/both" in other.stdout
    assert "20 of 20 posts have another prediction" in other.stdout
    assert "two one-sided tests" in " ".join(other.stdout.split())
    assert "path of the posts" in other.stdout
    assert "There is no run here" in refused("reproduce", "runs/none")


def test_data_that_is_missing_is_one_paragraph(refused):
    path = Path("runs/text/config.json")
    config = json.loads(path.read_text())
    config["data"]["path"] = "/nowhere/posts"
    path.write_text(json.dumps(config))
    said = refused("reproduce", "runs/text")
    assert "/nowhere/posts" in said
    assert "--data PATH" in said


def test_a_notebook_reproduces_too():
    done = mv.reproduce("runs/text", "data", cache="cache", output="again")
    assert done.answer == "same"
    assert mv.open_run("again").config["reproduces"] == str(Path("runs/text").resolve())
    assert "same: text on" in repr(done)
    with pytest.raises(ConfigError, match="cash"):
        mv.reproduce("runs/text", cash="cache")


def test_a_bench_of_a_notebook_names_its_command(mvsa, monkeypatch, tmp_path):
    start_again(monkeypatch, tmp_path / "state")
    own = write_code(Path("my_heads.py"), MINE)
    data = mv.load(mv.read_posts("data"), "cache")
    table = mv.bench(data, ["my_heads.py:Mine", "text"], seeds=1, epochs=2, near_cosine=0.9)
    command = shlex.split(json.loads(table.path.read_text())["command"])
    assert command[:4] == ["mvsa", "bench", "--head", f"{own.resolve()}:Mine"]
    assert command[-2:] == ["--near-cosine", "0.9"]
    again = mvsa(*command[1:], "--json")
    assert "2 runs were recorded before" in again.stderr


def test_own_heads_run_for_those_who_named_them(mvsa, refused, monkeypatch, tmp_path):
    start_again(monkeypatch, tmp_path / "state")
    write_code(Path("my_heads.py"), MINE)
    assert mvsa("fit", "--head", "my_heads.py:Mine", "--name", "own", *TRAINING).exit_code == 0
    start_again(monkeypatch)
    again = mvsa("reproduce", "runs/own")
    assert again.exit_code == 0, again.output
    assert "same: runs/own" in again.stdout
    start_again(monkeypatch, tmp_path / "somebody else")
    assert "that you have not run before" in refused("reproduce", "runs/own")
    named = mvsa("reproduce", "runs/own", "--head", "my_heads.py:Mine")
    assert named.exit_code == 0, named.output
    write_code(Path("my_heads.py"), MINE.replace("text) * self", "text) - self"))
    start_again(monkeypatch)
    changed = mvsa("reproduce", "runs/own", "--head", "my_heads.py:Mine", "--json")
    record = json.loads(changed.stdout)
    assert record["answer"] != "same"
    assert "source of the head" in record["conditions"]
    assert "has changed since the run" in record["remarks"][0]


def test_bench_names_the_commands_that_repeat_it(mvsa):
    words = ["bench", "--head", "native-cat", "--head", "logistic", "--seeds", "2", "--resplit",
             "--class-weights", "balanced", "--no-centre", "--near-cosine", "0.9",
             *TRAINING]  # fmt: skip
    first = mvsa(*words)
    assert first.exit_code == 0, first.output
    command = typed(first.stdout, "how to repeat, with another --runs: ")
    (path,) = Path("runs").glob("bench-*/bench.json")
    record = json.loads(path.read_text())
    assert shlex.split(record["command"])[1:] == command
    second = json.loads(mvsa(*command, "--runs", "again", "--json").stdout)
    assert [row["mean"] for row in second["rows"]] == [row["mean"] for row in record["rows"]]
    for entry in record["runs"]:
        again = json.loads(mvsa("reproduce", entry["run"], "--json").stdout)
        assert (again["answer"], again["conditions"]) == ("same", {})
        assert max(again["history_difference"].values()) == 0
        stacked = 2 if entry["head"] == "native-cat" else 1
        metrics = json.loads(Path(entry["run"], "metrics.json").read_text())
        assert metrics["trained_together"] == stacked
    stacked_run = Path(record["runs"][0]["run"])
    metrics = json.loads((stacked_run / "metrics.json").read_text())
    del metrics["trained_together"], metrics["threads"]  # as in a run of an earlier version
    (stacked_run / "metrics.json").write_text(json.dumps(metrics))
    again = json.loads(mvsa("reproduce", stacked_run, "--json").stdout)
    assert (again["answer"], again["conditions"]) == ("same", {})
    assert "two copies were" in again["remarks"][0]
