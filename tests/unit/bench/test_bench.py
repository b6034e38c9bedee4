"""Heads × seeds: the summary agrees with the runs."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mvsa_pipe.benches.options import BenchOptions
from mvsa_pipe.benches.run import run_bench, save_bench
from mvsa_pipe.benches.summary import average_runs
from mvsa_pipe.errors import ConfigError, UnknownNameError
from mvsa_pipe.heads import HEADS, is_faithful
from mvsa_pipe.progress import NoProgress
from mvsa_pipe.runs.ensemble import run_ensemble
from mvsa_pipe.runs.options import CacheChoice, DataChoice
from mvsa_pipe.runs.prepare import needs_of, prepare
from mvsa_pipe.training.options import TrainingOptions

TRAINING = TrainingOptions(epochs=2, device="cpu")
DATA = DataChoice()


def bench(options, data=DATA, training=TRAINING):
    return run_bench(data, CacheChoice(), options, training, NoProgress())


@pytest.mark.usefixtures("workplace")
def test_the_summary_agrees_with_the_runs():
    done = bench(BenchOptions(heads=("native-cat", "text"), seeds=3))
    assert [row.head for row in done.rows] == ["native-cat", "text"]
    assert len(done.runs) == 6
    for row in done.rows:
        runs = [run for run in done.runs if run.trial.spec.head == row.head]
        assert [run.trial.spec.training.seed for run in runs] == [0, 1, 2]
        for name in row.mean:
            values = [run.metrics["scores"]["test"]["values"][name] for run in runs]
            assert row.mean[name] == pytest.approx(np.mean(values))
            assert row.deviation[name] == pytest.approx(np.std(values, ddof=1))
            assert row.interval[name][0] <= row.mean[name] <= row.interval[name][1]
        assert row.parameters == runs[0].metrics["parameters"]


@pytest.mark.usefixtures("workplace")
def test_ensembles_are_what_one_run_of_all_seeds_is():
    done = bench(BenchOptions(heads=("native-cat", "logistic"), seeds=3))
    (row,) = done.ensembles  # copies of logistic are not averaged
    assert (row.head, row.part, row.seeds) == ("native-cat", "test", (0, 1, 2))
    experiment = prepare(DATA, CacheChoice(), needs_of(["native-cat"]))
    whole = run_ensemble(experiment, "native-cat", {}, TRAINING, row.seeds)
    assert row.values == pytest.approx(whole.record["scores"]["test"]["values"])
    for name, bounds in whole.scores["test"].intervals.items():
        assert row.interval[name] == pytest.approx(bounds, abs=5e-6)  # of rounded probabilities
    assert done.as_record()["ensembles"] == [vars(row)]


@pytest.mark.usefixtures("workplace")
def test_what_was_tested_on_other_posts_is_not_averaged():
    done = bench(BenchOptions(heads=("text",), seeds=2, resplit=True))
    assert done.ensembles == []
    assert average_runs(done.runs, "test", ("negative", "neutral", "positive")) is None
    assert bench(BenchOptions(heads=("text",), seeds=1)).ensembles == []


@pytest.mark.usefixtures("workplace")
def test_a_run_is_the_same_whatever_stands_beside_it():
    alone = bench(BenchOptions(heads=("native-cat",), seeds=1))
    beside = bench(BenchOptions(heads=("text", "ote", "native-cat"), seeds=1))
    timed = {"seconds", "scoring_seconds", "peak_memory_bytes"}
    one, other = (
        {key: value for key, value in done.runs[-1].metrics.items() if key not in timed}
        for done in (alone, beside)
    )
    assert one == other


@pytest.mark.usefixtures("workplace")
def test_seeds_count_up_from_the_training_seed():
    done = bench(BenchOptions(heads=("text",), seeds=2), training=replace(TRAINING, seed=7))
    assert [run.trial.spec.training.seed for run in done.runs] == [7, 8]


@pytest.mark.usefixtures("workplace")
@pytest.mark.parametrize("split_seed", [0, 2, 9])
def test_resplit_draws_a_split_of_its_own_for_every_seed(split_seed):
    data = replace(DATA, split_seed=split_seed)
    done = bench(BenchOptions(heads=("text",), seeds=3, resplit=True), data)
    tags = [run.metrics["protocol"] for run in done.runs]
    assert [tag.rpartition("/")[2] for tag in tags] == ["seed-0", "seed-1", "seed-2"]
    for seed, run in enumerate(done.runs):
        posts = prepare(replace(DATA, split_seed=seed), CacheChoice(), needs_of(["text"]))
        labels = posts.training_data.labels[posts.indices["test"]].numpy()
        right = (run.predictions["test"].predicted == labels).mean()
        assert run.metrics["scores"]["test"]["values"]["accuracy"] == pytest.approx(right)
    assert done.protocol.endswith("/seed-varied")


@pytest.mark.usefixtures("workplace")
def test_a_split_in_files_cannot_be_drawn_anew():
    data = replace(DATA, split="folds/0")
    with pytest.raises(ConfigError, match=r"--resplit.*random"):
        bench(BenchOptions(heads=("text",), seeds=2, resplit=True), data)


@pytest.mark.usefixtures("workplace")
def test_without_a_test_part_validation_is_shown_and_said():
    done = bench(BenchOptions(heads=("text",), seeds=1), replace(DATA, split="random-8:2"))
    assert done.part == "val"
    assert done.rows[0].part == "val"


@pytest.mark.usefixtures("workplace")
def test_an_index_does_not_replace_another():
    done = bench(BenchOptions(heads=("text",), seeds=1))
    first, second = save_bench(done, Path("runs")), save_bench(done, Path("runs"))
    assert first != second
    one, other = (json.loads(path.read_text()) for path in (first, second))
    assert one.pop("written")
    assert other.pop("written")
    assert one == other


def test_faithful_variants_run_when_asked_for():
    assert not any(is_faithful(HEADS.row(name)) for name in BenchOptions().chosen_heads())
    assert BenchOptions(heads=("ote-faithful",)).chosen_heads() == ("ote-faithful",)
    assert BenchOptions(heads=("text", "text")).chosen_heads() == ("text",)


def test_what_cannot_run_is_refused_at_once():
    with pytest.raises(UnknownNameError, match="dual-attention"):
        BenchOptions(heads=("dual_attention",))
    with pytest.raises(ConfigError, match="--seeds"):
        BenchOptions(seeds=0)
