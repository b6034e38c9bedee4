"""Shape annotations are checked while the tests run, in the rooms that handle tensors."""

import os

from jaxtyping import install_import_hook

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # the hub is never asked while tests run

# Before anything of the package is imported.
_TENSOR_ROOMS = ("features", "backbones", "heads", "resident", "training")
install_import_hook([f"mvsa_pipe.{room}" for room in _TENSOR_ROOMS], "beartype.beartype")
