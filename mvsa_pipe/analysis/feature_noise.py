"""Gaussian noise on cached features: no backbone runs.

Every number of a feature becomes ``x + σ · s · ε``: ``ε`` is standard normal, and ``s`` is the
standard deviation of its dimension over the scored posts (over all tokens of hidden states). With
``σ = 1`` half of a dimension's variance is noise. Heads over the same features get the same noise,
and all strengths the same ``ε``.
"""

import zlib

import torch
from torch import Tensor

from mvsa_pipe.analysis.changed_features import Inputs
from mvsa_pipe.analysis.rescoring import RescoredRun
from mvsa_pipe.features.batch import Field
from mvsa_pipe.modality import Modality


def with_noise(run: RescoredRun, modality: Modality, strength: float, seed: int) -> Inputs:
    """What a run reads, with noise on the features of one modality.

    Args:
        run: The run.
        modality: Text or image.
        strength: ``σ``.
        seed: Seed of the noise.
    """

    def noisy(name: Field, values: Tensor) -> Tensor:
        drawn = torch.Generator().manual_seed(zlib.crc32(f"{seed} {name}".encode()))
        numbers = values.float()
        over = tuple(range(numbers.dim() - 1))
        spread = numbers.std(dim=over, correction=0)
        noise = torch.randn(numbers.shape, generator=drawn)
        return (numbers + strength * spread * noise).to(values.dtype)

    return run.inputs.mapped(modality, noisy)
