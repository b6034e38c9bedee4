"""One backbone of a fine-tuning: what it reads, what of it is trained, and in which state."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mvsa_pipe.backbones.base import ImageBackbone, TextBackbone
from mvsa_pipe.backbones.options import BackboneOptions
from mvsa_pipe.extraction.forward import padded, pinned
from mvsa_pipe.features.batch import Field
from mvsa_pipe.finetune.inputs import ImageInputs, TextInputs
from mvsa_pipe.finetune.layer_depths import (
    LayerDepths,
    checkpoint_layer,
    layers_of,
    used_parameters,
)
from mvsa_pipe.finetune.lora import adapt, merged_state
from mvsa_pipe.finetune.options import TuningOptions
from mvsa_pipe.modality import Modality


class EncodedBatch(NamedTuple):
    """What a backbone said of a batch: hidden states, pooled vectors, and the mask of texts."""

    hidden: Tensor
    pooled: Tensor
    mask: Tensor | None


@dataclass
class TunableBackbone:
    """A backbone, on its way from published to tuned weights.

    Attributes:
        options: Which backbone.
        backbone: The backbone, on the device.
        inputs: What it reads of every post.
        device: Where it computes.
        tuning: How it is trained.
        trained: Its trained parameters by name, with how fast each learns beside the fastest.
        epoch: The epoch that pictures are augmented for.
    """

    options: BackboneOptions
    backbone: TextBackbone | ImageBackbone
    inputs: TextInputs | ImageInputs
    device: torch.device
    tuning: TuningOptions
    trained: dict[str, float] = field(default_factory=dict)
    epoch: int = 0
    _training: bool = False

    @property
    def modality(self) -> Modality:
        """Which half of the post it reads."""
        return self.backbone.modality

    @property
    def network(self) -> nn.Module:
        """What is trained."""
        return self.backbone.module

    def thaw(self, needs: set[Field], seed: int) -> None:
        """Marks what is trained; a learning rate of 0 trains nothing, and costs nothing.

        Raises:
            ConfigError: Adapters were asked for, and it is no transformer.
        """
        rate = self.tuning.learning_rate_of(self.modality)
        if not rate or self.tuning.layers == 0:
            return
        own = {need for need in needs if need.modality is self.modality}
        used = used_parameters(self.network, self.backbone.encode, self.read([0]), own)
        layers = layers_of(self.network, used)
        self._choose(layers, layers.above(self.tuning.layers), seed)
        if self.modality is Modality.TEXT:
            for module in self.network.modules():
                if isinstance(module, nn.Dropout):
                    module.p = self.tuning.backbone_dropout
        if self.tuning.checkpointing:
            for layer in layers.modules:
                checkpoint_layer(layer)

    def _choose(self, layers: LayerDepths, chosen: set[str], seed: int) -> None:
        stands_for = {name: name for name in chosen}
        if self.tuning.lora:
            name = self.backbone.identity.name
            stands_for = adapt(self.network, name, chosen, self.tuning.lora_rank, seed)
        named = dict(self.network.named_parameters())
        self.trained = {
            name: layers.slowed(layers.depths[stands_for[name]], self.tuning.layer_decay)
            for name in named
            if name in stands_for
        }
        for name in self.trained:
            named[name].requires_grad_(True)

    def groups(self) -> list[dict[str, Any]]:
        """AdamW's parameter groups, the slowest first."""
        named = dict(self.network.named_parameters())
        rate = self.tuning.learning_rate_of(self.modality)
        return [
            {
                "params": [named[n] for n, own in self.trained.items() if own == pace],
                "lr": rate * pace,
            }
            for pace in sorted(set(self.trained.values()))
        ]

    @property
    def parameters_trained(self) -> int:
        """How many numbers are trained."""
        named = dict(self.network.named_parameters())
        return sum(named[name].numel() for name in self.trained)

    def state(self) -> dict[str, Tensor]:
        """All weights as the published architecture names them, adapters added."""
        state = merged_state(self.network) if self.tuning.lora else self.network.state_dict()
        return {name: value.detach().cpu().clone().contiguous() for name, value in state.items()}

    def read(self, posts: Sequence[int], *, training: bool = False) -> list[Tensor]:
        """What ``encode`` takes of some posts, still in this process's memory; from any thread."""
        if isinstance(self.inputs, TextInputs):
            rows = [self.inputs.rows[index] for index in posts]
            return [pinned(v, self.device) for v in padded(rows, self.inputs.pad_id)]
        if training and self.tuning.augment:
            pixels = [self.inputs.augmented(index, self.epoch) for index in posts]
        else:
            pixels = [self.inputs.pixels(index) for index in posts]
        return [pinned(np.stack(pixels), self.device)]

    def encode(self, inputs: Sequence[Tensor]) -> EncodedBatch:
        """Features of what was read; gradients flow where they are on and something is trained."""
        learns = torch.is_grad_enabled() and bool(self.trained)
        self._switch(training=learns)
        here = [values.to(self.device, non_blocking=True) for values in inputs]
        with torch.set_grad_enabled(learns):
            hidden, pooled = self.backbone.encode(*here)
        return EncodedBatch(hidden, pooled, here[1] if len(here) == 2 else None)

    def _switch(self, *, training: bool) -> None:
        """Dropout on in training; batch norms keep their statistics unless told."""
        if training == self._training:
            return
        self.network.train(training)
        if not self.tuning.update_batch_norm:
            for module in self.network.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        self._training = training
