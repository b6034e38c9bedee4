"""Presets: named choices of encoders and heads, for extractions and benches; imports no torch."""

from dataclasses import dataclass
from typing import cast

from mvsa_pipe.registry import Registry, Row


@dataclass(frozen=True)
class Preset(Row):
    """Encoders that are compared, and the heads over them.

    Attributes:
        text: Text backbones.
        image: Image backbones.
        heads: Heads that are cheap over every pair.
    """

    text: tuple[str, ...] = ()
    image: tuple[str, ...] = ()
    heads: tuple[str, ...] = ()

    @property
    def backbones(self) -> tuple[str, ...]:
        """The backbones of both modalities."""
        return self.text + self.image


_HEADS = ("text", "image", "native-cat", "native-combine", "gated", "low-rank")

PRESETS: Registry[Preset] = Registry(
    "preset",
    [
        Preset(
            "frozen-2023",
            "",
            "BERT × ResNet-50 and DINOv2, the encoders of the sources",
            text=("bert",),
            image=("resnet50", "dinov2"),
            heads=_HEADS,
        ),
        Preset(
            "frozen-2026",
            "",
            "BERT, twitter-roberta, SigLIP 2 and Qwen3-Embedding × DINOv2, DINOv3 and SigLIP 2",
            text=(
                "bert",
                "twitter-roberta",
                "siglip2-text",
                "sentence-transformers:Qwen/Qwen3-Embedding-0.6B",
            ),
            image=("dinov2", "dinov3", "siglip2-image"),
            heads=_HEADS,
        ),
    ],
)


def preset_named(name: str) -> Preset:
    """The preset of a name.

    Raises:
        UnknownNameError: There is none; the message lists all.
    """
    return cast("Preset", PRESETS.row(name))
