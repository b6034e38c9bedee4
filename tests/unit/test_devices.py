"""Devices and arithmetic, never another than was asked for."""

import pytest
import torch

from mvsa_pipe.devices import (
    Precision,
    arithmetic,
    cpu_threads,
    describe_device,
    resolve_device,
    resolve_precision,
    usable_cores,
)
from mvsa_pipe.errors import ConfigError

CPU = torch.device("cpu")


def test_a_device_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for choice in ("cuda", "cuda:0", "mps", "meta"):
        with pytest.raises(ConfigError, match=f"'{choice}' was requested.*--device auto"):
            resolve_device(choice)
    assert resolve_device("auto") == resolve_device("cpu") == CPU
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(ConfigError, match="'cuda:2' was requested"):
        resolve_device("cuda:2")
    with pytest.raises(ConfigError, match=r"No device is named 'gpu'.*auto, cpu, cuda, mps"):
        resolve_device("gpu")


def test_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve_precision("float32", CPU) is Precision.FLOAT32
    assert resolve_precision("bfloat16", CPU) is Precision.BFLOAT16
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    for probe in probes:
        monkeypatch.setattr(torch.cpu, probe, lambda: False, raising=False)
    assert resolve_precision("auto", CPU) is Precision.FLOAT32
    monkeypatch.setattr(torch.cpu, probes[1], lambda: True, raising=False)
    assert resolve_precision("auto", CPU) is Precision.BFLOAT16
    for capability, precision in (((7, 5), Precision.FLOAT32), ((8, 0), Precision.BFLOAT16)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _, c=capability: c)
        assert resolve_precision("auto", torch.device("cuda")) is precision
    with pytest.raises(ConfigError, match=r"'half'.*auto, float32 or bfloat16"):
        resolve_precision("half", CPU)


def test_arithmetic_is_that_of_the_matrix_products() -> None:
    a = torch.full((2, 2), 1.001)
    with arithmetic(Precision.FLOAT32, CPU):
        assert (a @ a).dtype is torch.float32
    with arithmetic(Precision.BFLOAT16, CPU):
        assert (a @ a).dtype is torch.bfloat16
    assert (a @ a).dtype is torch.float32


def test_threads_are_given_back() -> None:
    before = torch.get_num_threads()

    def fail() -> None:
        with cpu_threads(before + 1):
            assert torch.get_num_threads() == before + 1
            raise RuntimeError("whatever happens")

    with pytest.raises(RuntimeError):
        fail()
    assert torch.get_num_threads() == before


def test_words_for_records() -> None:
    assert describe_device(CPU).startswith("cpu (")
    assert usable_cores() >= 1
