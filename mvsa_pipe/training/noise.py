"""Gaussian noise on the features of training posts.

Every number of a feature becomes ``x + σ · s · ε``: ``ε`` is standard normal, and ``s`` is the
standard deviation of its dimension over the training posts (over all their tokens of hidden
states), as in ``mvsa analyze degrade``. In every epoch a post draws one ``ε`` for each dimension of
a feature, the same for all of its tokens: noise drawn token by token would average out in a mean
over hundreds of them, as dropout masks would. Padding of texts is left as it is, and so are the
columns of other backbones where several are joined.

Source:
    Bishop 1995, "Training with noise is equivalent to Tikhonov regularization", Neural Computation
    7(1).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mvsa_pipe.features.batch import HIDDEN, FeatureBatch, Field
from mvsa_pipe.features.joined import JoinedFeatures
from mvsa_pipe.training.data import TrainingData

# Keeps the draws of noise apart from those of the order of batches and of modality dropout.
_NOISE = 0x6E6F697365

Noise = dict[Field, Float[Tensor, "B *L D"]]


@dataclass(frozen=True)
class FeatureNoise:
    """The noise of one run, drawn from a generator of its own.

    Attributes:
        deviations: ``σ · s`` of each feature that the head reads, ``[*L, D]``.
        joined: Hidden states in which a token has zeros in the columns of other backbones.
        generator: On the device of the head, as those of dropout.
    """

    deviations: Mapping[Field, Float[Tensor, "*L D"]]
    joined: frozenset[Field]
    generator: torch.Generator

    @classmethod
    def of(
        cls,
        strength: float,
        seed: int,
        data: TrainingData,
        needs: Iterable[Field],
        device: torch.device,
    ) -> "FeatureNoise":
        """The noise of a run, after one pass over the features of its training posts.

        Args:
            strength: ``σ``.
            seed: The run's seed.
            data: The posts.
            needs: The features that the head reads.
            device: The head's device.
        """
        wanted = sorted(needs)  # a set's order differs from process to process
        joined = _joined(data, wanted)
        spreads = _spreads(data, wanted, joined, device)
        return cls(
            {field: strength * spread for field, spread in spreads.items()},
            joined,
            torch.Generator(device).manual_seed((seed + _NOISE) % 2**63),
        )

    def draw(self, posts: int) -> Noise:
        """The noise of the next batch.

        Args:
            posts: Posts in the batch.
        """
        return {
            field: deviation
            * torch.randn(
                posts, *deviation.shape, generator=self.generator, device=deviation.device
            )
            for field, deviation in self.deviations.items()
        }

    def no_draws(self, posts: int) -> Noise:
        """Zeros of the same shapes."""
        return {
            field: deviation.new_zeros(posts, *deviation.shape)
            for field, deviation in self.deviations.items()
        }

    def added(self, batch: FeatureBatch, noise: Noise) -> FeatureBatch:
        """A batch with noise on its features, in single precision.

        Args:
            batch: The features, on the device of the head.
            noise: What was drawn for its posts.
        """
        changed: dict[str, Any] = {}
        for field, own in noise.items():
            values = getattr(batch, field.value)
            if field in HIDDEN:
                own = own.unsqueeze(1)  # the same for all tokens
                there = _there(batch, field, field in self.joined)
                own = own if there is None else torch.where(there, own, 0.0)
            changed[field.value] = values.float() + own
        return replace(batch, **changed)


def _joined(data: TrainingData, needs: Iterable[Field]) -> frozenset[Field]:
    """Hidden states of several backbones, whose token sets have columns of their own."""
    if not isinstance(data.features, JoinedFeatures):
        return frozenset()
    sources = data.features.sources
    return frozenset(
        need for need in needs if need in HIDDEN and len(sources.get(need.modality, ())) > 1
    )


def _there(batch: FeatureBatch, field: Field, joined: bool) -> Bool[Tensor, "B T *L _"] | None:
    """Which numbers are no padding and no columns of other backbones; ``None`` if all."""
    values: Tensor = getattr(batch, field.value)
    there = None
    if field is Field.TEXT_HIDDEN and batch.text_mask is not None:
        mask = batch.text_mask
        there = mask.view(*mask.shape, *[1] * (values.dim() - 2))
    if joined:
        own = values != 0
        there = own if there is None else there & own
    return there


@torch.no_grad()
def _spreads(
    data: TrainingData, needs: Sequence[Field], joined: frozenset[Field], device: torch.device
) -> dict[Field, Float[Tensor, "*L D"]]:
    """Standard deviation of each dimension over the training posts and their tokens.

    Means and squares are merged batch by batch (Chan et al. 1983), which is stable in single
    precision, the only one on some devices.
    """
    moments: dict[Field, tuple[Tensor, Tensor, Tensor]] = {}
    for given in data.train_batches(needs):
        batch = given.to(device)
        for field in needs:
            new = _moments(batch, field, field in joined)
            moments[field] = _merged(moments[field], new) if field in moments else new
    return {
        field: (squares / counts.clamp(min=1)).sqrt()
        for field, (counts, _, squares) in moments.items()
    }


def _moments(batch: FeatureBatch, field: Field, joined: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Count, mean and sum of squared differences from it, for each dimension of a batch."""
    values: Tensor = getattr(batch, field.value).float()
    there = _there(batch, field, joined) if field in HIDDEN else None
    there = torch.ones_like(values[:1], dtype=torch.bool) if there is None else there
    there = there.expand_as(values)
    over = (0, 1) if field in HIDDEN else (0,)
    counts = there.sum(dim=over).float()
    mean = torch.where(there, values, 0.0).sum(dim=over) / counts.clamp(min=1)
    squares = torch.where(there, (values - mean).square(), 0.0).sum(dim=over)
    return counts, mean, squares


def _merged(
    one: tuple[Tensor, Tensor, Tensor], other: tuple[Tensor, Tensor, Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    (n, mean, squares), (m, other_mean, other_squares) = one, other
    total, apart = (n + m).clamp(min=1), other_mean - mean
    return (
        n + m,
        mean + apart * m / total,
        squares + other_squares + apart.square() * n * m / total,
    )
