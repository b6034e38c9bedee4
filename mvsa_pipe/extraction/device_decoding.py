"""JPEGs decoded together on the device that computes: nvJPEG, by torchvision.

Not measured on a GPU yet, neither in speed nor in how far its pixels lie from the published
preprocessing: nvJPEG as torchvision calls it repeats halved colour channels where libjpeg
interpolates them. On a CPU the same code runs torchvision's libjpeg, which is how it is tested.
"""

import warnings
from collections.abc import Sequence
from io import BytesIO

import torch
from PIL import Image
from torch import Tensor

from mvsa_pipe.devices import resolve_device
from mvsa_pipe.errors import ConfigError


def decode_jpegs(jpegs: Sequence[bytes], device: torch.device) -> list[Tensor] | None:
    """Decodes JPEGs as RGB, each ``[3, H, W]`` of 8 bits on the device.

    Turned pictures are left as they lie. ``None`` where the decoder refuses one of them: it does
    not say which.

    Raises:
        OutOfMemoryError: torch's: they do not fit into the device's memory.
    """
    try:
        return _decoded(jpegs, device)
    except RuntimeError as error:
        # torchvision hands the allocator's error on as one of its own.
        if "out of memory" in str(error):
            raise torch.OutOfMemoryError(str(error)) from error
        return None


def require_device_decoder(choice: str) -> None:
    """Refuses ``--decode gpu`` where no device decodes JPEGs.

    Args:
        choice: The device, as ``resolve_device`` takes it.

    Raises:
        ConfigError: The device is absent, is no CUDA device, or torchvision cannot decode on it.
    """
    device = resolve_device(choice)
    versions = f"torch {torch.__version__} built for CUDA {torch.version.cuda}"
    if device.type != "cuda" or torch.version.cuda is None:
        raise _no_decoder(f"device {device} ({versions})")
    grey = BytesIO()
    Image.new("L", (64, 64), 128).save(grey, "JPEG")
    try:
        _decoded([grey.getvalue()], device)
    except (ImportError, AttributeError, RuntimeError) as error:
        first, *_ = str(error).strip().splitlines() or [type(error).__name__]
        raise _no_decoder(f"device {device} ({versions}): {first}") from error


def _no_decoder(found: str) -> ConfigError:
    return ConfigError(
        "Pictures shall be decoded on a GPU (--decode gpu), and here none can do so",
        expected="a CUDA device, and a torchvision that decodes JPEGs on it by nvJPEG",
        found=found,
        hint="use --decode exact, the default; posts that a cache or run of --decode gpu lacks can "
        "only be extracted on such a machine",
    )


def _decoded(jpegs: Sequence[bytes], device: torch.device) -> list[Tensor]:
    from torchvision.io import ImageReadMode, decode_jpeg  # gone some day, as the warning says

    # Copies, as torch warns of tensors over memory that must not be written.
    data = [torch.frombuffer(bytearray(jpeg), dtype=torch.uint8) for jpeg in jpegs]
    if device.type == "cuda":
        # torchvision decodes on a stream of its own, into memory that this stream's work may have
        # given back before it is through with it.
        torch.cuda.current_stream(device).synchronize()
    with warnings.catch_warnings():
        # From 0.29 on torchvision recommends torchcodec from 0.16, of which each version goes with
        # one of torch's newest, while this package runs with torchvision from 0.23 on.
        warnings.filterwarnings(
            "ignore", "The image decoding and encoding capabilities of TorchVision are deprecated",
            DeprecationWarning,
        )  # fmt: skip
        decoded: list[Tensor] = decode_jpeg(data, mode=ImageReadMode.RGB, device=device)
    return decoded
