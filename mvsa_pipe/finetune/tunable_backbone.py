"""A backbone being fine-tuned: its inputs, its trained parameters, its mode."""

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
    """Output of a backbone for a batch: hidden states, pooled vectors, and the mask of texts."""

    hidden: Tensor
    pooled: Tensor
    mask: Tensor | None


@dataclass
class TunableBackbone:
    """A backbone being fine-tuned.

    Attributes:
        options: The backbone's options.
        backbone: The backbone, on the device.
        inputs: Its inputs of every post.
        device: Its device.
        tuning: How it is trained.
        trained: Its trained parameters by name, each with its learning-rate factor.
        epoch: The epoch, for augmentation.
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
        """The modality that it reads."""
        return self.backbone.modality

    @property
    def network(self) -> nn.Module:
        """Its network."""
        return self.backbone.module

    def thaw(self, needs: set[Field], seed: int) -> None:
        """Marks the trained parameters; none with a learning rate of 0.

        Raises:
            ConfigError: Adapters were requested, and it is not a transformer.
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
        adapted = {name: name for name in chosen}
        if self.tuning.lora:
            name = self.backbone.identity.name
            adapted = adapt(self.network, name, chosen, self.tuning.lora_rank, seed)
        named = dict(self.network.named_parameters())
        self.trained = {
            name: layers.slowed(layers.depths[adapted[name]], self.tuning.layer_decay)
            for name in named
            if name in adapted
        }
        for name in self.trained:
            named[name].requires_grad_(True)

    def groups(self) -> list[dict[str, Any]]:
        """AdamW's parameter groups, the lowest learning rate first."""
        named = dict(self.network.named_parameters())
        rate = self.tuning.learning_rate_of(self.modality)
        return [
            {
                "params": [named[n] for n, own in self.trained.items() if own == factor],
                "lr": rate * factor,
            }
            for factor in sorted(set(self.trained.values()))
        ]

    @property
    def parameters_trained(self) -> int:
        """Number of trained parameters."""
        named = dict(self.network.named_parameters())
        return sum(named[name].numel() for name in self.trained)

    def state(self) -> dict[str, Tensor]:
        """All weights under the names of the published architecture, with merged adapters."""
        state = merged_state(self.network) if self.tuning.lora else self.network.state_dict()
        return {name: value.detach().cpu().clone().contiguous() for name, value in state.items()}

    def read(self, posts: Sequence[int], *, training: bool = False) -> list[Tensor]:
        """Inputs of ``encode`` for some posts, on the host; thread-safe."""
        if isinstance(self.inputs, TextInputs):
            rows = [self.inputs.rows[index] for index in posts]
            return [pinned(v, self.device) for v in padded(rows, self.inputs.pad_id)]
        if training and self.tuning.augment:
            pixels = [self.inputs.augmented(index, self.epoch) for index in posts]
        else:
            pixels = [self.inputs.pixels(index) for index in posts]
        return [pinned(np.stack(pixels), self.device)]

    def encode(self, inputs: Sequence[Tensor]) -> EncodedBatch:
        """Features of some inputs; with gradients if these are enabled and it is trained."""
        learns = torch.is_grad_enabled() and bool(self.trained)
        self._switch(training=learns)
        here = [values.to(self.device, non_blocking=True) for values in inputs]
        with torch.set_grad_enabled(learns):
            hidden, pooled = self.backbone.encode(*here)
        return EncodedBatch(hidden, pooled, here[1] if len(here) == 2 else None)

    def _switch(self, *, training: bool) -> None:
        """Switches dropout; batch norms always keep the statistics of pretraining."""
        if training == self._training:
            return
        self.network.train(training)
        for module in self.network.modules():
            if isinstance(module, _BatchNorm):
                module.eval()
        self._training = training
