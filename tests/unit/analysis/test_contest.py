"""What counts as one head, and what as one run."""

import json
import shutil

import pytest
from analysed_runs import copied

from mvsa_pipe.analysis.contest import contest_of_runs
from mvsa_pipe.errors import ConfigError
from mvsa_pipe.runs import open_run


@pytest.fixture(scope="module")
def make(pipeline, tmp_path_factory):
    return copied(pipeline, tmp_path_factory.mktemp("contest"))


def changed(run, folder, **entries):
    """A copy of a run with other entries in its configuration."""
    shutil.copytree(run.path, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | entries))
    return open_run(folder)


def test_a_copy_of_a_run_is_no_second_seed(make, tmp_path):
    run = make("native-cat")
    again = open_run(shutil.copytree(run.path, tmp_path / "again"))
    with pytest.raises(ConfigError, match="the same one") as refused:
        contest_of_runs([run, again])
    assert str(run.path) in str(refused.value)
    assert str(again.path) in str(refused.value)


def test_baselines_that_answer_alike_with_other_seeds_are_seeds(make):
    (entry,) = contest_of_runs([make("logistic", seed=seed) for seed in (0, 1)]).entries
    assert len(entry.runs) == 2


def test_two_versions_of_an_own_head_are_two_heads(make, tmp_path):
    source = {"module": "mine", "name": "Mine", "file": "", "sha256": "0" * 64}
    run, other = (make("native-cat", seed=seed) for seed in (0, 1))
    own = changed(run, tmp_path / "first", head_source=source)
    same = changed(other, tmp_path / "second", head_source=source)
    edited = changed(other, tmp_path / "edited", head_source=source | {"sha256": "1" * 64})
    assert len(contest_of_runs([own, same]).entries) == 1
    assert len(contest_of_runs([own, edited]).entries) == 2


def test_heads_of_one_title_are_named_by_what_differs_but_for_seeds(make):
    plain = [make("native-cat", seed=seed) for seed in (0, 1)]
    named = [make("native-cat", options={"dropout": 0.3}, seed=seed) for seed in (1, 2)]
    logistic = make("logistic")
    found = [entry.name for entry in contest_of_runs([*plain, *named, logistic]).entries]
    dropout = plain[0].config["head_options"]["dropout"]
    assert found == [
        f"native-cat (dropout {dropout:g})",
        "native-cat (dropout 0.3)",
        "logistic",
    ]


def test_a_setting_that_one_head_alone_records_is_named_of_it_alone(make, tmp_path):
    run = make("native-cat")
    training = run.config["training"] | {"ema": 0.9}
    other = changed(run, tmp_path / f"averaged-{'x' * 40}", training=training)
    entries = contest_of_runs([run, other, make("logistic")]).entries
    assert [entry.name for entry in entries] == ["native-cat", "native-cat (ema 0.9)", "logistic"]
