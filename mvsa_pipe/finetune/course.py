"""One fine-tuning between its first and its last epoch: order of batches, history, best epoch."""

import time
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mvsa_pipe.errors import MvsaError
from mvsa_pipe.heads.base import FusionHead
from mvsa_pipe.training.fitting import Material, _better, _class_weights, _validation
from mvsa_pipe.training.options import TrainingOptions


class Course:
    """One run between its first and its last epoch.

    Args:
        head: The head, on its device, in place.
        material: What it is trained on and selected by.
        options: How it is trained.
    """

    def __init__(self, head: FusionHead, material: Material, options: TrainingOptions) -> None:
        self.head, self.material, self.options = head, material, options
        self.history: list[dict[str, Any]] = []
        self.best = 0
        self.seconds = 0.0
        self._order = torch.Generator().manual_seed(options.seed)

    @property
    def steps_an_epoch(self) -> int:
        """Batches that an epoch's posts are cut into."""
        return -(-len(self.material.train) // self.options.batch_size)

    @property
    def goes_on(self) -> bool:
        """Whether another epoch shall follow."""
        options, passed = self.options, len(self.history)
        waited = passed - 1 - self.best
        return passed < options.epochs and not (options.patience and waited >= options.patience)

    def class_weights(self) -> Float[Tensor, " C"]:
        """How much a post of each class counts, on the head's device."""
        return _class_weights(self.material, self.options).to(next(self.head.parameters()).device)

    def next_batches(self) -> list[Int[Tensor, " b"]]:
        """The batches of the next epoch; every call draws new ones."""
        train = self.material.train
        shuffled = train[torch.randperm(len(train), generator=self._order)]
        return list(torch.split(shuffled, self.options.batch_size))

    def close_epoch(self, train_loss: float, seconds: float) -> None:
        """Scores the epoch that was just trained on validation."""
        epoch, began = len(self.history), time.perf_counter()
        entry = {"epoch": epoch, "train_loss": train_loss}
        self.history.append(entry | _validation(self.head, self.material))
        entry = self.history[-1]
        if not np.isfinite([entry["train_loss"], entry["val_loss"]]).all():
            raise MvsaError(f"Training diverged in epoch {epoch}")
        if epoch == 0 or _better(entry, self.history[self.best], self.options.select):
            self.best = epoch
        self.seconds += seconds + time.perf_counter() - began
