"""Runs as self-contained folders that need neither caches nor the weights they came from.

from mvsa_pipe.export import load_exported

model = load_exported("exported")
model.predict(texts=["What a day!"], images=["day.jpg"])
"""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mvsa_pipe.export.model import ExportedModel
    from mvsa_pipe.heads.base import FusionHead

__all__ = ["load_exported"]


def load_exported(
    folder: str | Path, device: str = "auto", head: "str | type[FusionHead] | None" = None
) -> "ExportedModel":
    """Loads a folder that ``mvsa export`` wrote, head and backbones, from its own files alone.

    Args:
        folder: The folder.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        head: The class of a head that is no part of mvsa-pipe: the class itself, or
            ``"FOLDER/head.py:CLASS"``. Only needed where you have not run its code before: a folder
            runs none by itself.

    Raises:
        RunError: A file is missing or damaged, or the class of an own head was not named.
        ConfigError: The device is absent.
    """
    from mvsa_pipe.export.model import open_exported  # the command line's help needs no torch

    return open_exported(Path(folder), device, head)
