"""Frozen backbones: they encode a text or a picture as hidden states and a pooled vector.

Two tables, one for each modality. A name is ``family`` or ``family:argument``, such as
``hf-text:roberta-base``. Listing them imports no torch.
"""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mvsa_pipe.errors import ConfigError, UnknownNameError
from mvsa_pipe.modality import Modality
from mvsa_pipe.registry import Registry, Row
from mvsa_pipe.user_code import Origin, origin_of

if TYPE_CHECKING:
    from mvsa_pipe.backbones.base import ImageBackbone, TextBackbone
    from mvsa_pipe.backbones.options import BackboneOptions

_ROOM = "mvsa_pipe.backbones"

TEXT_BACKBONES: "Registry[type[TextBackbone]]" = Registry(
    "text backbone",
    [
        Row(
            "bert",
            f"{_ROOM}.bert:Bert",
            "bert-base-uncased, 768 wide; --pooling cls, mean or pooler",
            "Devlin et al. 2019",
        ),
        Row(
            "hf-text",
            f"{_ROOM}.huggingface:HuggingFaceText",
            "hf-text:<id or folder>: any Hugging Face text encoder",
        ),
        Row(
            "tiny-text",
            f"{_ROOM}.tiny:TinyText",
            "BERT architecture, 2 layers, 384 wide, weights drawn from a seed: for trials only",
        ),
    ],
    group="mvsa_pipe.backbones.text",
)

IMAGE_BACKBONES: "Registry[type[ImageBackbone]]" = Registry(
    "image backbone",
    [
        Row(
            "resnet50",
            f"{_ROOM}.resnet50:ResNet50",
            "7×7 cells of layer4, 2048 wide, and their average; IMAGENET1K_V1 by default",
            "He et al. 2016",
        ),
        Row(
            "dinov2",
            f"{_ROOM}.dinov2:DinoV2",
            "CLS and 16×16 patches, 768 wide; also dinov2:small, dinov2:large, dinov2:giant",
            "Oquab et al. 2023",
        ),
        Row(
            "hf-image",
            f"{_ROOM}.huggingface:HuggingFaceImage",
            "hf-image:<id or folder>: any Hugging Face image encoder",
        ),
        Row(
            "torchvision",
            f"{_ROOM}.torchvision:TorchvisionImage",
            "torchvision:<name>: a torchvision classifier's last feature map",
        ),
        Row(
            "tiny-image",
            f"{_ROOM}.tiny:TinyImage",
            "ResNet architecture, 10 layers, weights drawn from a seed: for trials only",
        ),
        Row(
            "tiny-patches",
            f"{_ROOM}.tiny:TinyPatches",
            "4×4 patches encoded one by one, weights drawn from a seed: for trials only",
        ),
    ],
    group="mvsa_pipe.backbones.image",
)

BACKBONES: "Mapping[Modality, Registry[Any]]" = {
    Modality.TEXT: TEXT_BACKBONES,
    Modality.IMAGE: IMAGE_BACKBONES,
}

# Families that need an argument, and the meaning of the argument.
_OPEN_DOORS = {
    "hf-text": "a Hugging Face id or a local folder",
    "hf-image": "a Hugging Face id or a local folder",
    "torchvision": "the name of a torchvision model",
}

# Families whose argument can be a folder on this machine.
FROM_FOLDERS = ("bert", "hf-text", "hf-image")

# Families whose layers differ in shape, so that only the last can be kept.
WITHOUT_LAYERS = ("resnet50", "torchvision", "tiny-image", "tiny-patches")


def parse_backbone(name: str) -> tuple[Modality, str, str]:
    """Splits a backbone's name into modality, family and argument.

    Raises:
        UnknownNameError: No family has that name; the message lists similar ones.
        ConfigError: The family needs an argument and has none.
    """
    family, _, argument = name.partition(":")
    if family in _OPEN_DOORS and not argument:
        raise ConfigError(
            f"Backbone {family!r} needs an argument",
            expected=f"{family}:ARGUMENT, where ARGUMENT is {_OPEN_DOORS[family]}",
            found=repr(name),
        )
    if family in TEXT_BACKBONES:
        return Modality.TEXT, family, argument
    if family in IMAGE_BACKBONES:
        return Modality.IMAGE, family, argument
    rows = {row.name: row for table in BACKBONES.values() for row in table}
    every = Registry[object]("backbone", rows.values())
    for table in BACKBONES.values():
        if any(repr(family) in fault for fault in table.faults):
            table.row(family)
    every.row(family)
    raise UnknownNameError(f"No backbone is named {name!r}")  # pragma: no cover


def backbone_name(name: str) -> str:
    """The name in the tables for a name, ``my_backbones.py:Mine`` or ``package.module:Mine``.

    A backbone outside of this package is imported and added to the tables; no other imports torch.

    Raises:
        ConfigError: There is no such file or class, or it is no usable backbone.
    """
    place = name.rpartition(":")[0]
    family = name.partition(":")[0]
    if any(family in table for table in BACKBONES.values()):
        return name
    if not (name.endswith(".py") or "." in place or os.sep in place):
        return name
    from mvsa_pipe.backbones.own import own_backbone_name  # imports torch

    return own_backbone_name(name)


def backbone_source(family: str) -> Origin | None:
    """Where the class of a backbone comes from; ``None`` for those of this package."""
    for table in BACKBONES.values():
        if family in table and table.row(family) not in table.built_in:
            return origin_of(table.load(family))
    return None


def load_backbone(options: "BackboneOptions") -> "TextBackbone | ImageBackbone":
    """Loads a backbone, frozen, on the CPU.

    Raises:
        BackboneError: Its weights cannot be loaded.
        ConfigError: An option does not fit it.
    """
    table = TEXT_BACKBONES if options.modality is Modality.TEXT else IMAGE_BACKBONES
    kind = table.load(options.family)
    if options.source is None:
        backbone: TextBackbone | ImageBackbone = kind(options)
    else:
        from mvsa_pipe.backbones.own import build_own  # imports torch

        backbone = build_own(kind, options)
    if options.tuned is not None:
        from mvsa_pipe.backbones.weights import load_tuned_weights  # imports torch

        load_tuned_weights(backbone, options.tuned)
    return backbone
