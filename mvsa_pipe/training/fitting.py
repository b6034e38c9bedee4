"""Trains one head over resident features and picks its epoch on validation."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from mvsa_pipe.devices import (
    Precision,
    cpu_threads,
    fits_on,
    resolve_device,
    resolve_precision,
)
from mvsa_pipe.errors import MvsaError, SplitError
from mvsa_pipe.features import HIDDEN, POOLED
from mvsa_pipe.heads.base import FusionHead, SolvableHead
from mvsa_pipe.heads.building import build_head
from mvsa_pipe.heads.options import OptionValue
from mvsa_pipe.metrics import Score, confusion_matrix, score_confusion
from mvsa_pipe.resident import ResidentFeatures
from mvsa_pipe.training.options import TrainingOptions, parse_class_weights
from mvsa_pipe.training.step import Trainer, make_trainer

# Inverse penalties that a solved head is tried with; the best on validation is kept.
STRENGTHS = (1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 1e-1, 1.0)

# Posts a forward pass when nothing is trained; part of a run's arithmetic, so never tuned.
SCORING_BATCH = 256


@dataclass(frozen=True)
class Material:
    """What heads are trained on and selected by; the test part is not here.

    Attributes:
        features: Resident features of all posts.
        labels: Class of every post ``[N]``; -1 where unknown.
        train: Indices of the training posts.
        val: Indices of the validation posts.
        classes: Names of the classes.
    """

    features: ResidentFeatures
    labels: Int[Tensor, " N"]
    train: Int[Tensor, " n"]
    val: Int[Tensor, " m"]
    classes: tuple[str, ...]

    def placed(self, device: torch.device) -> "Material":
        """The same material on a device, or where it is when the device has no room for it.

        Batches of features that stay behind are copied to the device one by one.
        """
        here = self.labels.device.type == device.type
        if here or not fits_on(device, self.features.bytes_held):
            return self
        tensors = (self.labels, self.train, self.val)
        labels, train, val = (tensor.to(device) for tensor in tensors)
        return Material(self.features.to(device), labels, train, val, self.classes)


@dataclass(frozen=True)
class Fitted:
    """A trained head, at the epoch that validation picked.

    Attributes:
        head: The head, in eval mode.
        history: One entry an epoch (or a strength, for solved heads), in order.
        best: Index of the picked entry.
        seconds: Wall time of training, validation included.
        steps: Training steps taken.
    """

    head: FusionHead
    history: list[dict[str, Any]] = field(default_factory=list)
    best: int = 0
    seconds: float = 0.0
    steps: int = 0


def fit_head(
    name: str,
    head_options: Mapping[str, OptionValue],
    material: Material,
    options: TrainingOptions,
) -> Fitted:
    """Trains a head from its seed and leaves it as it was at its best epoch on validation.

    Raises:
        SplitError: There is nothing to train on or to select by.
        ConfigError: An option cannot be used.
        MvsaError: Training diverged.
    """
    if not len(material.train) or not len(material.val):
        raise SplitError(
            "A head needs training posts, and validation posts to select its epoch by",
            found=f"{len(material.train)} train, {len(material.val)} val",
            hint="--split random-8:1:1, or a split with both parts",
        )
    device = resolve_device(options.device)
    head = build_head(name, material.features.sizes, options.seed, head_options, device)
    material = material.placed(device)
    started = time.perf_counter()
    if options.centre and head.centres and head.needs & POOLED:
        with torch.no_grad():
            pooled = material.features.batch(material.train, head.needs & POOLED)
            head.centre(pooled.to(device))
    with cpu_threads(_threads(head)):
        if isinstance(head, SolvableHead):
            history, best, steps = _solve(head, material, options)
        else:
            history, best, steps = _train(head, material, options, device)
    head.eval()
    return Fitted(head, history, best, time.perf_counter() - started, steps)


def _threads(head: FusionHead) -> int:
    """One thread for heads whose operations are too small to share out, else what torch has."""
    return torch.get_num_threads() if head.needs & HIDDEN else 1


def _class_weights(material: Material, options: TrainingOptions) -> Float[Tensor, " C"]:
    counts = torch.bincount(material.labels[material.train], minlength=len(material.classes))
    weights = parse_class_weights(options.class_weights, material.classes, counts.tolist())
    return torch.tensor(weights, dtype=torch.float32)


def training_precision(options: TrainingOptions, device: torch.device) -> Precision:
    """Arithmetic of training: ``auto`` is mixed only on a GPU, where heads gain from it."""
    if options.precision == "auto" and device.type != "cuda":
        return Precision.FLOAT32
    return resolve_precision(options.precision, device)


def _train(
    head: FusionHead, material: Material, options: TrainingOptions, device: torch.device
) -> tuple[list[dict[str, Any]], int, int]:
    steps_an_epoch = -(-len(material.train) // options.batch_size)
    trainer = make_trainer(
        head,
        options,
        _class_weights(material, options).to(device),
        steps_an_epoch * options.epochs,
        training_precision(options, device),
        device,
    )
    # The order of batches lives on the CPU, so that it is the same on every device.
    order = torch.Generator().manual_seed(options.seed)
    history: list[dict[str, Any]] = []
    best, best_state = 0, head.state_dict()
    for epoch in range(options.epochs):
        entry = {"epoch": epoch, "train_loss": _epoch(trainer, material, options, order)}
        history.append(entry | _validation(head, material))
        if not np.isfinite([history[-1]["train_loss"], history[-1]["val_loss"]]).all():
            raise MvsaError(
                f"Training diverged in epoch {epoch}",
                where=f"{type(head).__name__}, seed {options.seed}",
                found=f"loss {history[-1]['train_loss']}, on validation {history[-1]['val_loss']}",
                hint="lower --learning-rate, or set --clip-norm",
            )
        if epoch == 0 or _better(history[epoch], history[best], options.select):
            best = epoch
            best_state = {k: v.detach().clone() for k, v in head.state_dict().items()}
        elif options.patience and epoch - best >= options.patience:
            break
    head.load_state_dict(best_state)
    return history, best, len(history) * steps_an_epoch


def _epoch(
    trainer: Trainer, material: Material, options: TrainingOptions, order: torch.Generator
) -> float:
    """One pass over the training posts; returns the mean loss over posts."""
    trainer.head.train()
    shuffled = torch.randperm(len(material.train), generator=order).to(material.train.device)
    total = torch.zeros((), device=trainer.device)
    for chosen in torch.split(material.train[shuffled], options.batch_size):
        batch = material.features.batch(chosen, trainer.head.needs).to(trainer.device)
        total += trainer.step(batch, material.labels[chosen].to(trainer.device)) * len(chosen)
    return float(total) / len(material.train)


def _validation(head: FusionHead, material: Material) -> dict[str, float]:
    logits = predict_logits(head, material.features, material.val)
    labels = material.labels[material.val].to(logits.device)
    return {"val_loss": float(F.cross_entropy(logits, labels))} | {
        f"val_{name.value}": float(value)
        for name, value in _scores(logits, labels, len(material.classes)).items()
    }


def _scores(
    logits: Float[Tensor, "N C"], labels: Int[Tensor, " N"], classes: int
) -> dict[Score, NDArray[np.float64]]:
    predictions = logits.argmax(dim=1).cpu().numpy()
    return score_confusion(confusion_matrix(labels.cpu().numpy(), predictions, classes))


def _better(entry: dict[str, Any], than: dict[str, Any], select: Score) -> bool:
    """A higher score; of equal ones the lower loss."""
    key = f"val_{select.value}"
    return (entry[key], -entry["val_loss"]) > (than[key], -than["val_loss"])


def _solve(
    head: SolvableHead, material: Material, options: TrainingOptions
) -> tuple[list[dict[str, Any]], int, int]:
    device = next(head.parameters()).device
    train = material.features.batch(material.train, head.needs).to(device)
    labels = material.labels[material.train]
    weights = None if options.class_weights == "none" else _class_weights(material, options)
    history: list[dict[str, Any]] = []
    best, best_state = 0, head.state_dict()
    head.eval()
    for index, strength in enumerate(STRENGTHS):
        head.solve(train, labels, strength, weights)
        history.append({"strength": strength} | _validation(head, material))
        if index == 0 or _better(history[index], history[best], options.select):
            best = index
            best_state = {k: v.detach().clone() for k, v in head.state_dict().items()}
    head.load_state_dict(best_state)
    return history, best, 0


@torch.inference_mode()
def predict_logits(
    head: FusionHead, features: ResidentFeatures, posts: Int[Tensor, " n"]
) -> Float[Tensor, "n C"]:
    """Logits of some posts in float32 on the head's device, in batches of fixed size and order."""
    head.eval()
    device = next(head.parameters()).device
    batches = (features.batch(c, head.needs).to(device) for c in torch.split(posts, SCORING_BATCH))
    return torch.cat([head(batch).float() for batch in batches])


def predict_probabilities(
    head: FusionHead, features: ResidentFeatures, posts: Int[Tensor, " n"]
) -> NDArray[np.float32]:
    """Probability of each class for some posts ``[n, C]``."""
    return predict_logits(head, features, posts).softmax(dim=1).cpu().numpy()
