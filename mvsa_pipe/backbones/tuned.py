"""Backbones with fine-tuned weights."""

from dataclasses import replace
from pathlib import Path

from mvsa_pipe.backbones.base import Backbone, weights_digest
from mvsa_pipe.backbones.options import TUNED_MARK
from mvsa_pipe.backbones.weights import fill, read_weights


def load_tuned_weights(backbone: Backbone, path: str) -> None:
    """Replaces all weights of a loaded backbone and marks its name.

    The mark distinguishes tuned from published features; the digest of the weights distinguishes
    tunings, independent of the file's path.

    Raises:
        BackboneError: The file cannot be read, or belongs to another architecture.
    """
    file = Path(path)
    replace_weights(backbone, file)
    backbone.identity = replace(
        backbone.identity,
        name=f"{backbone.identity.name}{TUNED_MARK}",
        witnesses=(*backbone.identity.witnesses, file.resolve()),
    )


def replace_weights(backbone: Backbone, file: Path) -> None:
    """Replaces all weights of a loaded backbone; it keeps its name.

    Raises:
        BackboneError: As ``load_tuned_weights``.
    """
    fill(backbone.module, read_weights(file), file)
    backbone.freeze()
    backbone.identity = replace(backbone.identity, weights=weights_digest(backbone.module))
