"""OpenMP's threads spin where they have cores to themselves, and never against the user's word."""

import os
import subprocess
import sys

import pytest

from mvsa_pipe.cli import spinning
from mvsa_pipe.cli.spinning import SPINS, ProcessorTimes, limit_spinning, spin_settings

SPINNING = {"GOMP_SPINCOUNT": str(SPINS)}
ASLEEP = {"OMP_WAIT_POLICY": "PASSIVE"}


@pytest.mark.parametrize(
    ("threads", "free_cores", "expected"),
    [
        (2, 2.0, SPINNING),
        (2, 1.6, SPINNING),
        (2, 1.0, ASLEEP),
        (2, 0.0, ASLEEP),
        (64, 63.0, ASLEEP),
        (8, 63.0, SPINNING),
    ],
)
def test_threads_spin_where_each_has_a_core(threads, free_cores, expected):
    assert spin_settings(threads, free_cores) == expected


def test_what_others_took_is_neither_idle_nor_ones_own():
    earlier = ProcessorTimes(clock_seconds=10.0, busy_seconds=100.0, own_seconds=1.0, cores=4)
    later = ProcessorTimes(clock_seconds=12.0, busy_seconds=107.0, own_seconds=2.0, cores=4)
    assert later.others_since(earlier) == pytest.approx(3.0)
    assert earlier.others_since(earlier) == 0.0


def test_only_cores_that_this_process_may_use_count(tmp_path, monkeypatch):
    stat = tmp_path / "stat"
    stat.write_text(
        "cpu  1 1 1 1 1 1 1 1 1 1\n"
        "cpu0 1000 1000 1000 1000 1000 1000 1000 1000 1000 1000\n"
        "cpu1 100 200 300 5000 6000 10 20 30 70 80\n"
        "cpu10 1000 1000 1000 1000 1000 1000 1000 1000 1000 1000\n"
        "intr 1 2 3\n\n"
    )
    monkeypatch.setattr(spinning, "_STAT", stat)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1}, raising=False)
    now = ProcessorTimes.now()
    assert now.cores == 1
    assert now.busy_seconds == 660 / os.sysconf("SC_CLK_TCK")


def test_other_systems_are_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(spinning, "_STAT", tmp_path / "none")
    assert ProcessorTimes.now() is None
    before = dict(os.environ)
    limit_spinning(None)
    assert os.environ == before


@pytest.fixture
def environment(monkeypatch):
    """An environment of a user who said nothing, on four cores of which others take 2.5."""
    for name in ("OMP_NUM_THREADS", *spinning._USER_SETTINGS):
        monkeypatch.setenv(name, "")  # so that it is restored, whatever sets it
        monkeypatch.delenv(name)
    monkeypatch.setattr(ProcessorTimes, "now", lambda: ProcessorTimes(12.0, 105.0, 1.0, 4))
    return monkeypatch


BEFORE = ProcessorTimes(clock_seconds=10.0, busy_seconds=100.0, own_seconds=1.0, cores=4)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [(None, ASLEEP), ("2", SPINNING), ("2,4", SPINNING), ("3", ASLEEP), ("many", ASLEEP)],
)
def test_as_many_threads_count_as_the_user_asks_for(environment, asked, expected):
    if asked is not None:
        environment.setenv("OMP_NUM_THREADS", asked)
    limit_spinning(BEFORE)
    assert {k: os.environ[k] for k in spinning._USER_SETTINGS if k in os.environ} == expected
    assert os.environ.get("OMP_NUM_THREADS") == asked


@pytest.mark.parametrize("name", spinning._USER_SETTINGS)
def test_what_the_user_set_stays(environment, name):
    environment.setenv(name, "7")
    limit_spinning(BEFORE)
    assert {k: os.environ[k] for k in spinning._USER_SETTINGS if k in os.environ} == {name: "7"}


def libgomp_settings(**variables):
    """What libgomp read from the environment of a command that loads torch, as it says itself."""
    own = {k: v for k, v in os.environ.items() if not k.startswith(("OMP", "GOMP", "KMP"))}
    done = subprocess.run(
        [sys.executable, "-m", "mvsa_pipe", "predict", "no-run", "--text", "a"],
        capture_output=True,
        text=True,
        check=False,
        env=own | {"OMP_DISPLAY_ENV": "verbose"} | variables,
    )
    assert "There is no run here" in done.stderr
    lines = [line.split("=") for line in done.stderr.splitlines() if "GOMP_SPINCOUNT" in line]
    if not lines:
        pytest.skip("torch brings no libgomp here")
    return {value.strip(" '") for _, value in lines}


def test_the_choice_is_made_before_torch_loads_libgomp():
    assert libgomp_settings() <= {"0", str(SPINS)}
    assert libgomp_settings(GOMP_SPINCOUNT="1234") == {"1234"}
