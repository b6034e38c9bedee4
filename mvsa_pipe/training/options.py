"""What a user can say about training; torch-free, so that help screens stay fast."""

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from mvsa_pipe.errors import ConfigError
from mvsa_pipe.metrics.scores import Score
from mvsa_pipe.ranges import MOST_BATCH, MOST_EPOCHS, counted, require_fitting

# Single precision holds such weights, and their sums and products with losses.
_WEIGHTS = (1e-6, 1e6)


class Schedule(StrEnum):
    """How the learning rate falls after its warm-up."""

    COSINE = "cosine"
    CONSTANT = "constant"


@dataclass(frozen=True)
class TrainingOptions:
    """How a head is trained, the same for every head.

    Attributes:
        epochs: At most so many passes over the training posts.
        batch_size: Posts a step.
        learning_rate: Peak learning rate of AdamW.
        weight_decay: AdamW's decoupled weight decay.
        schedule: How the learning rate falls.
        warmup: Share of all steps in which the learning rate rises from 0.
        patience: Epochs without a better validation score after which training stops; 0 never.
        select: The validation score that picks the epoch.
        class_weights: ``none``, ``balanced`` (inverse class frequency in the training posts), or
            explicit as ``negative=2,neutral=1,positive=1``; a pair whose label holds a comma
            stands in double quotes, and a JSON object names any label.
        centre: Whether the training posts' mean is taken off pooled features first; off those of
            faithful variants it never is.
        group_by_length: Whether posts of like text length share a batch where heads read tokens,
            which saves most of the padding; off for faithful variants whose padding matters.
        clip_norm: Gradients are scaled down to this norm; 0 leaves them.
        precision: ``auto`` (bfloat16 on GPUs that multiply it natively, else float32),
            ``float32`` or ``bfloat16``.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        compiled: Compile the training step by torch.compile first, on a GPU into CUDA graphs; takes
            a minute or so a head, and moves last digits. Heads that train one by one by their
            nature stay as they are.
        seed: Decides weights, dropout masks and the order of batches.

    Raises:
        ConfigError: A field cannot be used.
    """

    epochs: int = 20
    batch_size: int = 32
    learning_rate: float = 5e-4
    weight_decay: float = 1e-2
    schedule: Schedule = Schedule.COSINE
    warmup: float = 0.1
    patience: int = 6
    select: Score = Score.F1_MACRO
    class_weights: str = "none"
    centre: bool = True
    group_by_length: bool = True
    clip_norm: float = 1.0
    precision: str = "auto"
    device: str = "auto"
    compiled: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        finite = float("inf")
        require_fitting(
            self,
            {
                "epochs": counted(self.epochs, 1, MOST_EPOCHS),
                "batch_size": counted(self.batch_size, 1, MOST_BATCH),
                "learning_rate": (0 < self.learning_rate < finite, "a positive number"),
                "weight_decay": (0 <= self.weight_decay < finite, "at least 0"),
                "warmup": (0 <= self.warmup < 1, "at least 0 and less than 1"),
                "patience": counted(self.patience, 0, MOST_EPOCHS),
                "clip_norm": (0 <= self.clip_norm < finite, "at least 0"),
                "seed": (0 <= self.seed < 2**63, "a whole number from 0"),
                "precision": (
                    self.precision in ("auto", "float32", "bfloat16"),
                    "auto, float32 or bfloat16",
                ),
            },
        )


def parse_class_weights(text: str, classes: Sequence[str], counts: Sequence[int]) -> list[float]:
    """How much a post of each class counts in the loss.

    Args:
        text: ``none``, ``balanced``, ``name=weight`` pairs joined by commas, or a JSON object. A
            pair is split at its last ``=``; one whose name holds a comma stands in double quotes,
            as in CSV.
        classes: Names of the classes.
        counts: Training posts of each class.

    Raises:
        ConfigError: A class is unknown, missing or named twice, or a weight is out of range.
    """
    if text == "none":
        return [1.0] * len(classes)
    if text == "balanced":
        total = sum(counts)
        return [total / (len(classes) * count) if count else 1.0 for count in counts]
    for read in (_json_pairs, _plain_pairs, _quoted_pairs):
        weights = _weights(read(text))
        if weights is not None and weights.keys() == set(classes):
            return [weights[name] for name in classes]
    least, most = _WEIGHTS
    raise ConfigError(
        "--class-weights cannot be used",
        expected=f"none, balanced, or {_as_typed(classes)}, each weight from {least:g} to {most:g}",
        found=repr(text),
        hint="a JSON object names any label: '{\"LABEL\": WEIGHT}'",
    )


def _weights(pairs: Sequence[tuple[str, object]]) -> dict[str, float] | None:
    """Weights by name; ``None`` where one is out of range or named twice."""
    least, most = _WEIGHTS
    weights: dict[str, float] = {}
    for name, value in pairs:
        try:
            weight = float(str(value))
        except ValueError:
            return None
        if name in weights or not least <= weight <= most:
            return None
        weights[name] = weight
    return weights


def _json_pairs(text: str) -> list[tuple[str, object]]:
    try:
        found = json.loads(text, object_pairs_hook=list)
    except (ValueError, RecursionError):
        return []
    return found if text.lstrip().startswith("{") else []


def _plain_pairs(text: str) -> list[tuple[str, object]]:
    return [_pair(part) for part in text.split(",")]


def _quoted_pairs(text: str) -> list[tuple[str, object]]:
    try:
        (parts,) = csv.reader([text], skipinitialspace=True)
    except (ValueError, csv.Error):
        return []
    return [_pair(part) for part in parts]


def _pair(part: str) -> tuple[str, object]:
    name, _, value = part.rpartition("=")
    return name.strip(), value


def _as_typed(classes: Sequence[str]) -> str:
    pairs = [f"{name}=WEIGHT" for name in classes]
    quoted = (
        '"' + pair.replace('"', '""') + '"' if "," in pair or '"' in pair else pair
        for pair in pairs
    )
    return ",".join(quoted)
