"""Baselines fitted to posts drawn at random, and what they say of others."""

from collections.abc import Sequence

import numpy as np
import torch

from mvsa_pipe.baselines.base import Baseline
from mvsa_pipe.features.batch import FeatureBatch, FeatureSizes
from mvsa_pipe.heads.build import build_head

TEXT_WIDTH, IMAGE_WIDTH = 7, 4


def build(name: str, classes: int, seed: int = 0, **options) -> Baseline:
    """A baseline before its fit."""
    return build_head(name, FeatureSizes(TEXT_WIDTH, IMAGE_WIDTH, 1, classes), seed, options)


def fit(
    baseline: Baseline,
    batch: FeatureBatch,
    labels: torch.Tensor,
    strength: float,
    weights: torch.Tensor | None = None,
    texts: Sequence[str] | None = None,
) -> Baseline:
    """A baseline fitted with one strength."""
    given = None if weights is None else weights.double().numpy()
    frame = baseline.frame(batch, texts)
    (fitted,) = baseline.fit(frame, labels.numpy(), given, (strength,))
    return fitted


def shares(baseline: Baseline, batch: FeatureBatch, texts: Sequence[str] | None = None):
    """Probabilities of every class, as an array."""
    return baseline.predict_proba(batch, texts).numpy()


def joined(batch: FeatureBatch) -> np.ndarray:
    """Both vectors side by side, in double precision."""
    return torch.cat([batch.text_pooled, batch.image_pooled], dim=1).double().numpy()
