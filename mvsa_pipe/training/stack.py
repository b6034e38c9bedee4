"""Trains runs of one head shape together: stacked parameters, one forward and backward pass.

A run in a stack takes the same steps as alone: its own weights, order of batches, dropout masks,
noise, clipping, schedule, averaging and early stopping. Only sums inside matrix products may be in
another order.

Source:
    Stacked parameters under ``vmap``, as in torch's guide to model ensembling (``torch.func``).

Axes beyond the common legend: ``W`` all parameters of a head, end to end.
"""

import time
from collections.abc import Sequence
from dataclasses import fields
from itertools import zip_longest

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from mvsa_pipe.devices import Precision
from mvsa_pipe.features.absent import without
from mvsa_pipe.features.batch import FeatureBatch
from mvsa_pipe.heads.blocks import bits_to_mask, draw_bits, drop_below
from mvsa_pipe.modality import Modality
from mvsa_pipe.progress import OnStep
from mvsa_pipe.training.averaging import newest_share
from mvsa_pipe.training.lane import Lane
from mvsa_pipe.training.optimizer import AdamW
from mvsa_pipe.training.stacked_loss import (
    LossOfRuns,
    StackedLoss,
    smoothed,
)
from mvsa_pipe.training.stacking import Mask
from mvsa_pipe.training.state import DivergedError, TrainState

# Avoids a division by a norm of zero, as in torch's own clipping.
_CLIP_EPSILON = 1e-6


