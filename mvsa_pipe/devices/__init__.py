"""Devices: their choice, arithmetic, memory and energy; compilation is in ``compiling``."""

from mvsa_pipe.devices.choice import (
    DEVICE_CHOICES,
    Precision,
    arithmetic,
    at_least_float32,
    cpu_threads,
    describe_device,
    resolve_device,
    resolve_precision,
    usable_cores,
)
from mvsa_pipe.devices.energy import counted_joules, spent_joules
from mvsa_pipe.devices.memory import (
    MemoryShortageError,
    empty_pinned,
    fits_on,
    free_memory_bytes,
    memory_errors,
    reuse_memory,
)

__all__ = [
    "DEVICE_CHOICES",
    "MemoryShortageError",
    "Precision",
    "arithmetic",
    "at_least_float32",
    "counted_joules",
    "cpu_threads",
    "describe_device",
    "empty_pinned",
    "fits_on",
    "free_memory_bytes",
    "memory_errors",
    "resolve_device",
    "resolve_precision",
    "reuse_memory",
    "spent_joules",
    "usable_cores",
]
