"""Chooses the device and its arithmetic, without silent fallbacks."""

import os
import platform
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from enum import StrEnum
from pathlib import Path

import torch

from mvsa_pipe.errors import ConfigError

DEVICE_CHOICES = ("auto", "cpu", "cuda", "mps")


class Precision(StrEnum):
    """Arithmetic of the matrix products; parameters and norms stay in float32."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


def at_least_float32(values: torch.Tensor) -> torch.Tensor:
    """Converts values to float32, in which losses and scores are computed; keeps float64."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def resolve_device(choice: str) -> torch.device:
    """The chosen device; ``auto`` prefers cuda, then mps, then cpu.

    Raises:
        ConfigError: The device is unknown or absent.
    """
    if choice == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(choice)
    except RuntimeError as error:
        raise ConfigError(
            f"No device is named {choice!r}", expected=f"one of {', '.join(DEVICE_CHOICES)}"
        ) from error
    count = {"cpu": 1, "cuda": torch.cuda.device_count()}
    count["mps"] = int(torch.backends.mps.is_available())
    if (device.index or 0) >= count.get(device.type, 0):
        raise ConfigError(
            f"Device {choice!r} was requested, and this machine has none that torch can use",
            found=f"torch {torch.__version__} built for CUDA {torch.version.cuda}",
            hint="use --device auto or --device cpu",
        )
    return device


def resolve_precision(choice: str, device: torch.device) -> Precision:
    """The chosen arithmetic on a device.

    ``auto`` takes bfloat16 where the hardware multiplies it natively: GPUs from compute
    capability 8.0, CPUs with AMX or AVX512-bf16.

    Raises:
        ConfigError: The choice is unknown.
    """
    if choice == "auto":
        return Precision.BFLOAT16 if _multiplies_bfloat16(device) else Precision.FLOAT32
    try:
        return Precision(choice)
    except ValueError as error:
        raise ConfigError(
            f"No precision is named {choice!r}", expected="auto, float32 or bfloat16"
        ) from error


def _multiplies_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    if device.type == "cpu":
        probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        return any(getattr(torch.cpu, probe, lambda: False)() for probe in probes)
    return False


def arithmetic(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """A context in which matrix products run in ``precision``."""
    if precision is Precision.FLOAT32:
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def describe_device(device: torch.device) -> str:
    """The device's name for records: ``cpu (AMD EPYC, 2 threads)``."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    if device.type == "cpu":
        return f"cpu ({_cpu_model()}, {torch.get_num_threads()} threads)"
    return str(device)


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def usable_cores() -> int:
    """Cores that this process may use; in a container fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Lets torch use ``count`` threads on the CPU, and restores what it used before.

    Small operations on several threads wait for any thread that was descheduled: on a busy machine,
    training small heads was up to 80 times slower on two threads than on one.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
