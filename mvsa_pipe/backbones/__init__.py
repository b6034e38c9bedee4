"""Frozen backbones: they encode a text or a picture as hidden states and a pooled vector.

Two tables, one for each modality. A name is ``family`` or ``family:argument``, such as
``hf-text:roberta-base``. Listing them imports no torch.
"""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mvsa_pipe.backbones.families import IMAGE_FAMILIES, TEXT_FAMILIES
from mvsa_pipe.backbones.family import Family
from mvsa_pipe.errors import ConfigError, UnknownNameError
from mvsa_pipe.modality import Modality
from mvsa_pipe.registry import Registry
from mvsa_pipe.user_code import Origin, origin_of

if TYPE_CHECKING:
    from mvsa_pipe.backbones.base import ImageBackbone, TextBackbone
    from mvsa_pipe.backbones.options import BackboneOptions

TEXT_BACKBONES: "Registry[type[TextBackbone]]" = Registry(
    "text backbone", TEXT_FAMILIES, group="mvsa_pipe.backbones.text"
)

IMAGE_BACKBONES: "Registry[type[ImageBackbone]]" = Registry(
    "image backbone", IMAGE_FAMILIES, group="mvsa_pipe.backbones.image"
)

BACKBONES: "Mapping[Modality, Registry[Any]]" = {
    Modality.TEXT: TEXT_BACKBONES,
    Modality.IMAGE: IMAGE_BACKBONES,
}


def traits(family: str) -> Family:
    """What is declared of a family; the defaults for a class that users added."""
    for table in BACKBONES.values():
        if family in table:
            row = table.row(family)
            return row if isinstance(row, Family) else Family(row.name, row.target, row.summary)
    return Family(family, "", "")


def parse_backbone(name: str) -> tuple[Modality, str, str]:
    """Splits a backbone's name into modality, family and argument.

    Raises:
        UnknownNameError: No family has that name; the message lists similar ones.
        ConfigError: The family needs an argument and has none.
    """
    family, _, argument = name.partition(":")
    needed = traits(family).argument
    if needed and not argument:
        raise ConfigError(
            f"Backbone {family!r} needs an argument",
            expected=f"{family}:ARGUMENT, where ARGUMENT is {needed}",
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


def takes_pooling(name: str) -> bool:
    """Whether ``--pooling`` applies to a backbone: texts, and pictures of two-tower models."""
    modality, family, _ = parse_backbone(name)
    return modality is Modality.TEXT or bool(traits(family).poolings)


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