class Stack:
    """Runs whose parameters are updated together; finished runs are removed.

    Args:
        train_states: The runs; their heads have the same shape and draw the same masks, and they
            share one features object.
        masks: The result of ``masks_of`` for their heads.
        precision: Arithmetic of the matrix products.
        device: The heads' device.
        compiled: Whether their losses and gradients are computed by compiled kernels.
    """

    def __init__(
        self,
        train_states: Sequence[TrainState],
        masks: Sequence[Mask],
        precision: Precision,
        device: torch.device,
        *,
        compiled: bool = False,
    ) -> None:
        self._template = train_states[0].head
        self._masks, self._device = masks, device
        losses = StackedLoss(self._template, precision, device)
        self._losses: LossOfRuns = losses.compiled() if compiled else losses
        self._lanes = [Lane(train_state) for train_state in train_states]
        self._optimizer = AdamW(
            [{"params": [lane.leaf]} for lane in self._lanes],
            fused=device.type in ("cpu", "cuda"),
        )
        for lane, group in zip(self._lanes, self._optimizer.param_groups, strict=True):
            group["weight_decay"] = lane.train_state.options.weight_decay
            lane.group = group
        self._gather(self._lanes)

    @property
    def train_states(self) -> list[TrainState]:
        """The runs that are not finished."""
        return [lane.train_state for lane in self._lanes]

    def run_epoch(self, on_step: OnStep) -> None:
        """Trains one epoch of every run, scores each on validation, and removes finished runs.

        A run that diverges ends with its fault and does not affect the others.
        """
        began = time.perf_counter()
        self._template.train()
        lanes, features = self._lanes, self._lanes[0].train_state.data.features
        steps = _side_by_side([lane.train_state.next_batches() for lane in lanes])
        batches = features.batches([posts.flatten() for posts, _ in steps], self._template.needs)
        counts = torch.tensor([counts for _, counts in steps]).to(self._device)
        totals = torch.zeros(len(lanes), device=self._device)
        shares = self._newest_shares([own for _, own in steps])
        for (posts, own), counted, newest, batch in zip(
            steps, counts, shares, batches, strict=True
        ):
            on_step()
            real = torch.arange(posts.shape[1], device=self._device) < counted[:, None]
            totals += self._step(batch.to(self._device), posts, real, own) * counted
            if self._averages is not None:
                self._averages.lerp_(self._weights.detach(), newest[:, None])
        share = (time.perf_counter() - began) / len(lanes)
        for lane, total in zip(lanes, totals.tolist(), strict=True):
            try:
                with lane.averaged():
                    lane.train_state.close_epoch(total / len(lane.train_state.data.train), share)
            except DivergedError as error:  # does not affect the other runs
                lane.train_state.fault = error
        self._lanes = [lane for lane in lanes if lane.train_state.should_continue]
        for lane in lanes:
            if not lane.train_state.should_continue:
                lane.leave()
        if self._lanes and len(self._lanes) < len(lanes):
            self._gather(self._lanes)

    def _gather(self, lanes: Sequence[Lane]) -> None:
        """Stacks the parameters of some runs; heads and optimiser share the memory.

        The dropout layers' generators and the optimiser's moments stay with their runs.
        """
        weights = torch.stack([lane.leaf.detach() for lane in lanes])
        for lane, row in zip(lanes, weights, strict=True):
            lane.point_to(row)
        self._weights = weights.requires_grad_()
        self._averages: Tensor | None = None
        if any(lane.train_state.options.ema for lane in lanes):
            kept = [lane.leaf.detach() if lane.average is None else lane.average for lane in lanes]
            self._averages = torch.stack(kept)
            for lane, row in zip(lanes, self._averages, strict=True):
                lane.average = row
        self._buffers = {
            name: torch.stack([lane.buffer(name) for lane in lanes])
            for name, _ in self._template.named_buffers()
        }
        train_states = [lane.train_state for lane in lanes]
        self._class_weights = torch.stack(
            [train_state.class_weights() for train_state in train_states]
        )
        shares = [train_state.options.label_smoothing for train_state in train_states]
        self._smoothing = torch.tensor(shares, device=self._device) if any(shares) else None
        norms = [train_state.options.clip_norm or float("inf") for train_state in train_states]
        self._clip_norms = torch.tensor(norms, device=self._device)
        self._below = [
            torch.tensor(
                [drop_below(lane.layers[mask.layer].probability) for lane in lanes],
                dtype=torch.int32,
                device=self._device,
            )
            for mask in self._masks
        ]

    def _newest_shares(self, counts: Sequence[Sequence[int]]) -> Float[Tensor, "steps S"]:
        """Share of the newest weights in each run's average at every step; 0 without a step.

        Args:
            counts: Posts of each run at every step.
        """
        rows = [
            [
                newest_share(lane.train_state.options.ema, lane.steps + step) if count else 0.0
                for lane, count in zip(self._lanes, own, strict=True)
            ]
            for step, own in enumerate(counts, start=1)
        ]
        return torch.tensor(rows, device=self._device)

    def _step(
        self,
        batch: FeatureBatch,
        posts: Int[Tensor, "S B"],
        real: Bool[Tensor, "S B"],
        counts: Sequence[int],
    ) -> Float[Tensor, " S"]:
        """Takes one step of every run; returns each one's loss before the step.

        Args:
            batch: Features of the posts, run after run.
            posts: The posts, padded to the largest batch.
            real: Which of them are not padding.
            counts: Posts of each run that are not padding.
        """
        labels = self._lanes[0].train_state.data.labels[posts].to(self._device)
        counted = self._class_weights.gather(1, labels) * real
        if any(lane.train_state.noise for lane in self._lanes):
            batch = self._with_noise(batch, counts, posts.shape[1])
        if any(lane.train_state.loses_halves for lane in self._lanes):
            batch = self._with_absences(batch, counts, posts.shape[1])
        features = {
            f.name: value.unflatten(0, posts.shape)
            for f in fields(batch)
            if (value := getattr(batch, f.name)) is not None
        }
        masks = self._draw(counts, posts.shape[1])
        targets = None
        if self._smoothing is not None:
            targets = smoothed(labels, real, self._class_weights, self._smoothing)
        losses = self._losses(
            self._weights, self._buffers, features, masks, labels, counted, targets
        )
        (gradient,) = torch.autograd.grad(losses.sum(), self._weights)
        self._move(gradient, counts)
        return losses.detach()

    def _with_noise(self, batch: FeatureBatch, counts: Sequence[int], size: int) -> FeatureBatch:
        """The batch of one step with noise on its features: each run draws its own, as alone."""
        noises = [lane.train_state.noise for lane in self._lanes]
        some = next(noise for noise in noises if noise is not None)
        every = some.no_draws(len(counts) * size)
        for run, (noise, count) in enumerate(zip(noises, counts, strict=True)):
            if count and noise is not None:
                for field, own in noise.draw(count).items():
                    every[field][run * size : run * size + count] = own
        return some.added(batch, every)

    def _with_absences(self, batch: FeatureBatch, counts: Sequence[int], size: int) -> FeatureBatch:
        """The batch of one step, of which posts lost halves: each run draws its own, as alone."""
        absent = {
            modality: torch.zeros((len(counts), size), dtype=torch.bool) for modality in Modality
        }
        for run, (lane, count) in enumerate(zip(self._lanes, counts, strict=True)):
            if count and lane.train_state.loses_halves:
                for modality, own in lane.train_state.draw_absences(count).items():
                    absent[modality][run, :count] = own
        for modality, rows in absent.items():
            batch = without(batch, rows.flatten().to(self._device), modality)
        return batch

    def _draw(self, counts: Sequence[int], size: int) -> list[Tensor]:
        """The masks of one step: each run draws its own, in the same order as alone."""
        every = [
            torch.zeros(
                (len(counts), size, *mask.shape[1:]), dtype=torch.int16, device=self._device
            )
            for mask in self._masks
        ]
        for run, (lane, count) in enumerate(zip(self._lanes, counts, strict=True)):
            for mask, bits in zip(self._masks, every, strict=True):
                if count:
                    own = bits[run, :count]
                    own.copy_(
                        draw_bits(own.numel(), lane.layers[mask.layer].generator).view_as(own)
                    )
        return [
            bits_to_mask(bits, below.view(-1, *[1] * (bits.dim() - 1)))
            for bits, below in zip(every, self._below, strict=True)
        ]

    def _move(self, gradient: Float[Tensor, "S W"], counts: Sequence[int]) -> None:
        """Clips every run's gradient to its own norm and updates it at its own learning rate."""
        norms = torch.linalg.vector_norm(gradient, dim=1)
        gradient.mul_((self._clip_norms / (norms + _CLIP_EPSILON)).clamp(max=1.0)[:, None])
        for lane, row, count in zip(self._lanes, gradient, counts, strict=True):
            if count:
                lane.aim(row)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)


def _side_by_side(
    every: Sequence[Sequence[Int[Tensor, " _"]]],
) -> list[tuple[Int[Tensor, "S B"], list[int]]]:
    """The batches of some runs, step by step: a padded table, and the number of posts per run.

    Padding is post 0; a run without further batches has no posts in the remaining steps.
    """
    none = every[0][0][:0]
    return [
        (nn.utils.rnn.pad_sequence(list(step), batch_first=True), [len(own) for own in step])
        for step in zip_longest(*every, fillvalue=none)
    ]
