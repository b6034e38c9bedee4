"""Runs at work and side by side: evaluate, predict, bench."""

import csv
import json
import re
import shutil
from pathlib import Path

import pytest
from cli_support import paragraph

from mvsa_pipe.training import fitting


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
    assert result.exit_code == 2
    assert "reads the image of a post, and none was given" in result.stderr


@pytest.mark.usefixtures("place")
def test_predict_shows_so_many_and_says_how_many_more(mvsa):
    result = mvsa("predict", "runs/both", "--data", "data")
    assert result.exit_code == 0, result.output
    assert "and 80 more: see --output" in result.stdout


@pytest.mark.usefixtures("place")
def test_an_ensemble_is_one_run_that_evaluate_and_predict_know(mvsa):
    words = ["--epochs", "2", "--seeds", "3", "--ensemble", "--seed", "1", "--name", "three"]
    result = mvsa("fit", "--head", "native-cat", *words)
    assert result.exit_code == 0, result.output
    assert "native-cat × 3 seeds on" in result.stdout
    assert re.search(r"epochs \d, \d, \d selected by val_f1_macro", result.stdout)
    assert "run: runs/three" in result.stdout
    metrics = json.loads(Path("runs/three/metrics.json").read_text())
    shutil.rmtree("cache")
    for part in ("val", "test"):
        record = json.loads(mvsa("evaluate", "runs/three", "--split", part, "--json").stdout)
        assert record["scores"] == metrics["scores"][part]
    assert "native-cat × 3 seeds on" in mvsa("evaluate", "runs/three").stdout
    result = mvsa("predict", "runs/three", "--data", "data", "--output", "out.csv")
    assert result.exit_code == 0, result.output
    with Path("out.csv").open(newline="") as file:
        answers = {row["post_id"]: row for row in csv.DictReader(file)}
    with Path("runs/three/predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 20
    for row in rows:
        assert row["prediction"] == answers[row["post_id"]]["prediction"]
        for name in ("negative", "neutral", "positive"):
            share = float(answers[row["post_id"]][f"p_{name}"])
            assert float(row[f"p_{name}"]) == pytest.approx(share, abs=1e-4)


@pytest.mark.usefixtures("place")
def test_several_seeds_without_an_ensemble_are_several_runs(mvsa):
    words = ["fit", "--head", "native-cat", "--epochs", "1", "--seeds", "2", "--json"]
    records = json.loads(mvsa(*words, "--name", "mine").stdout)["runs"]
    assert [record["run"] for record in records] == ["runs/mine-seed0", "runs/mine-seed1"]
    assert [record["seed"] for record in records] == [0, 1]
    single = json.loads(mvsa(*words[:-3], "--seed", "1", "--json").stdout)
    assert single["scores"] == records[1]["scores"]
    again = mvsa(*words, "--name", "mine")
    assert again.exit_code == 2
    assert "exists already (runs/mine-seed0)" in again.stderr
    assert len(json.loads(mvsa(*words).stdout)["runs"]) == 2


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("head", ["svm", "boosting"])
def test_solved_heads_are_runs_like_others(mvsa, head):
    result = mvsa("fit", "--head", head, "--name", "solved")
    assert result.exit_code == 0, result.output
    assert re.search(r"strength [\d.]+ selected by val_f1_macro", result.stdout)
    metrics = json.loads(Path("runs/solved/metrics.json").read_text())
    record = json.loads(mvsa("evaluate", "runs/solved", "--json").stdout)
    assert record["scores"] == metrics["scores"]["test"]
    assert mvsa("predict", "runs/solved", "--data", "data").exit_code == 0


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("head", ["logistic", "svm", "boosting"])
def test_runs_that_count_words_answer_again_as_they_did(mvsa, head):
    result = mvsa("fit", "--head", head, "--set", "terms=300", "--name", "words")
    assert result.exit_code == 0, result.output
    metrics = json.loads(Path("runs/words/metrics.json").read_text())
    for part in ("val", "test"):
        record = json.loads(mvsa("evaluate", "runs/words", "--split", part, "--json").stdout)
        assert record["scores"] == metrics["scores"][part]
    assert mvsa("compare", "runs/words", "runs/both").exit_code == 0
    result = mvsa("predict", "runs/words", "--text", "never seen", "--image", "data/data/1.jpg")
    assert result.exit_code == 0, result.output


@pytest.mark.usefixtures("place")
def test_a_bench_compares_terms_on_splits_of_their_own(mvsa):
    words = ["bench", "--head", "logistic", "--seeds", "2", "--resplit", "--json"]
    record = json.loads(mvsa(*words, "--vary", "terms=0,300").stdout)
    assert [row["setting"] for row in record["rows"]] == ["terms=0", "terms=300"]
    sizes = [run["parameters"] for run in record["runs"]]
    assert sizes[0] == sizes[1] < min(sizes[2:])
    assert len({run["protocol"] for run in record["runs"]}) == 2


@pytest.mark.usefixtures("place")
def test_bench_prints_a_table_and_keeps_an_index(mvsa):
    words = ["--head", "text", "--head", "native-cat", "--seeds", "2", "--epochs", "1"]
    result = mvsa("bench", *words)
    assert result.exit_code == 0, result.output
    for word in ("│ text ", "│ native-cat ", "│ majority ", "│ chance ", "over 2 seeds"):
        assert word in result.stdout
    (named,) = [line for line in result.stdout.splitlines() if line.startswith("records: ")]
    record = json.loads(Path(named.removeprefix("records: ")).read_text())
    assert [row["head"] for row in record["rows"]] == ["text", "native-cat"]
    assert len(record["runs"]) == 4
    printed = json.loads(mvsa("bench", *words, "--json").stdout)
    assert [row["mean"] for row in printed["rows"]] == [row["mean"] for row in record["rows"]]
    mean = 100 * record["rows"][1]["mean"]["accuracy"]
    deviation = 100 * record["rows"][1]["deviation"]["accuracy"]
    assert f"{mean:.1f} ± {deviation:.1f}" in result.stdout
    together = 100 * record["ensembles"][1]["values"]["accuracy"]
    shown = [line for line in result.stdout.splitlines() if "2 averaged" in line]
    assert f" {together:.1f} " in shown[1]


@pytest.mark.usefixtures("place")
def test_other_verbs_take_the_runs_of_a_bench(mvsa):
    words = ["--head", "text", "--head", "native-cat", "--head", "logistic", "--seeds", "2"]
    index = json.loads(mvsa("bench", *words, "--epochs", "1", "--runs", "runs", "--json").stdout)
    runs = [entry["run"] for entry in index["runs"]]
    assert len(set(runs)) == 6
    for entry in index["runs"]:
        record = json.loads(mvsa("evaluate", entry["run"], "--json").stdout)
        assert record["scores"] == entry["scores"]["test"]
        answer = mvsa("predict", entry["run"], "--data", "data", "--output", "out.csv")
        assert answer.exit_code == 0, answer.output
    compared = mvsa("compare", *runs, "runs/both")
    assert compared.exit_code == 0, compared.output
    for number, onnx in ((0, "--no-onnx"), (2, "--onnx"), (4, "--no-onnx")):
        exported = mvsa("export", runs[number], "--output", f"model-{number}", onnx)
        assert exported.exit_code == 0, exported.output
        assert Path(f"model-{number}").is_dir()


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


@pytest.mark.usefixtures("workplace")
def test_seeds_that_come_to_nothing_do_not_cost_the_others(mvsa, monkeypatch):
    honest = fitting.TrainState.close_epoch

    def close_epoch(self, train_loss, seconds):
        honest(self, float("nan") if self.options.seed == 1 else train_loss, seconds)

    monkeypatch.setattr(fitting.TrainState, "close_epoch", close_epoch)
    words = ["fit", "--head", "text", "--epochs", "1", "--seeds", "3", "--name", "x"]
    result = mvsa(*words)
    text = paragraph(result.exit_code, result.stderr)
    assert "1 of 3 runs failed; the others are kept. Found Training diverged" in text
    assert sorted(path.name for path in Path("runs").iterdir()) == ["x-seed0", "x-seed2"]
    alone = mvsa("fit", "--head", "text", "--epochs", "1", "--seed", "1", "--name", "y")
    assert "Training diverged in epoch 0" in paragraph(alone.exit_code, alone.stderr)
