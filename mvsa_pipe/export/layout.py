"""Names of an exported folder's files, and the version of their layout.

``config.json`` says what the head and the backbones are, ``head.safetensors`` holds the head or
``baseline.skops`` the baseline, the folders ``text`` and ``image`` hold a backbone
each: ``model.safetensors`` and, beside it, what prepares its input. ``README.md`` is the model
card.
"""

from pathlib import Path

from mvsa_pipe.json_schema import read_json
from mvsa_pipe.modality import Modality

EXPORT_SCHEMA = 1
CONFIG, CARD = "config.json", "README.md"
HEAD_ONNX, MODEL_ONNX = "head.onnx", "model.onnx"
WEIGHTS = "model.safetensors"


def weights_file(folder: Path, modality: Modality) -> Path:
    """The file of a backbone's weights."""
    return folder / modality.value / WEIGHTS


def is_exported(folder: Path) -> bool:
    """Whether a folder was written by ``mvsa export``, as far as its ``config.json`` tells."""
    try:
        config = read_json(folder / CONFIG)
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and "exported_schema" in config
