"""What a user can say about training; torch-free, so that help screens stay fast."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from mvsa_pipe.errors import ConfigError
from mvsa_pipe.metrics import Score


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
            explicit as ``negative=2,neutral=1,positive=1``.
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
        checks = {
            "epochs": (self.epochs >= 1, "at least 1"),
            "batch_size": (self.batch_size >= 1, "at least 1"),
            "learning_rate": (0 < self.learning_rate < float("inf"), "a positive number"),
            "weight_decay": (0 <= self.weight_decay < float("inf"), "at least 0"),
            "warmup": (0 <= self.warmup < 1, "at least 0 and less than 1"),
            "patience": (self.patience >= 0, "at least 0"),
            "clip_norm": (0 <= self.clip_norm < float("inf"), "at least 0"),
            "seed": (0 <= self.seed < 2**63, "a whole number from 0"),
            "precision": (
                self.precision in ("auto", "float32", "bfloat16"),
                "auto, float32 or bfloat16",
            ),
        }
        for name, (fits, expected) in checks.items():
            if not fits:
                raise ConfigError(
                    f"--{name.replace('_', '-')} cannot be used",
                    expected=expected,
                    found=getattr(self, name),
                )


def parse_class_weights(text: str, classes: Sequence[str], counts: Sequence[int]) -> list[float]:
    """How much a post of each class counts in the loss.

    Args:
        text: ``none``, ``balanced``, or ``name=weight`` pairs joined by commas.
        classes: Names of the classes.
        counts: Training posts of each class.

    Raises:
        ConfigError: A class is unknown or missing, or a weight is not positive.
    """
    if text == "none":
        return [1.0] * len(classes)
    if text == "balanced":
        total = sum(counts)
        return [total / (len(classes) * count) if count else 1.0 for count in counts]
    pairs = dict(part.partition("=")[::2] for part in text.split(","))
    try:
        weights = {name.strip(): float(value) for name, value in pairs.items()}
    except ValueError:
        weights = {}
    if set(weights) != set(classes) or not all(0 < w < float("inf") for w in weights.values()):
        raise ConfigError(
            "--class-weights cannot be used",
            expected=f"none, balanced, or {','.join(f'{name}=WEIGHT' for name in classes)}",
            found=repr(text),
        )
    return [weights[name] for name in classes]
