"""Memory of devices and of the host: free bytes, page-locked arrays, shortages."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mvsa_pipe.errors import MvsaError

# M_MMAP_THRESHOLD and M_TRIM_THRESHOLD of glibc's malloc.h: no block is mapped separately, and none
# is returned to the kernel. M_ARENA_MAX: one arena for all threads, as those of other threads are
# bounded at 64 MB.
_KEEP_MEMORY = ((-3, 2**30), (-1, 2**31 - 1), (-8, 1))


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
