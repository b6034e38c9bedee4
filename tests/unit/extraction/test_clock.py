"""Every second is counted once."""

import threading
from contextlib import suppress
from types import SimpleNamespace

import pytest

from mvsa_pipe.extraction import clock as disk_space
from mvsa_pipe.extraction.clock import Clock, Phase, Stage


class Hand:
    """A clock's hand that is set by the test."""

    def __init__(self) -> None:
        self.at = 100.0

    def perf_counter(self) -> float:
        return self.at


@pytest.fixture
def hand(monkeypatch: pytest.MonkeyPatch) -> Hand:
    hand = Hand()
    monkeypatch.setattr(disk_space, "time", SimpleNamespace(perf_counter=hand.perf_counter))
    return hand


def test_phases_add_up_to_the_wall(hand: Hand) -> None:
    clock = Clock()
    hand.at += 1
    with clock.phase(Phase.LIST):
        hand.at += 2
    with clock.phase(Phase.COMPUTE):
        hand.at += 4
        with clock.phase(Phase.AWAIT_DISK):
            hand.at += 8
        hand.at += 16
        with suppress(ArithmeticError), clock.phase(Phase.LOAD):
            hand.at += 32
            raise ArithmeticError
    hand.at += 64
    record = clock.as_record()
    seconds = {"other": 65, "list": 2, "compute": 20, "await_disk": 8, "load": 32}
    assert {k: v for k, v in record["phases"].items() if v} == seconds
    assert record["wall_seconds"] == sum(record["phases"].values()) == 127
    hand.at += 1
    assert clock.as_record()["wall_seconds"] == 128


def test_stages_and_idling_add_up_to_the_lanes(hand: Hand) -> None:
    clock = Clock()
    clock.lanes = 3
    with clock.phase(Phase.COMPUTE):
        for stage, seconds in ((Stage.DECODE, 1), (Stage.MODEL, 2), (Stage.DISK, 4)):
            with clock.stage(stage):
                hand.at += seconds
        with clock.phase(Phase.AWAIT_DISK):
            hand.at += 3
    record = clock.as_record()
    assert record["lane_seconds"] == 30
    assert record["stages"] == {
        "decode": 1, "transform": 0, "model": 2, "to_host": 0, "idle": 27,
    }  # fmt: skip
    assert record["disk_seconds"] == 4
    assert sum(record["stages"].values()) == record["lane_seconds"]


def test_stages_of_many_threads() -> None:
    clock = Clock()

    def work() -> None:
        for _ in range(200):
            with clock.stage(Stage.MODEL):
                pass

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 0 < clock.as_record()["stages"]["model"] < 60


@pytest.mark.parametrize(
    ("stage", "wait", "said"),
    [(Stage.DECODE, 0, "decode"), (Stage.TRANSFORM, 0, "decode"), (Stage.MODEL, 0, "model"),
     (Stage.TO_HOST, 0, "model"), (Stage.MODEL, 9, "disk")],
)  # fmt: skip
def test_what_it_is_bound_by(hand: Hand, stage: Stage, wait: float, said: str) -> None:
    clock = Clock()
    with clock.phase(Phase.COMPUTE):
        with clock.stage(stage):
            hand.at += 2
        with clock.phase(Phase.AWAIT_DISK):
            hand.at += wait
    assert clock.bound_by() == said
