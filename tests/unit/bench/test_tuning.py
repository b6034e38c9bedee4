"""Tuning: the search sees no test post, resumes, and its luck is told."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from mvsa_pipe.benches import loaded
from mvsa_pipe.benches.search_space import search_space
from mvsa_pipe.benches.study import STUDIES, Study
from mvsa_pipe.benches.tune_options import TuneOptions
from mvsa_pipe.benches.tuning import expected_best, luck_sentence, tune
from mvsa_pipe.errors import ConfigError, RunError, StorageError
from mvsa_pipe.heads.options import HeadOptions, rate, size
from mvsa_pipe.metrics.score_table import Score
from mvsa_pipe.progress import NoProgress
from mvsa_pipe.runs import open_run
from mvsa_pipe.runs.options import CacheChoice, DataChoice
from mvsa_pipe.training.options import TrainingOptions

pytest.importorskip("optuna")

RUNS = Path("runs-here")
TRAINING = TrainingOptions(epochs=2, device="cpu")


def tuned(**changes):
    options = TuneOptions(
        **{"heads": ("native-cat",), "trials": 4, "together": 2, "replay": 2} | changes
    )
    return tune(DataChoice(), CacheChoice(), options, TRAINING, NoProgress(), RUNS)


@pytest.fixture
def trained(monkeypatch):
    """Names every run that is trained from here on, with its learning rate."""
    runs = []
    honest = loaded.try_run_heads

    def run_heads(planned, *words):
        runs.extend((spec.training.seed, spec.training.learning_rate) for _, spec in planned)
        return honest(planned, *words)

    monkeypatch.setattr(loaded, "try_run_heads", run_heads)
    return runs


@pytest.mark.usefixtures("workplace")
def test_the_search_sees_no_test_post_and_the_replays_use_fresh_seeds():
    done = tuned()
    (head,) = done.heads
    runs = [trial.run for trial in head.trials if trial.run]
    assert len(head.trials) == 4
    assert runs
    for name in runs:
        run = open_run(RUNS / name)
        assert {member.split for member in run.members()} == {"train", "val"}
        assert {row.split for row in run.predictions()} == {"val"}
        assert run.config["training"]["seed"] == 0
    assert done.bench.part == "test"
    assert [(row.setting, row.seeds) for row in done.bench.rows] == [("defaults", 2), ("tuned", 2)]
    assert {run.trial.spec.training.seed for run in done.bench.runs} == {1, 2}
    chosen = open_run(done.bench.runs[-1].path).config
    assert chosen["training"]["learning_rate"] == head.values["learning_rate"]
    assert chosen["head_options"]["hidden"] == head.values["hidden"]
    complete = [trial.score for trial in head.trials if trial.run]
    assert head.best == max(complete)
    assert head.luck == pytest.approx(head.best - np.mean(head.replayed))
    assert f"{100 * head.luck:+.1f} points" in luck_sentence(head)


@pytest.mark.usefixtures("workplace")
def test_a_stopped_search_resumes_with_the_same_proposals(trained, monkeypatch):
    whole = tuned(prune=False)
    assert len(trained) == 4 + 4
    trained.clear()
    assert tuned(prune=False).heads == whole.heads
    assert not trained
    for path in RUNS.iterdir():  # begin anew, and stop in the second batch
        path.unlink() if path.is_file() else shutil.rmtree(path)
    counting = loaded.try_run_heads

    def stopped(*words):
        if len(trained) >= 2:
            raise KeyboardInterrupt
        return counting(*words)

    monkeypatch.setattr(loaded, "try_run_heads", stopped)
    with pytest.raises(KeyboardInterrupt):
        tuned(prune=False)
    monkeypatch.setattr(loaded, "try_run_heads", counting)
    resumed = tuned(prune=False).heads[0]
    assert [t.values for t in resumed.trials] == [t.values for t in whole.heads[0].trials]
    assert resumed.best == whole.heads[0].best


@pytest.mark.usefixtures("workplace")
def test_posts_are_digested_once_for_all_trials_and_once_for_all_replays(monkeypatch):
    digested, digest = [], loaded.experiment_digest

    def counted(experiment):
        digested.append(len(experiment.indices["test"]) > 0)
        return digest(experiment)

    monkeypatch.setattr(loaded, "experiment_digest", counted)
    tuned(prune=False)
    assert digested == [False, True]  # four trials without the test part, four replays with it


@pytest.mark.usefixtures("workplace")
def test_proposals_of_a_batch_have_one_shape():
    trials = tuned(trials=6, together=3, prune=False).heads[0].trials
    hidden = [trial.values["hidden"] for trial in trials]
    assert len(set(hidden[:3])) == len(set(hidden[3:])) == 1
    assert len({trial.values["learning_rate"] for trial in trials}) == 6


@pytest.mark.usefixtures("workplace")
def test_a_trial_below_the_median_ends_early_and_has_no_run():
    search = ("learning-rate=1e-9..0.05,log",)
    trials = tune(
        DataChoice(),
        CacheChoice(),
        TuneOptions(
            heads=("native-cat",), trials=16, together=2, replay=1, sampler="random", search=search
        ),
        TrainingOptions(epochs=6, batch_size=8, device="cpu"),
        NoProgress(),
        RUNS,
    ).heads[0]
    pruned = [trial for trial in trials.trials if trial.state == "pruned"]
    assert pruned
    assert max(trial.values["learning_rate"] for trial in pruned) < trials.values["learning_rate"]
    assert not any(trial.run for trial in pruned)
    assert trials.values["learning_rate"] > 1e-3


@pytest.mark.usefixtures("workplace")
def test_equal_proposals_of_a_batch_are_trained_once_and_share_a_result(trained):
    (head,) = tuned(search=("learning_rate=0.001",), replay=1, prune=False).heads
    assert [trial.state for trial in head.trials] == ["complete"] * 4
    assert len({trial.run for trial in head.trials}) == 1
    assert sum(seed == 0 for seed, _ in trained) == 1


@pytest.mark.usefixtures("workplace")
def test_a_damaged_database_is_named_and_kept():
    RUNS.mkdir()
    (RUNS / STUDIES).write_text("nonsense")
    with pytest.raises(StorageError, match="not a database") as refused:
        tuned()
    assert STUDIES in str(refused.value)
    assert (RUNS / STUDIES).read_text() == "nonsense"


@pytest.mark.usefixtures("workplace")
def test_heads_of_which_no_trial_trains_are_refused():
    with pytest.raises(RunError, match="All trials of native-cat failed"):
        tuned(search=("learning-rate=1e30,1e31",), prune=False)


def test_a_score_of_zero_can_be_the_best():
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = object.__new__(Study)
    study._select, study._space = Score.ECE, search_space("native-cat", TRAINING, ())
    study._study = optuna.create_study(direction="maximize")
    for run, value in (("poor", -0.2), ("perfect", 0.0)):
        study._study.add_trial(optuna.trial.create_trial(value=value, user_attrs={"run": run}))
    assert study._found().best == 0


def test_the_expected_best_of_draws():
    values = [0.1, 0.5, 0.9]
    found = expected_best(values, Score.ACCURACY)
    generator = np.random.default_rng(0)
    draws = generator.choice(values, (200_000, 3))
    for n in (1, 2, 3):
        assert found[n - 1] == pytest.approx(draws[:, :n].max(axis=1).mean(), abs=0.003)
    assert expected_best(values, Score.LOG_LOSS)[2] == pytest.approx(
        draws.min(axis=1).mean(), abs=0.003
    )


@dataclass(frozen=True)
class Declared(HeadOptions):
    width: int = size(32)
    dropout: float = rate(0.1)
    scale: float = 1.0


def test_ranges_come_from_the_options_and_can_be_written():
    space = search_space("native-cat", TRAINING, ())
    assert {"learning_rate", "weight_decay", "hidden", "dropout"} <= {*space.searches}
    assert space.reshaping == ("hidden",)
    assert Declared.searches()["width"].reshapes
    assert "scale" not in Declared.searches()
    written = search_space("native-cat", TRAINING, ("dropout=0..0.3", "hidden=8,16", "epochs=2,3"))
    assert written.searches["dropout"].high == 0.3
    assert written.searches["hidden"].choices == (8, 16)
    setting = written.setting({"dropout": 0.1, "hidden": 8, "epochs": 3})
    assert setting.training.epochs == 3
    assert setting.head_options == {"dropout": 0.1, "hidden": 8}


@pytest.mark.parametrize(
    "text",
    [
        "dropout",
        "dropout=",
        "colour=1..2",
        "dropout=0.5..0.1",
        "hidden=1..9",
        "dropout=0..1,log",
        "seed=1,2",
        "dropout=a..b",
        "hidden=many",
    ],
)
def test_ranges_that_cannot_be_used_are_refused(text):
    with pytest.raises(ConfigError):
        search_space("native-cat", TRAINING, (text,))


def test_a_baseline_without_options_has_nothing_to_tune():
    with pytest.raises(ConfigError, match="nothing to tune"):
        search_space("logistic", TRAINING, ())
    with pytest.raises(ConfigError, match="--head"):
        TuneOptions()
