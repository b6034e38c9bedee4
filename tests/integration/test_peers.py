"""``benchmarks/peers.py``: what it refuses, how it counts, and that both sides return the same."""

import importlib
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def load(monkeypatch):
    """Imports a benchmark's module, as its script does."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


@pytest.fixture
def rounds(load):
    return load("rounds")


@pytest.fixture
def sides(rounds):
    with ThreadPoolExecutor(1) as ours, ThreadPoolExecutor(1) as peers:
        yield rounds.Sides(ours, peers)


@pytest.fixture
def counted(rounds, monkeypatch):
    """Costs of named works without a clock, and the order in which they were asked for."""
    asked = []

    def timed(work):
        asked.append(work())
        seconds = {"ours": 2.0, "slow": 6.0, "fast": 3.0}[asked[-1]]
        return rounds.Cost(wall=seconds, processor=2 * seconds, others=0.01 * len(asked))

    monkeypatch.setattr(rounds, "timed", timed)
    return asked


def contest(rounds, **peers):
    return rounds.Contest(
        rounds.Variant(lambda: "ours", lambda: 1.0),
        {name: [variant] for name, variant in peers.items()},
        lambda one, other: abs(one - other),
        tolerance=0.1,
    )


def test_rounds_alternate_and_ratios_are_of_one_round(rounds, sides, counted):
    peers = {name: rounds.Variant(partial(str, name), lambda: 1.05) for name in ("slow", "fast")}
    found = sides.compared(contest(rounds, **peers), rounds=2)
    assert counted == ["ours", "slow", "fast", "fast", "slow", "ours"]
    assert found["slow"]["times_as_fast"]["values"] == [3.0, 3.0]
    assert found["fast"]["by_processor_time"]["median"] == 1.5
    assert found["fast"]["largest_difference"] == 0.05
    assert found["fast"]["mark"] == ""


@pytest.mark.parametrize("output", [1.2, float("nan")])
def test_other_outputs_are_refused_before_anything_is_timed(rounds, sides, counted, output):
    peer = rounds.Variant(lambda: "slow", lambda: output)
    with pytest.raises(rounds.DifferentOutputsError, match=r"^library: outputs differ"):
        sides.compared(contest(rounds, library=peer), rounds=1)
    assert counted == []


def test_the_fastest_variant_of_a_peer_is_measured(rounds, sides, counted):
    variants = [rounds.Variant(partial(str, n), lambda: 1.0, n) for n in ("slow", "fast")]
    asked = contest(rounds)
    found = sides.compared(
        rounds.Contest(asked.ours, {"library": variants}, asked.difference, 0.0), rounds=1
    )
    assert found["library"]["setting"] == "fast"
    assert counted[-2:] == ["ours", "fast"]


def test_a_busy_machine_marks_what_was_measured_on_it(rounds):
    idle, busy = (rounds.Cost(1.0, 1.0, others) for others in (0.1, 1.5))
    assert rounds.mark([idle, idle]) == ""
    assert rounds.mark([idle, busy]) == "*"


def test_what_a_timed_work_wrote_is_deleted(rounds, tmp_path):
    def work():
        folder = tmp_path / "written"
        folder.mkdir()
        (folder / "file").write_text("x")
        return folder

    assert rounds.timed(work).wall > 0
    assert list(tmp_path.iterdir()) == []


def test_all_stores_return_the_features_of_the_cache(load, sides, monkeypatch, tmp_path):
    monkeypatch.setattr(load("material"), "real", lambda: False)
    storage = load("peer_storage")
    found = storage.measure(24, 1, sides, tmp_path)
    assert set(found) == {
        f"{what} {half} features" for what in ("writing", "reading") for half in ("text", "image")
    }
    assert set(found["writing text features"]) == storage.STORES.keys() - {"own"}


def test_a_store_that_loses_a_number_is_refused(load, rounds, sides, monkeypatch, tmp_path):
    class Rounded(load("peer_storage").NpyFiles):
        def batches(self, folder, chosen):
            for pooled, hidden in super().batches(folder, chosen):
                yield pooled, np.round(hidden, 1)

    monkeypatch.setattr(load("material"), "real", lambda: False)
    storage = load("peer_storage")
    monkeypatch.setitem(storage.STORES, ".npy files", Rounded())
    with pytest.raises(rounds.DifferentOutputsError, match="npy"):
        storage.measure(24, 1, sides, tmp_path)


def test_sentence_transformers_returns_the_same(load, tmp_path):
    text = load("peer_text")
    if reason := load("peers").missing(text):
        pytest.skip(reason)
    ours, theirs = text.vectors_of_ours(12, tmp_path), text.vectors_of_peer(12, tmp_path, 4)
    np.testing.assert_allclose(ours, theirs, atol=text.TOLERANCE, rtol=0)
    ours, lengths = text.states_of_ours(12, tmp_path)
    theirs, own = text.joined_states_of_peer(12, tmp_path, 4)
    assert lengths.tolist() == own.tolist()
    np.testing.assert_allclose(ours, theirs, atol=text.TOLERANCE, rtol=0)


def test_a_plain_loop_over_torchvision_returns_the_same(load, tmp_path):
    pictures = load("peer_pictures")
    if reason := load("peers").missing(pictures):
        pytest.skip(reason)
    pictures.unpack(4, tmp_path)
    ours = pictures.features_of_ours(4, tmp_path, True)
    theirs = pictures.features_of_peer(tmp_path / "pictures", 0, True)
    assert [values.shape for values in ours] == [(4, 512), (4, 169, 512)]
    for one, other in zip(ours, theirs, strict=True):
        largest = np.abs(other).max()
        np.testing.assert_allclose(one, other, atol=pictures.TOLERANCE * largest, rtol=0)


@pytest.mark.parametrize(
    ("real", "requires", "said"),
    [(False, (), "no real posts"), (True, ("surely_absent",), "no surely_absent: pip install")],
)
def test_what_is_missing_is_named_and_nothing_is_recorded(
    load, monkeypatch, capsys, real, requires, said
):
    peers = load("peers")
    monkeypatch.setattr(load("material"), "real", lambda: real)
    monkeypatch.setattr(load("peer_text"), "REQUIRES", requires)
    monkeypatch.setattr(sys, "argv", ["peers.py", "--part", "text"])
    monkeypatch.setattr(peers, "write_record", pytest.fail)
    peers.main()
    assert f"text skipped: {'there are ' if not real else ''}{said}" in capsys.readouterr().out


@pytest.mark.parametrize("check", [[], ["--rounds", "1"]])
def test_a_check_is_printed_and_a_measurement_recorded(load, monkeypatch, capsys, check):
    peers, recorded = load("peers"), []
    monkeypatch.setattr(peers, "missing", lambda _: "")
    monkeypatch.setattr(peers, "_measured", lambda *_: {"posts": 3})
    monkeypatch.setattr(peers, "earlier_results", lambda _: {"heads": "as before", "text": "old"})
    monkeypatch.setattr(peers, "write_record", lambda *given: recorded.append(given))
    monkeypatch.setattr(sys, "argv", ["peers.py", "--part", "text", *check])
    peers.main()
    if check:
        assert json.loads(capsys.readouterr().out) == {"text": {"posts": 3}}
        assert recorded == []
    else:
        ((name, _, results),) = recorded
        assert name == "peers"
        assert results == {"heads": "as before", "text": {"posts": 3}}
