"""Reads the energy counters of GPUs."""

import torch

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
