"""The energy that a device counts; what a device does not report is not guessed."""

import torch

_MILLIJOULES = 1000.0


def counted_joules(device: torch.device) -> float | None:
    """What a GPU's own counter stands at, or ``None`` where there is no such counter.

    NVIDIA cards since Volta count from when their driver was loaded, for all that runs on them:
    the difference of two readings is the work's own only where nothing else ran. The counter is
    read by the package nvidia-ml-py (extra ``energy``).
    """
    if device.type != "cuda":
        return None
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        # Which cards torch sees, and in which order, is not what NVML numbers them by.
        name = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
        card = pynvml.nvmlDeviceGetHandleByUUID(name)
        return int(pynvml.nvmlDeviceGetTotalEnergyConsumption(card)) / _MILLIJOULES
    except pynvml.NVMLError:  # older cards, slices of cards, no permission
        return None


def spent_joules(before: float | None, after: float | None) -> float | None:
    """What was counted between two readings, if both were taken."""
    if before is None or after is None:
        return None
    return round(after - before, 3)
