"""Options of fine-tuning; torch-free, so that help screens stay fast."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mvsa_pipe.backbones.options import (
    FEWEST_TOKENS,
    MOST_TOKENS,
    BackboneOptions,
    Decode,
    Pooling,
)
from mvsa_pipe.errors import ConfigError, UnknownNameError
from mvsa_pipe.extraction.options import BadPostPolicy
from mvsa_pipe.layers import LayerMix
from mvsa_pipe.modality import Modality
from mvsa_pipe.options import MOST_BATCH, Options, group, option
from mvsa_pipe.runs.options import CacheChoice

# Adapters of a higher rank are as large as the layers of the widest backbones.
_MOST_RANK = 4096

# Settings of published fine-tunings: fields of TrainingOptions and of TuningOptions.
PRESETS: Mapping[str, Mapping[str, Any]] = {
    # table 3; it states no schedule, clipping or patience, which keep their defaults
    "2412.03625": {
        "batch_size": 16,
        "epochs": 20,
        "learning_rate": 3e-5,
        "text_learning_rate": 3e-5,
        "image_learning_rate": 3e-5,
        "weight_decay": 0.0,
        "backbone_dropout": 0.1,
        "unfreeze": "all",
    },
}


@dataclass(frozen=True)
class LiveChoice(Options):
    """The backbones to tune: those of the caches that ``mvsa fit`` would read, or named ones.

    Attributes:
        caches: The caches of the backbones; without any, a named backbone is loaded.
        weights: Weights of a named backbone, as NAME=PATH or PATH; repeatable.
        pooling: How hidden states of a text become one vector. For a named text backbone; the
            backbone's own by default.
        max_tokens: Most tokens per text. For a named text backbone.
        prompt: What is put before every text. For a named text backbone; as in mvsa extract.
        decode: How pictures become pixels. As in mvsa extract; augmented ones are decoded exactly.
        on_bad_post: End at an unreadable post, or skip it.

    Raises:
        ConfigError: Layers are to be mixed, or a prompt is given without its backbone.
    """

    panel = "Backbones"

    # backbones keep no states in memory, and only their last layer is read
    caches: CacheChoice = group(CacheChoice, without=("memory_gib", "layer_mix"))
    weights: tuple[str, ...] = option((), rare=True)
    pooling: Pooling | None = option(None, rare=True)
    max_tokens: int = option(
        BackboneOptions.max_tokens, least=FEWEST_TOKENS, most=MOST_TOKENS, rare=True
    )
    prompt: str | None = option(None, rare=True)
    decode: Decode = option(Decode.AUTO, rare=True)
    on_bad_post: BadPostPolicy = option(
        BadPostPolicy.ERROR, "--on-bad-image", "--on-bad-post", rare=True
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.caches.features.layer_mix is not LayerMix.LAST:
            raise ConfigError(
                "--layer-mix cannot be used: fine-tuning reads only the last layer of backbones",
                expected=f"--layer-mix {LayerMix.LAST}, or none",
                found=self.caches.features.layer_mix,
            )
        if self.prompt is not None and self.caches.text is None:
            raise ConfigError(
                "--prompt needs a named text backbone; features that are cached have theirs",
                expected="--text NAME with --prompt",
                found=f"--prompt {self.prompt!r} alone",
            )


@dataclass(frozen=True)
class TuningOptions(Options):
    """How backbones are trained along with a head.

    Attributes:
        unfreeze: Layers to train: all, none or last-N.
        lora: Train low-rank adapters instead. The layers' own weights stay frozen; needs the extra
            lora; transformers only.
        lora_rank: Rank of the adapters.
        text_learning_rate: Learning rate of the text backbone. It is the peak rate; 0 freezes the
            backbone.
        image_learning_rate: Learning rate of the image backbone. It is the peak rate; 0 freezes the
            backbone.
        layer_decay: Factor between the learning rates of a layer and the one above it.
        backbone_dropout: Dropout inside the text backbone during training.
        augment: Crop training pictures at random and mirror them.
        micro_batch: Posts computed at a time; 0 computes whole batches. Gradients are summed over
            the batch.
        checkpointing: Recompute activations in the backward pass, which needs less memory.

    Raises:
        ConfigError: A field cannot be used.
    """

    panel = "Fine-tuning"

    unfreeze: str = "all"
    lora: bool = False
    lora_rank: int = option(8, least=1, most=_MOST_RANK, rare=True)
    text_learning_rate: float = option(3e-5, least=0)
    image_learning_rate: float = option(3e-5, least=0)
    layer_decay: float = option(1.0, above=0, most=1, rare=True)
    backbone_dropout: float = option(0.1, least=0, below=1, rare=True)
    augment: bool = option(False, rare=True)
    micro_batch: int = option(0, least=0, most=MOST_BATCH, rare=True)
    checkpointing: bool = option(False, rare=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if _layers(self.unfreeze) is None:
            raise self.refused("unfreeze", "all, none, or last-N such as last-2")

    def learning_rate_of(self, modality: Modality) -> float:
        """Peak learning rate of a backbone."""
        text = modality is Modality.TEXT
        return self.text_learning_rate if text else self.image_learning_rate

    @property
    def layers(self) -> int | None:
        """Number of trained layers, from the top; ``None`` for all."""
        count = _layers(self.unfreeze)
        return None if count is None or count < 0 else count


def _layers(text: str) -> int | None:
    """Number of layers in ``unfreeze``; -1 for all, ``None`` for an invalid text."""
    if text in ("all", "none"):
        return -1 if text == "all" else 0
    number = text.removeprefix("last-")
    known = number != text and number.isascii() and number.isdecimal() and int(number) > 0
    return int(number) if known else None


@dataclass(frozen=True)
class RunFolderOptions(Options):
    """The initial run, and the folder of the new run.

    Attributes:
        start: Start from this run's fitted head. Linear probe, then fine-tune.
        runs: The folder of all runs.
        name: The run's name; by default generated.
        restart: Train from the start instead of resuming an interrupted run.
    """

    start: Path | None = option(None, "--from")
    runs: Path = Path("runs")
    name: str | None = None
    restart: bool = option(False, rare=True)


def preset(name: str) -> Mapping[str, Any]:
    """The settings of a published fine-tuning.

    Raises:
        UnknownNameError: There is no preset of that name.
    """
    if name not in PRESETS:
        raise UnknownNameError(f"No preset is named {name!r}", expected=", ".join(PRESETS))
    return PRESETS[name]
