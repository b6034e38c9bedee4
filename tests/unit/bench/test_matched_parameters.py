"""Widths by which heads have like parameter counts."""

import pytest

from mvsa_pipe.benches.matched_parameters import matched_heads, parameters_of
from mvsa_pipe.benches.options import BenchOptions
from mvsa_pipe.benches.run import run_bench
from mvsa_pipe.errors import ConfigError
from mvsa_pipe.features.batch import FeatureSizes
from mvsa_pipe.heads.build import build_head
from mvsa_pipe.progress import NO_PROGRESS
from mvsa_pipe.runs import open_run
from mvsa_pipe.runs.options import CacheChoice, DataChoice
from mvsa_pipe.training.options import TrainingOptions

SIZES = FeatureSizes(384, 512, 16, 3)


def matched(*heads, budget="median", **given):
    options = BenchOptions(heads=heads, match_parameters=True, budget=budget)
    return {head.head: head for head in matched_heads(options, SIZES, given)}


def test_counts_are_those_of_real_heads():
    for head in ("native-cat", "cmac", "bottleneck"):
        built = build_head(head, SIZES, 0, {"dropout": 0.1})
        assert parameters_of(head, SIZES, {"dropout": 0.1}) == built.parameter_count


def test_all_heads_come_near_a_number():
    found = matched(budget="400_000")
    assert {"text", "native-cat", "cmac", "hstec", "bottleneck"} <= found.keys()
    assert "logistic" not in found
    assert all(abs(head.deviation) < 0.05 for head in found.values())
    assert found["cmac"].option == "width"
    assert found["cmac"].value % 4 == 0
    assert found["native-cat"].option == "hidden"


def test_no_neighbouring_width_is_nearer():
    for head in matched("cmac", "gated", "text", budget="300000").values():
        step = 4 if head.head == "cmac" else 1
        for value in (head.value - step, head.value + step):
            other = parameters_of(head.head, SIZES, {head.option: value})
            assert abs(other - 300_000) >= abs(head.parameters - 300_000)


def test_a_head_keeps_its_width_where_the_budget_is_its_own():
    found = matched("native-cat", "cmac", "gated", budget="cmac")
    assert found["cmac"].value == 256
    assert found["cmac"].deviation == 0
    default = {head: parameters_of(head, SIZES, {}) for head in ("native-cat", "cmac", "gated")}
    assert matched(*default)["gated"].budget == sorted(default.values())[1]


def test_a_budget_below_every_width():
    (found,) = matched("cmac", budget="10").values()
    assert found.value == 4
    assert found.deviation > 1


@pytest.mark.parametrize(
    ("heads", "budget", "given", "words"),
    [
        (("cmac",), "median", {"width": "8"}, "--vary sets too"),
        (("logistic",), "5000", {}, "parameters are known before training"),
        (("cmac",), "svm", {}, "parameters are known before training"),
    ],
)
def test_what_cannot_be_matched_is_refused(heads, budget, given, words):
    with pytest.raises(ConfigError, match=words):
        matched(*heads, budget=budget, **given)


def test_a_budget_needs_the_option():
    with pytest.raises(ConfigError, match="no effect by itself"):
        BenchOptions(budget="cmac")


def test_a_bench_trains_and_records_the_widths(pipeline, tmp_path):
    options = BenchOptions(
        heads=("native-cat", "gated", "logistic"), seeds=1, match_parameters=True, budget="30000"
    )
    said = []

    class Heard(type(NO_PROGRESS)):
        def say(self, line):
            said.append(line)

    data, caches = DataChoice(pipeline / "data"), CacheChoice(pipeline / "cache")
    training = TrainingOptions(epochs=1, device="cpu")
    bench = run_bench(data, caches, options, training, Heard(), tmp_path / "runs")
    assert any("widths for 30,000 parameters: native-cat hidden=" in line for line in said)
    by_head = {row.head: row for row in bench.rows}
    for head in bench.matched:
        assert by_head[head.head].parameters == head.parameters
    (path,) = (tmp_path / "runs").glob("*gated*")
    config = open_run(path).config
    assert config["parameter_budget"] == 30_000
    assert config["head_options"]["width"] == bench.matched[1].value
    assert [each["head"] for each in bench.as_record()["matched"]] == ["native-cat", "gated"]
    (plain,) = (tmp_path / "runs").glob("*logistic*")
    assert "parameter_budget" not in open_run(plain).config
