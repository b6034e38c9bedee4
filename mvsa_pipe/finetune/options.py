"""What a user can say about fine-tuning; torch-free, so that help screens stay fast."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mvsa_pipe.backbones.options import BackboneOptions, Decode, Pooling
from mvsa_pipe.errors import ConfigError, UnknownNameError
from mvsa_pipe.extraction.options import BadPostPolicy
from mvsa_pipe.layers import LayerMix
from mvsa_pipe.modality import Modality
from mvsa_pipe.ranges import MOST_BATCH, counted, require_fitting
from mvsa_pipe.runs.options import CacheChoice

# Of the widest backbones' layers, beyond which adapters are no smaller than the layers.
_MOST_RANK = 4096

# Settings of published fine-tunings: fields of TrainingOptions and of TuningOptions.
PRESETS: Mapping[str, Mapping[str, Any]] = {
    # table 3; what the table does not say (schedule, clipping, patience) stays as it is here
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
class LiveChoice:
    """Which backbones are tuned: those of the caches that ``mvsa fit`` would take, or named ones.

    Attributes:
        caches: The caches that name the backbones; where none is there, a named backbone is loaded.
        weights: Weights of a named backbone, as NAME=PATH or PATH; repeat for several.
        pooling: Of a named text backbone; its own unless named.
        max_tokens: Of a named text backbone.
        decode: Of a named image backbone.
        on_bad_post: Whether posts that cannot be read end the run or are left out.

    Raises:
        ConfigError: Layers are to be mixed.
    """

    caches: CacheChoice = field(default_factory=CacheChoice)
    weights: tuple[str, ...] = ()
    pooling: Pooling | None = None
    max_tokens: int = BackboneOptions.max_tokens
    decode: Decode = BackboneOptions.decode
    on_bad_post: BadPostPolicy = BadPostPolicy.ERROR

    def __post_init__(self) -> None:
        if self.caches.layer_mix is not LayerMix.LAST:
            raise ConfigError(
                "--layer-mix cannot be used: of live backbones the last layer alone is read",
                expected=f"--layer-mix {LayerMix.LAST}, or none",
                found=self.caches.layer_mix,
            )


@dataclass(frozen=True)
class TuningOptions:
    """How backbones are trained along with a head.

    Attributes:
        unfreeze: Which layers of the backbones are trained: all, none, or last-N as last-2.
        lora: Whether adapters of low rank are trained in the place of the layers' own weights
            (extra lora; transformers only).
        lora_rank: Their rank.
        text_learning_rate: Peak learning rate of the text backbone; 0 leaves it frozen.
        image_learning_rate: Peak learning rate of the image backbone; 0 leaves it frozen.
        layer_decay: Each layer learns so many times as fast as the one above it.
        backbone_dropout: Chance of dropping an entry inside the text backbone while it is trained.
        update_batch_norm: Whether batch norms follow the batches; frozen, they keep the statistics
            of their pretraining.
        augment: Whether training pictures are cropped at random and mirrored.
        micro_batch: Posts computed at a time; their gradients add up to the batch's. 0 computes
            batches whole.
        checkpointing: Whether layers are computed twice, to hold less in memory.

    Raises:
        ConfigError: A field cannot be used.
    """

    unfreeze: str = "all"
    lora: bool = False
    lora_rank: int = 8
    text_learning_rate: float = 3e-5
    image_learning_rate: float = 3e-5
    layer_decay: float = 1.0
    backbone_dropout: float = 0.1
    update_batch_norm: bool = False
    augment: bool = False
    micro_batch: int = 0
    checkpointing: bool = False

    def __post_init__(self) -> None:
        rates = "a number from 0"
        require_fitting(
            self,
            {
                "unfreeze": (
                    _layers(self.unfreeze) is not None,
                    "all, none, or last-N such as last-2",
                ),
                "lora_rank": counted(self.lora_rank, 1, _MOST_RANK),
                "text_learning_rate": (0 <= self.text_learning_rate < float("inf"), rates),
                "image_learning_rate": (0 <= self.image_learning_rate < float("inf"), rates),
                "layer_decay": (0 < self.layer_decay <= 1, "above 0 and at most 1"),
                "backbone_dropout": (0 <= self.backbone_dropout < 1, "at least 0 and less than 1"),
                "micro_batch": counted(self.micro_batch, 0, MOST_BATCH),
            },
        )
        if self.checkpointing and self.update_batch_norm:
            raise ConfigError(
                "--checkpointing computes layers twice, so that --update-batch-norm would count "
                "every batch twice",
                hint="leave one of them out",
            )

    def learning_rate_of(self, modality: Modality) -> float:
        """Peak learning rate of a backbone."""
        text = modality is Modality.TEXT
        return self.text_learning_rate if text else self.image_learning_rate

    @property
    def layers(self) -> int | None:
        """How many layers are trained, counted from the top; ``None`` for all."""
        count = _layers(self.unfreeze)
        return None if count is None or count < 0 else count


def _layers(text: str) -> int | None:
    """Layers that ``unfreeze`` names, -1 for all, ``None`` where it names nothing."""
    if text in ("all", "none"):
        return -1 if text == "all" else 0
    number = text.removeprefix("last-")
    known = number != text and number.isascii() and number.isdecimal() and int(number) > 0
    return int(number) if known else None


@dataclass(frozen=True)
class PlaceOptions:
    """Where a run comes from and goes to.

    Attributes:
        start: A run whose fitted head training starts from, as in linear probe, then fine-tune.
        runs: The folder of all runs.
        name: The run's name; made from its parts unless named.
        restart: Whether what an interrupted run of the same options left is thrown away.
    """

    start: Path | None = None
    runs: Path = Path("runs")
    name: str | None = None
    restart: bool = False


def preset(name: str) -> Mapping[str, Any]:
    """The settings of a published fine-tuning.

    Raises:
        UnknownNameError: None has that name.
    """
    if name not in PRESETS:
        raise UnknownNameError(f"No preset is named {name!r}", expected=", ".join(PRESETS))
    return PRESETS[name]
