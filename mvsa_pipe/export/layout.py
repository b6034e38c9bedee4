"""Names of an exported folder's files, and the version of their layout.

``config.json`` says what the head and the backbones are, ``head.safetensors`` holds the head or
``baseline.skops`` the baseline, the folders ``text`` and ``image`` hold a backbone
each: ``model.safetensors`` and, beside it, what prepares its input. ``README.md`` is the model
card.
"""

from pathlib import Path

from mvsa_pipe.modality import Modality

EXPORT_SCHEMA = 1
CONFIG, CARD = "config.json", "README.md"
HEAD_ONNX, MODEL_ONNX = "head.onnx", "model.onnx"
WEIGHTS = "model.safetensors"


def weights_file(folder: Path, modality: Modality) -> Path:
    """The file of a backbone's weights."""
    return folder / modality.value / WEIGHTS
