"""Options of training; torch-free, so that help screens stay fast."""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from mvsa_pipe.errors import ConfigError
from mvsa_pipe.heads.options import OptionValue
from mvsa_pipe.metrics.score_table import Score
from mvsa_pipe.options import MOST_BATCH, MOST_EPOCHS, MOST_SEED, Options, Search, option

# Such weights, their sums and their products with losses are finite in single precision.
_WEIGHTS = (1e-6, 1e6)

# Options that came after the first records, all of them off by default.
_LATER = frozenset(
    {
        "centre_tokens",
        "modality_dropout",
        "label_smoothing",
        "ema",
        "feature_noise",
        "track_attention",
    }
)


class Schedule(StrEnum):
    """How the learning rate falls after its warm-up."""

    COSINE = "cosine"
    CONSTANT = "constant"


@dataclass(frozen=True)
class TrainingOptions(Options):
    """How a head is trained, the same for every head.

    Attributes:
        epochs: Most passes over the posts.
        batch_size: Posts per step.
        learning_rate: Peak learning rate.
        weight_decay: AdamW's decoupled weight decay.
        schedule: How the learning rate falls.
        warmup: Share of all steps in which the learning rate rises from 0.
        patience: Stop after this many epochs without a better score; 0 never.
        select: The validation score that picks the epoch; the lowest log_loss, brier or ece, the
            highest of any other.
        class_weights: none, balanced or explicit. ``balanced`` is the inverse class frequency
            in the training posts. Explicit weights are written as negative=2,neutral=1 and so on;
            a pair whose label contains a comma must be in double quotes, and a JSON object names
            any label.
        centre: Subtract the training posts' mean from pooled features. Faithful variants ignore
            it.
        centre_tokens: Subtract the mean of all tokens of the training posts from hidden states.
            Heads that read tokens find relations of words and patches several epochs sooner, and
            also memorise sooner. Faithful variants ignore it.
        group_by_length: Batch posts of similar text length, for heads that read tokens. This saves
            most of the padding; off for faithful variants whose padding matters.
        clip_norm: Gradients are scaled down to this norm; 0 leaves them unchanged.
        precision: auto, float32 or bfloat16. ``auto`` is bfloat16 on GPUs with native support,
            else float32.
        device: auto, cpu, cuda or mps.
        compiled: Compile the training step by torch.compile. On a GPU it becomes CUDA graphs;
            takes about a minute per head and changes the last digits of results. Heads that can
            only be trained one by one are not compiled.
        modality_dropout: Probability that a training post loses its text or its picture, never
            both: zeros stand for it. The head then also predicts posts of one half. Baselines and
            heads over one half ignore it.
        label_smoothing: Share of each training label that is spread evenly over all classes, as in
            torch's cross_entropy; 0 is off. With class weights, what a class gets counts by the
            weight of that class. Losses on validation are without it. Baselines ignore it.
        ema: Decay per step of an exponential moving average of the weights, for example 0.99; 0 is
            off. The averaged weights are scored on validation and saved; training continues on
            the others. About 1 / (1 - decay) steps count. Baselines ignore it.
        feature_noise: Gaussian noise on the features of training posts, as a multiple of the
            standard deviation of each dimension over these posts; 0 is off. All tokens of a post
            get the same noise. Baselines ignore it.
        track_attention: Record the entropy of attention on validation in every epoch, for
            mvsa analyze attention. It changes no other number.
        seed: Random seed. It determines weights, dropout masks and the order of batches.

    Raises:
        ConfigError: A field cannot be used.
    """

    panel = "Training"

    epochs: int = option(20, least=1, most=MOST_EPOCHS)
    batch_size: int = option(32, least=1, most=MOST_BATCH)
    learning_rate: float = option(5e-4, above=0, search=Search(1e-4, 5e-3, log=True))
    weight_decay: float = option(1e-2, least=0, rare=True, search=Search(1e-4, 3e-1, log=True))
    schedule: Schedule = option(Schedule.COSINE, rare=True)
    warmup: float = option(0.1, least=0, below=1, rare=True)
    patience: int = option(6, least=0, most=MOST_EPOCHS, rare=True)
    select: Score = option(Score.F1_MACRO, rare=True)
    class_weights: str = "none"
    centre: bool = option(True, rare=True)
    centre_tokens: bool = option(False, rare=True)
    group_by_length: bool = option(True, rare=True)
    clip_norm: float = option(1.0, least=0, rare=True)
    precision: str = option("auto", among=("auto", "float32", "bfloat16"), rare=True)
    device: str = "auto"
    compiled: bool = option(False, "--compile", rare=True)
    modality_dropout: float = option(0.0, least=0, most=1, rare=True)
    label_smoothing: float = option(0.0, least=0, below=1, rare=True)
    ema: float = option(0.0, least=0, below=1, rare=True)
    feature_noise: float = option(0.0, least=0, rare=True)
    track_attention: bool = option(False, rare=True)
    seed: int = option(0, least=0, most=MOST_SEED)

    def as_record(self) -> dict[str, Any]:
        """Plain values; options that came later are left out where they change nothing."""
        return {name: value for name, value in asdict(self).items() if value or name not in _LATER}


@dataclass(frozen=True)
class RunSpec:
    """What to train: one run, apart from its posts and features.

    Attributes:
        head: The head's name.
        training: Options of training, with the seed.
        head_options: Options of the head that differ from their defaults.
        split_seed: Seed of its own random split; ``None`` uses the split of the data.
        fold: Name of its own fold, as ``--split`` takes it; empty outside cross-validation.
    """

    head: str
    training: TrainingOptions
    head_options: Mapping[str, OptionValue] = field(default_factory=dict)
    split_seed: int | None = None
    fold: str = ""


def parse_class_weights(text: str, classes: Sequence[str], counts: Sequence[int]) -> list[float]:
    """Weight of a post of each class in the loss.

    Args:
        text: ``none``, ``balanced``, ``name=weight`` pairs joined by commas, or a JSON object. A
            pair is split at its last ``=``; one whose name contains a comma must be in double
            quotes, as in CSV.
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
    """Weights by name; ``None`` if one is out of range or named twice."""
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
