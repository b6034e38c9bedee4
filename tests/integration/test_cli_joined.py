"""Several backbones a modality, and several layers, from the command line."""

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file


@pytest.fixture
def joined(mvsa, workplace):
    """Options that name two text caches, which cut texts at different lengths."""
    assert Path.cwd() == workplace
    (first,) = Path("cache").glob("*/tiny-text*.h5")
    result = mvsa("extract", "--backbone", "tiny-text", "--max-tokens", "5", "--json")
    assert result.exit_code == 0, result.output
    (second,) = [path for path in Path("cache").glob("*/tiny-text*.h5") if path != first]
    return ["--text", "+".join(f"tiny-text@{path.stem.split('-')[-2]}" for path in (first, second))]


@pytest.mark.parametrize("head", ["dual-attention", "logistic"])
def test_a_run_over_two_text_backbones_scores_and_predicts_as_it_did(mvsa, joined, head):
    words = ["--head", head, "--epochs", "1", "--device", "cpu", "--image-grid", "1"]
    made = mvsa("fit", *words, *joined, "--json")
    assert made.exit_code == 0, made.output
    record = json.loads(made.stdout)
    assert record["backbones"] == {"text": "tiny-text+tiny-text", "image": "tiny-image"}
    run = Path(record["run"])
    assert "tiny-text+tiny-text" in run.name
    config = json.loads((run / "config.json").read_text())
    digests = [cache["digest"][:8] for cache in config["caches"]["text"]]
    assert joined[1] == "+".join(f"tiny-text@{digest}" for digest in digests)
    assert config["caches"]["image"]["digest"]
    assert config["sizes"]["text_width"] == 2 * 384
    again = mvsa("evaluate", run, "--json")
    assert again.exit_code == 0, again.output
    assert json.loads(again.stdout)["scores"] == record["scores"]["test"]
    answer = mvsa("predict", run, "--text", "I love it", "--image", "data/data/1.jpg", "--json")
    assert answer.exit_code == 0, answer.output
    assert len(json.loads(answer.stdout)["predictions"]) == 1


def test_a_bench_names_all_backbones_and_finds_its_records_again(mvsa, joined):
    words = ["--head", "basic", "--head", "cmac", "--seeds", "1", "--epochs", "1"]
    made = mvsa("bench", *words, *joined)
    assert made.exit_code == 0, made.output
    assert "tiny-text+tiny-text + tiny-image" in " ".join(made.stdout.split())
    assert "2 runs were recorded before" in mvsa("bench", *words, *joined).output
    assert "recorded before" not in mvsa("bench", *words).output


def test_a_bench_compares_pairs_in_one_table(mvsa, joined):
    names = joined[1].replace("+", ",")
    words = ["bench", "--head", "text", "--head", "native-cat", "--seeds", "2", "--epochs", "1"]
    made = mvsa(*words, "--text", names)
    assert made.exit_code == 0, made.output
    table = made.stdout.split("order by")[0]
    for name in names.split(","):
        assert table.count(name) == 2  # one a head
    record = json.loads(mvsa(*words, "--text", names, "--json").stdout)
    assert [row["pair"] for row in record["rows"]] == [n for n in names.split(",") for _ in "12"]
    assert len(record["pairs"]) == 2
    assert "recorded before" in mvsa(*words, "--text", names.split(",")[0]).output


def test_names_that_cannot_be_joined_lose_nothing(refused, joined):
    words = ["fit", "--head", "basic"]
    assert "tiny-image twice" in refused(*words, "--image", "tiny-image+tiny-image")
    twice = [*joined[:1], f"{joined[1]}+tiny-text"]
    assert "the same cache twice" in refused(*words, *twice, keeps=False)  # digests are kept
    other = refused(*words, "--image", "tiny-image+resnet50", keeps=False)  # if not before
    assert "Expected resnet50" in other
    assert "mvsa bench compares them" in refused(*words, "--image", "tiny-image,resnet50")
    words = ["bench", "--head", "basic"]
    assert "Expected resnet50" in refused(*words, "--image", "tiny-image,resnet50")


@pytest.fixture
def layered(mvsa, workplace):
    assert Path.cwd() == workplace
    result = mvsa("extract", "--backbone", "tiny-text", "--layers", "last4")
    assert result.exit_code == 0, result.output
    assert "tiny-text: 2 layers of 100 posts will take" in " ".join(result.stderr.split())


@pytest.mark.usefixtures("layered")
def test_learned_layers_are_part_of_the_run(mvsa):
    words = ["--head", "hstec", "--epochs", "1", "--device", "cpu", "--layer-mix", "learned"]
    made = mvsa("fit", *words, "--json")
    assert made.exit_code == 0, made.output
    record = json.loads(made.stdout)
    assert record["layer_mix"] == "learned"
    run = Path(record["run"])
    scores = load_file(run / "head.safetensors")["mixing.text.scores.0"]
    assert scores.shape == (2,)
    assert scores.any()
    again = mvsa("evaluate", run, "--json")
    assert json.loads(again.stdout)["scores"] == record["scores"]["test"]
    answer = mvsa("predict", run, "--text", "I love it", "--image", "data/data/1.jpg", "--json")
    assert answer.exit_code == 0, answer.output


@pytest.mark.usefixtures("layered")
def test_a_bench_tells_mixes_apart(mvsa):
    words = ["bench", "--head", "basic", "--seeds", "1", "--epochs", "1", "--layer-mix"]
    for mix in ("mean", "last", "mean"):
        made = mvsa(*words, mix)
        assert made.exit_code == 0, made.output
    assert "1 runs were recorded before" in made.output


@pytest.mark.usefixtures("workplace")
def test_layers_that_are_not_there_lose_nothing(refused):
    mix = refused("fit", "--head", "cmac", "--layer-mix", "mean")
    assert "--layer-mix mean needs a cache of several layers" in mix
    layers = refused("extract", "--backbone", "tiny-image", "--layers", "all", "--partner", "none")
    assert "only the last can be stored" in layers
