"""State of one training run: order of batches, history, best epoch so far."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mvsa_pipe.errors import MvsaError
from mvsa_pipe.features.batch import FeatureBatch
from mvsa_pipe.heads.base import FusionHead
from mvsa_pipe.heads.model import Model
from mvsa_pipe.metrics.score_table import is_better
from mvsa_pipe.modality import Modality
from mvsa_pipe.training.attention_entry import attention_entry
from mvsa_pipe.training.data import TrainingData, epoch_batches
from mvsa_pipe.training.epochs import EpochReport, OnEpoch, ignore_epoch
from mvsa_pipe.training.noise import FeatureNoise
from mvsa_pipe.training.options import RunSpec, TrainingOptions, parse_class_weights
from mvsa_pipe.training.scoring import text_lengths, validation_entry
from mvsa_pipe.training.step import learning_rate_factor

# Keeps the draws of modality dropout apart from those of the order of batches.
_ABSENCES = 0x6D6F64616C697479


@dataclass(frozen=True)
class FittedModel:
    """A trained head or baseline, at the epoch or strength selected on validation.

    Attributes:
        head: The head, in eval mode, or the baseline.
        history: One entry per epoch, or per strength of a baseline, in order.
        best: Index of the selected entry.
        seconds: Wall time of training and validation; for runs trained together, its share.
        steps: Training steps taken.
        threads: CPU threads of torch while it was trained; 0 if another library trained it.
        together: Runs that shared one forward and backward with it, itself included.
    """

    head: Model
    history: list[dict[str, Any]] = field(default_factory=list)
    best: int = 0
    seconds: float = 0.0
    steps: int = 0
    threads: int = 0
    together: int = 1


class TrainState:
    """State of one training run, trained alone or in a stack.

    Args:
        head: The head, on its device; it is trained in place.
        data: Training and validation posts.
        spec: What is trained.
        on_epoch: Callback after each epoch.

    Attributes:
        head: As given.
        data: As given.
        spec: As given.
        options: Its options of training.
        on_epoch: As given.
        history: One entry per epoch.
        best: Index of the best entry so far.
        seconds: Wall time so far.
        fault: The error that ended the run without a result, if any.
        noise: Noise on the features of its training posts, if any.
    """

    def __init__(
        self,
        head: FusionHead,
        data: TrainingData,
        spec: RunSpec,
        on_epoch: OnEpoch = ignore_epoch,
    ) -> None:
        self.head, self.data, self.spec = head, data, spec
        self.options = options = spec.training
        self.on_epoch = on_epoch
        self.history: list[dict[str, Any]] = []
        self.best = 0
        self.seconds = 0.0
        self.fault: MvsaError | None = None
        self._best_state = head.state_dict()
        self._order = torch.Generator().manual_seed(options.seed)
        self._absences = torch.Generator().manual_seed((options.seed + _ABSENCES) % 2**63)
        self.noise = self._noise()
        self._lengths = text_lengths(head, data.features) if options.group_by_length else None

    @property
    def steps_an_epoch(self) -> int:
        """Number of batches in an epoch."""
        return self.data.steps_an_epoch(self.options.batch_size)

    @property
    def steps(self) -> int:
        """Number of steps that the learning rate's schedule spans."""
        return self.steps_an_epoch * self.options.epochs

    @property
    def should_continue(self) -> bool:
        """Whether another epoch follows."""
        if self.fault is not None:
            return False
        options, passed = self.options, len(self.history)
        waited = passed - 1 - self.best
        return passed < options.epochs and not (options.patience and waited >= options.patience)

    def class_weights(self) -> Float[Tensor, " C"]:
        """Weight of a post of each class, on the head's device."""
        return class_weights(self.data, self.options).to(next(self.head.parameters()).device)

    def next_batches(self) -> list[Int[Tensor, " _"]]:
        """The batches of the next epoch; every call draws new ones."""
        return epoch_batches(self.data.train, self.options.batch_size, self._order, self._lengths)

    @property
    def loses_halves(self) -> bool:
        """Whether training posts lose their text or picture at random."""
        halves = {need.modality for need in self.head.needs}
        return self.options.modality_dropout > 0 and len(halves) == len(Modality)

    def draw_absences(self, count: int) -> dict[Modality, Bool[Tensor, " B"]]:
        """Which posts of the next batch lose which half; never both.

        Args:
            count: Posts in the batch.
        """
        draws = torch.rand(count, generator=self._absences)
        rate = self.options.modality_dropout
        no_text = draws < rate / 2
        return {Modality.TEXT: no_text, Modality.IMAGE: (draws < rate) & ~no_text}

    def _noise(self) -> FeatureNoise | None:
        strength, seed = self.options.feature_noise, self.options.seed
        if not strength:
            return None
        return FeatureNoise.of(strength, seed, self.data, self.head.needs, self.head.device)

    def with_noise(self, batch: FeatureBatch) -> FeatureBatch:
        """The next batch of training posts, with noise on its features if the run has any."""
        noise = self.noise
        return batch if noise is None else noise.added(batch, noise.draw(len(batch)))

    def close_epoch(self, train_loss: float, seconds: float) -> None:
        """Scores the trained epoch on validation, keeps its weights if they are best, and reports.

        Args:
            train_loss: Mean loss over the training posts.
            seconds: Wall time of the training.

        Raises:
            DivergedError: A loss is not finite.
        """
        epoch, began = len(self.history), time.perf_counter()
        entry = {"epoch": epoch, "train_loss": train_loss}
        entry |= validation_entry(self.head, self.data)
        if self.options.track_attention:
            entry |= attention_entry(self.head, self.data)
        self.history.append(entry)
        require_convergence(entry, f"in epoch {epoch}", self.head, self.options)
        if epoch == 0 or is_better(entry, self.history[self.best], self.options.select):
            self.best = epoch
            self._best_state = {
                name: value.detach().clone() for name, value in self.head.state_dict().items()
            }
        seconds += time.perf_counter() - began
        self.seconds += seconds
        self.on_epoch(self._report(seconds))

    def _report(self, seconds: float) -> EpochReport:
        taken = len(self.history) * self.steps_an_epoch
        factor = learning_rate_factor(taken - 1, self.options, self.steps)
        return EpochReport(
            spec=self.spec,
            done=len(self.history),
            most=self.options.epochs,
            entry=self.history[-1],
            best=self.history[self.best],
            learning_rate=self.options.learning_rate * factor,
            seconds=seconds,
            ended=not self.should_continue,
        )

    def finished(self) -> FittedModel:
        """The head as it was at its best epoch."""
        self.head.load_state_dict(self._best_state)
        steps = len(self.history) * self.steps_an_epoch
        return FittedModel(self.head.eval(), self.history, self.best, self.seconds, steps)


