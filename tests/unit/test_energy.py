"""The energy counter, with a card that is made up: no machine of the tests' has one."""

import sys
import types

import pytest
import torch

from mvsa_pipe.devices import counted_joules, spent_joules


class NoCounter(Exception):  # noqa: N818  # NVML's own has no Error in its name here
    pass


@pytest.fixture
def card(monkeypatch):
    """A pynvml whose one card stands at 5,000 mJ."""
    asked = []
    nvml = types.SimpleNamespace(
        NVMLError=NoCounter,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=lambda name: asked.append(name) or "handle",
        nvmlDeviceGetTotalEnergyConsumption=lambda _: 5000,
    )
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda _: types.SimpleNamespace(uuid="1234-5678")
    )
    nvml.asked = asked
    return nvml


def test_a_card_is_found_by_what_it_is_not_by_its_number(card):
    assert counted_joules(torch.device("cuda", 0)) == 5.0
    assert card.asked == ["GPU-1234-5678"]


def test_a_card_without_counter_counts_nothing(card, monkeypatch):
    def refuse(_):
        raise NoCounter

    monkeypatch.setattr(card, "nvmlDeviceGetTotalEnergyConsumption", refuse)
    assert counted_joules(torch.device("cuda", 0)) is None


def test_without_the_package_nothing_is_counted(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert counted_joules(torch.device("cuda", 0)) is None


def test_a_processor_counts_nothing():
    assert counted_joules(torch.device("cpu")) is None


def test_only_two_readings_make_a_difference():
    assert spent_joules(1.0, 3.5) == 2.5
    assert spent_joules(None, 3.5) is None
    assert spent_joules(1.0, None) is None
