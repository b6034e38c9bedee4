"""``mvsa compare`` from outside."""

import json
import shutil
from pathlib import Path

import pytest

pytestmark = pytest.mark.usefixtures("place")


def test_compare_shows_scores_tests_costs_and_words(mvsa):
    result = mvsa("compare", "runs/both", "runs/text")
    assert result.exit_code == 0, result.output
    metrics = json.loads(Path("runs/both/metrics.json").read_text())
    accuracy = 100 * metrics["scores"]["test"]["values"]["accuracy"]
    for words in (
        f"{metrics['protocol']} · test · 10 posts",
        f"│ both (native-cat) │ {accuracy:.1f} [",
        "│ majority",
        "points more than both",
        "p-value",
        "order by accuracy",
        "paired bootstrap over posts and seeds",
        "leads with accuracy",
        f"{metrics['parameters']:,}",
        "text reaches",
    ):
        assert words in " ".join(result.stdout.split()), words


def test_compare_repeats_the_recorded_scores_and_references(mvsa):
    record = json.loads(mvsa("compare", "runs/text", "runs/both", "--json").stdout)
    metrics = json.loads(Path("runs/text/metrics.json").read_text())
    assert record["rows"][0]["scores"] == metrics["scores"]["test"]
    assert record["references"] == metrics["references"]["test"]
    assert record["rows"][0]["cost"]["seconds"] == metrics["seconds"]
    assert metrics["energy_joules"] is None
    assert record["rows"][1]["paired"]["mcnemar"]["p_value"] <= 1
    assert len(record["sentences"]) == 2


def test_compare_needs_no_checkpoint_and_no_posts(mvsa):
    shutil.rmtree("data")
    shutil.rmtree("cache")
    Path("runs/both/head.safetensors").unlink()
    assert mvsa("compare", "runs/both", "runs/text").exit_code == 0


def test_compare_refuses_other_protocols_unless_told_to(mvsa, refused):
    words = ["--head", "text", "--epochs", "1", "--split-seed", "1", "--split", "random-4:1:5"]
    assert mvsa("fit", *words, "--name", "other").exit_code == 0
    said = refused("compare", "runs/both", "runs/other")
    assert "protocols differ: both has" in said
    shared = mvsa("compare", "runs/both", "runs/other", "--shared-posts")
    assert shared.exit_code == 0, shared.output
    assert "posts that all runs share" in " ".join(shared.stdout.split())


def test_compare_refuses_what_is_no_run(refused):
    assert "There is no run here (runs/none)" in refused("compare", "runs/both", "runs/none")
    assert "two different runs" in refused("compare", "runs/both")
    assert "two different runs" in refused("compare", "runs/both", "runs/both/")
