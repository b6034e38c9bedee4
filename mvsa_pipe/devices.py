"""Chooses the device and its arithmetic, without silent fallbacks."""

import ctypes
import os
import platform
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mvsa_pipe.errors import ConfigError, MvsaError

_MILLIJOULES = 1000.0


def counted_joules(device: torch.device) -> float | None:
    """Reads a GPU's energy counter in joules; ``None`` if there is none.

    NVIDIA cards since Volta count from when their driver was loaded, for all processes: the
    difference of two readings is the energy of one computation only if nothing else ran. The
    counter is read by the package nvidia-ml-py (extra ``energy``).
    """
    if device.type != "cuda":
        return None
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        # torch and NVML number the cards differently.
        name = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
        card = pynvml.nvmlDeviceGetHandleByUUID(name)
        return int(pynvml.nvmlDeviceGetTotalEnergyConsumption(card)) / _MILLIJOULES
    except pynvml.NVMLError:  # older cards, slices of cards, no permission
        return None


def spent_joules(before: float | None, after: float | None) -> float | None:
    """Joules between two readings; ``None`` if either is missing."""
    if before is None or after is None:
        return None
    return round(after - before, 3)


# M_MMAP_THRESHOLD and M_TRIM_THRESHOLD of glibc's malloc.h: no block is mapped separately, and none
# is returned to the kernel. M_ARENA_MAX: one arena for all threads, as those of other threads are
# bounded at 64 MB.
_KEEP_MEMORY = ((-3, 2**30), (-1, 2**31 - 1), (-8, 1))

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


def empty_pinned(shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
    """An uninitialised array, page-locked when CUDA is available.

    A GPU copies from page-locked memory without an intermediate copy. Without a GPU, or when
    page-locked memory is exhausted, the memory is ordinary.

    Args:
        shape: The array's shape.
        dtype: Name of its type, which is the same in numpy and torch.
    """
    if torch.cuda.is_available():
        try:
            return torch.empty(shape, dtype=getattr(torch, dtype), pin_memory=True).numpy()
        except RuntimeError:  # there is less of it than of ordinary memory
            pass
    return np.empty(shape, dtype)


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


def reuse_memory() -> None:
    """Makes glibc keep freed memory for this process; does nothing with other allocators.

    Otherwise activations of tens of megabytes are returned to the kernel and zeroed again for every
    batch: SqueezeNet on two cores went from 120 to 210 pictures a second without that.
    """
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        for option, value in _KEEP_MEMORY:
            mallopt(option, value)


class MemoryShortageError(MvsaError):
    """A device has less free memory than a computation needs; a later attempt may succeed."""


@contextmanager
def memory_errors(device: torch.device, hint: str) -> Iterator[None]:
    """Adds a hint to errors about too little memory.

    Raises:
        MemoryShortageError: The device has less free memory than needed.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        # torch has no separate error class for too little host memory
        known = isinstance(error, torch.OutOfMemoryError | MemoryError)
        if not known and "can't allocate memory" not in str(error):
            raise
        raise MemoryShortageError(
            "Training needs more memory than the device has free",
            where=device,
            found=next(iter(str(error).splitlines()), type(error).__name__),
            hint=hint,
        ) from error


def free_memory_bytes() -> int:
    """Bytes of memory that a process could still allocate on this machine."""
    info = Path("/proc/meminfo")
    if info.exists():
        for line in info.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def fits_on(device: torch.device, byte_count: int) -> bool:
    """Whether so many bytes take at most half of a device's free memory."""
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return byte_count <= free // 2
