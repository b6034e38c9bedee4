"""Runs at work and side by side: evaluate, predict, bench."""

import csv
import json
from pathlib import Path

import pytest


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("part", ["val", "test"])
def test_evaluate_reproduces_the_run(mvsa, part):
    result = mvsa("evaluate", "runs/both", "--split", part, "--json")
    assert result.exit_code == 0, result.output
    metrics = json.loads(Path("runs/both/metrics.json").read_text())
    assert json.loads(result.stdout)["scores"] == metrics["scores"][part]
    shown = mvsa("evaluate", "runs/both", "--split", part)
    assert f"{100 * metrics['scores'][part]['values']['accuracy']:.1f} [" in shown.stdout


@pytest.mark.usefixtures("place")
def test_evaluate_says_what_was_left_out(mvsa):
    words = ["evaluate", "runs/both", "--data", "data", "--split", "all", "--on-bad-image", "skip"]
    Path("data/data/5.jpg").write_bytes(b"")
    result = mvsa(*words)
    assert result.exit_code == 0, result.output
    assert "1 of these posts were left out" in result.stderr
    assert json.loads(mvsa(*words, "--json").stdout)["left_out"] == {
        "5": "A picture's file is empty"
    }


@pytest.mark.usefixtures("place")
def test_predict_answers_one_post(mvsa):
    words = ["--text", "I love [/it] :smile:", "--image", "data/data/1.jpg"]
    result = mvsa("predict", "runs/both", *words)
    assert result.exit_code == 0, result.output
    assert "negative %" in result.stdout
    record = json.loads(mvsa("predict", "runs/both", *words, "--json").stdout)
    (row,) = record["predictions"]
    assert row["prediction"] in record["classes"]
    assert sum(row["probabilities"]) == pytest.approx(1, abs=1e-5)


@pytest.mark.usefixtures("place")
def test_predict_writes_a_table_and_exits_1_for_posts_it_cannot_answer(mvsa):
    Path("broken.jpg").write_text("no picture")
    rows = ["[/a],fine,data/data/1.jpg", "b,no picture,", "c,broken,broken.jpg", "d,gone,gone.jpg"]
    Path("new.csv").write_text("\n".join(["id,text,image", *rows]) + "\n")
    result = mvsa("predict", "runs/both", "--data", "new.csv", "--output", "out.csv")
    assert result.exit_code == 1
    assert "1 posts predicted: out.csv" in result.stdout
    for line in ("post b: it has no image", "post c: A file is no picture", "post d: it has no"):
        assert line in result.stderr
    with Path("out.csv").open(newline="") as file:
        table = {row["post_id"]: row for row in csv.DictReader(file)}
    assert table["[/a]"]["prediction"]
    assert not table["[/a]"]["error"]
    assert table["c"]["error"] == "A file is no picture"
    assert not table["c"]["prediction"]


@pytest.mark.usefixtures("place")
def test_predict_with_text_alone_where_that_is_enough(mvsa):
    assert mvsa("predict", "runs/text", "--text", "I love it").exit_code == 0
    result = mvsa("predict", "runs/both", "--text", "I love it")
    assert result.exit_code == 1
    assert "it has no image" in result.stderr


@pytest.mark.usefixtures("place")
def test_predict_shows_so_many_and_says_how_many_more(mvsa):
    result = mvsa("predict", "runs/both", "--data", "data")
    assert result.exit_code == 0, result.output
    assert "and 80 more: see --output" in result.stdout


@pytest.mark.usefixtures("place")
def test_bench_prints_a_table_and_keeps_its_records(mvsa):
    words = ["--head", "text", "--head", "native-cat", "--seeds", "2", "--epochs", "1"]
    result = mvsa("bench", *words)
    assert result.exit_code == 0, result.output
    for word in ("│ text ", "│ native-cat ", "│ majority ", "│ chance ", "over 2 seeds"):
        assert word in result.stdout
    path = Path(result.stdout.splitlines()[-1].removeprefix("records: "))
    record = json.loads(path.read_text())
    assert [row["head"] for row in record["rows"]] == ["text", "native-cat"]
    assert len(record["runs"]) == 4
    printed = json.loads(mvsa("bench", *words, "--json").stdout)
    assert [row["mean"] for row in printed["rows"]] == [row["mean"] for row in record["rows"]]
    mean = 100 * record["rows"][1]["mean"]["accuracy"]
    deviation = 100 * record["rows"][1]["deviation"]["accuracy"]
    assert f"{mean:.1f} ± {deviation:.1f}" in result.stdout


@pytest.mark.usefixtures("place")
def test_bench_and_fit_agree(mvsa):
    same = ["--seed", "3", "--epochs", "2"]
    bench = json.loads(
        mvsa("bench", "--head", "native-cat", "--seeds", "1", *same, "--json").stdout
    )
    fit = json.loads(mvsa("fit", "--head", "native-cat", *same, "--json").stdout)
    assert bench["runs"][0]["scores"] == fit["scores"]
    assert bench["references"] == fit["references"]["test"]


@pytest.mark.usefixtures("place")
def test_bench_resplits(mvsa):
    words = ["bench", "--head", "text", "--seeds", "2", "--resplit", "--epochs", "1", "--json"]
    record = json.loads(mvsa(*words).stdout)
    assert record["protocol"].endswith("seed-varied")
    assert [run["protocol"][-1] for run in record["runs"]] == ["0", "1"]


@pytest.mark.usefixtures("place")
def test_bench_says_what_it_compares_on(mvsa):
    result = mvsa("bench", "--head", "text", "--seeds", "1", "--epochs", "1")
    (path,) = Path("cache").glob("*/tiny-text-*.h5")
    assert f"text: {path}" in result.stderr
    assert "80 train, 10 val, 10 test" in result.stderr