class DivergedError(MvsaError):
    """Training diverged; other settings may avoid it."""


def require_convergence(
    entry: Mapping[str, Any], when: str, head: Model, options: TrainingOptions
) -> None:
    """Raises if a loss is not finite.

    Args:
        entry: History entry of an epoch or strength.
        when: The epoch or strength, for the message.
        head: The head.
        options: Options of training.

    Raises:
        DivergedError: A loss is NaN or infinite.
    """
    losses = {name: entry[name] for name in ("train_loss", "val_loss") if name in entry}
    if not all(math.isfinite(loss) for loss in losses.values()):
        raise DivergedError(
            f"Training diverged {when}",
            where=f"{type(head).__name__}, seed {options.seed}",
            found=", ".join(f"{name} {loss}" for name, loss in losses.items()),
            hint="lower --learning-rate, or set --clip-norm"
            if "train_loss" in losses
            else "its features may be too large; mvsa cache info shows their backbones",
        )


def class_weights(data: TrainingData, options: TrainingOptions) -> Float[Tensor, " C"]:
    """Weight of a post of each class in the loss.

    Raises:
        ConfigError: The option does not name exactly these classes.
    """
    counts = torch.bincount(data.labels[data.train], minlength=len(data.classes))
    weights = parse_class_weights(options.class_weights, data.classes, counts.tolist())
    return torch.tensor(weights, dtype=torch.get_default_dtype())
