"""One training step, the same for cached features and for backbones that are trained too."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from mvsa_pipe.devices import Precision, arithmetic, at_least_float32, resolve_precision
from mvsa_pipe.features.batch import FeatureBatch
from mvsa_pipe.heads.base import FusionHead
from mvsa_pipe.training.averaging import WeightAverage
from mvsa_pipe.training.optimizer import AdamW
from mvsa_pipe.training.options import Schedule, TrainingOptions


@dataclass
class Trainer:
    """A head with everything that a training step needs.

    Attributes:
        head: The head; it is trained in place.
        optimizer: AdamW over its parameters, and over those of backbones trained with it.
        schedule: Learning rate of every step.
        class_weights: Weight of a post of each class ``[C]``.
        clip_norm: Largest norm of the gradients; 0 does not clip.
        precision: Arithmetic of the matrix products.
        device: The head's device.
        label_smoothing: Share of each label that is spread over all classes.
        average: Average of the trained parameters, if one is kept.
    """

    head: FusionHead
    optimizer: torch.optim.Optimizer
    schedule: "Rates"
    class_weights: Float[Tensor, " C"]
    clip_norm: float
    precision: Precision
    device: torch.device
    label_smoothing: float = 0.0
    average: WeightAverage | None = None

    def step(self, batch: FeatureBatch, labels: Int[Tensor, " B"]) -> Float[Tensor, ""]:
        """Takes one step; returns the batch's loss before the step, on the device.

        The loss is cross-entropy on the logits, averaged over posts by their class weights. With
        label smoothing ``ε`` it is ``Σᵢ ((1 - ε) w[yᵢ] ℓᵢ[yᵢ] + ε/C Σ_c w[c] ℓᵢ[c]) / Σᵢ w[yᵢ]``,
        where ``ℓᵢ[c]`` is the negative log-probability of class ``c`` and ``w`` the class weights.
        Gradients also flow into backbones that computed the features.

        Source:
            Szegedy et al. 2016, "Rethinking the Inception Architecture for Computer Vision", arXiv
            1512.00567, section 7, for label smoothing.
        """
        loss = self.accumulate(batch, labels)
        self.move()
        return loss

    def accumulate(
        self, batch: FeatureBatch, labels: Int[Tensor, " B"], share: float = 1.0
    ) -> Float[Tensor, ""]:
        """Accumulates the gradients of one batch, or of a part of one.

        Args:
            batch: Features of the posts.
            labels: Their classes.
            share: Share of the part in its batch, by the class weights of its posts.
        """
        with arithmetic(self.precision, self.device):
            logits = self.head(batch)
        loss = F.cross_entropy(
            at_least_float32(logits),
            labels,
            weight=self.class_weights,
            label_smoothing=self.label_smoothing,
        )
        (loss if share == 1.0 else loss * share).backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def move(self) -> None:
        """Updates all trained parameters by the accumulated gradients, and clears them."""
        if self.clip_norm:
            scale_down(self.parameters(), self.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.schedule.step()
        if self.average is not None:
            self.average.update()

    def averaged(self) -> AbstractContextManager[None]:
        """Within it the trained parameters are their average, if one is kept."""
        return nullcontext() if self.average is None else self.average.applied()

    def parameters(self) -> list[nn.Parameter]:
        """All trained parameters."""
        return [p for group in self.optimizer.param_groups for p in group["params"]]


class Rates:
    """Sets the learning rate of every parameter group, step by step.

    The rates equal those of torch's ``LambdaLR``, whose overhead was larger than the update.

    Args:
        optimizer: An optimiser whose groups have their peak rates.
        factor: Share of the peak rate at a step.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, factor: Callable[[int], float]) -> None:
        self._optimizer, self._factor = optimizer, factor
        self._peaks = [float(group["lr"]) for group in optimizer.param_groups]
        self._steps = 0
        self._set()

    def step(self) -> None:
        """Sets the rates of the next step."""
        self._steps += 1
        self._set()

    def _set(self) -> None:
        factor = self._factor(self._steps)
        for group, peak in zip(self._optimizer.param_groups, self._peaks, strict=True):
            group["lr"] = peak * factor

    def state_dict(self) -> dict[str, Any]:
        """State for a checkpoint, with the keys of torch's schedulers."""
        return {"last_epoch": self._steps, "base_lrs": list(self._peaks)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores the state of a checkpoint."""
        self._steps, self._peaks = int(state["last_epoch"]), list(state["base_lrs"])
        self._set()


def scale_down(parameters: Iterable[nn.Parameter], norm: float) -> None:
    """Scales gradients down to a norm over all of them; smaller ones are unchanged.

    Bit-equal to ``clip_grad_norm_``, which on a CPU calls torch twice per parameter.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not gradients:
        return
    norms = torch._foreach_norm(gradients)  # noqa: SLF001  # public except for its name
    total = torch.linalg.vector_norm(torch.stack(norms))
    factor = (norm / (total + 1e-6)).clamp(max=1.0)
    # a factor of 1 changes nothing; on a GPU, reading the factor would synchronise
    if factor.device.type != "cpu" or float(factor) != 1.0:
        torch._foreach_mul_(gradients, factor)


def make_trainer(
    head: FusionHead,
    options: TrainingOptions,
    class_weights: Float[Tensor, " C"],
    steps: int,
    precision: Precision,
    device: torch.device,
    groups: Sequence[Mapping[str, Any]] | None = None,
) -> Trainer:
    """Builds the trainer of a head, with optimiser and schedule.

    Args:
        head: The head, on ``device``.
        options: Learning rate, decay, schedule, clipping, label smoothing and averaging.
        class_weights: Weight of a post of each class.
        steps: Steps of the whole training, for the schedule.
        precision: Arithmetic of the matrix products.
        device: The head's device.
        groups: AdamW's parameter groups, if not only the head is trained or rates differ.
    """
    optimizer = AdamW(
        head.parameters() if groups is None else [dict(group) for group in groups],
        lr=options.learning_rate,
        weight_decay=options.weight_decay,
        fused=device.type in ("cpu", "cuda"),
    )
    factor = partial(learning_rate_factor, options=options, steps=steps)
    schedule = Rates(optimizer, factor)
    trainer = Trainer(
        head,
        optimizer,
        schedule,
        class_weights,
        options.clip_norm,
        precision,
        device,
        options.label_smoothing,
    )
    if options.ema:
        trainer.average = WeightAverage(trainer.parameters(), options.ema)
    return trainer


def learning_rate_factor(step: int, options: TrainingOptions, steps: int) -> float:
    """Share of the peak learning rate at a step: linear warm-up, then cosine to 0 or constant."""
    warmup = round(options.warmup * steps)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if options.schedule is Schedule.CONSTANT:
        return 1.0
    done = (step - warmup) / max(1, steps - warmup)
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))


def training_precision(options: TrainingOptions, device: torch.device) -> Precision:
    """Arithmetic of training; ``auto`` is mixed precision on a GPU only, where it is faster."""
    if options.precision == "auto" and device.type != "cuda":
        return Precision.FLOAT32
    return resolve_precision(options.precision, device)
