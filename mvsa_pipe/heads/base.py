"""What every fusion head is: a module that maps one ``FeatureBatch`` to logits ``[B, C]``."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from mvsa_pipe.features import POOLED, FeatureBatch, FeatureSizes, Field
from mvsa_pipe.heads.growing import Growing
from mvsa_pipe.heads.layers import Dropout
from mvsa_pipe.heads.options import HeadOptions

__all__ = ["FusionHead", "HeadOptions", "SolvableHead"]


class FusionHead(nn.Module, ABC):
    """Base of all heads; a subclass is one row in the table of heads.

    Attributes:
        needs: The features that ``forward`` reads; all others may be absent or NaN. Of a class:
            those under its default options; of a head: those under its own.
        Options: The frozen dataclass of the head's hyper-parameters.
        batch_independent: Whether a post's logits are free of its companions. Only ``faithful``
            variants, which repeat a published defect, may say False.
        centres: Whether pooled features are centred before training, in which all corrected
            heads differ from their sources; ``faithful`` variants say False.
        seeded: Whether the seed moves what the trained head says; averaging runs of a head that
            says False over seeds would average copies.
        steady: Whether training leaves rounding about as small as it was. Of a head that says False
            AdamW, which divides gradients by their own size, makes differences beyond 1e-5 in the
            logits (``benchmarks/independence.py``): such heads share no stack.
        loss_floor: The least cross-entropy that the head can reach with three classes.
        unbounded: Names of tensors in which infinity is a value.
        sizes: What the head was built for.
        options: How it was built.
    """

    needs: frozenset[Field]
    Options: ClassVar[type[HeadOptions]] = HeadOptions
    batch_independent: ClassVar[bool] = True
    centres: ClassVar[bool] = True
    seeded: ClassVar[bool] = True
    steady: ClassVar[bool] = True
    loss_floor: ClassVar[float] = 0.0
    unbounded: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, sizes: FeatureSizes, options: HeadOptions) -> None:
        super().__init__()
        self.sizes = sizes
        self.options = options
        for field, width in (
            (Field.TEXT_POOLED, sizes.text_width),
            (Field.IMAGE_POOLED, sizes.image_width),
        ):
            self.register_buffer(_mean_of(field), torch.zeros(width))

    def faults(self) -> Iterator[str]:
        """What is wrong with loaded weights beyond their shapes, for messages.

        Heads whose tensors hold places in other tensors check them here.
        """
        return iter(())

    @abstractmethod
    def forward(self, batch: FeatureBatch) -> Float[Tensor, "B C"]:
        """Logits of every post; softmax turns them into probabilities."""

    def use_generator(self, generator: torch.Generator) -> None:
        """Hands every dropout layer the generator that its masks are drawn from."""
        for layer in self.dropouts().values():
            layer.generator = generator

    def dropouts(self) -> dict[str, Dropout]:
        """The dropout layers by name."""
        return {name: part for name, part in self.named_modules() if isinstance(part, Dropout)}

    def centre(self, batch: FeatureBatch) -> None:
        """Learns the means of the pooled features from the training posts.

        From then on ``read`` hands them out centred. Vectors of one backbone share a large common
        part that says nothing of a post, and that every later norm would preserve. The means are
        part of the saved weights: a post's logits depend on training and on itself alone.
        """
        for field in self.needs & POOLED:
            self.get_buffer(_mean_of(field)).zero_()
            self.get_buffer(_mean_of(field)).copy_(self.read(batch, field).mean(dim=0))

    def read(self, batch: FeatureBatch, field: Field) -> Float[Tensor, "B *tokens D"]:
        """A declared feature in the precision of the weights; caches hold half precision.

        Raises:
            ValueError: The batch lacks it.
        """
        value: Tensor | None = getattr(batch, field.value)
        if value is None:
            raise ValueError(f"{type(self).__name__} needs {field.value}, which the batch lacks")
        value = value.to(next(self.parameters()).dtype)
        if field in POOLED:
            return value - self.get_buffer(_mean_of(field))
        return value

    def read_text_tokens(
        self, batch: FeatureBatch
    ) -> tuple[Float[Tensor, "B T Dt"], Bool[Tensor, "B T"]]:
        """Hidden states of the text, zero on padding whatever stood there, and their mask."""
        hidden, mask = self.read(batch, Field.TEXT_HIDDEN), batch.text_mask
        if mask is None:
            raise ValueError(f"{type(self).__name__} needs text_mask, which the batch lacks")
        # not hidden * mask: NaN times zero is NaN
        return torch.where(mask.unsqueeze(-1), hidden, 0.0), mask


def _mean_of(field: Field) -> str:
    return f"{field.value}_mean"


class SolvableHead(Growing, FusionHead):
    """A head whose weights are solved for in closed form or by its own solver, without epochs.

    Attributes:
        strengths: What ``solve`` is tried with, from the stiffest fit to the closest; the best on
            validation is kept.
    """

    strengths: ClassVar[tuple[float, ...]]

    @abstractmethod
    def solve(
        self,
        train: FeatureBatch,
        train_labels: Int[Tensor, " B"],
        strength: float,
        class_weights: Float[Tensor, " C"] | None,
    ) -> None:
        """Sets the weights from all training posts at once.

        Args:
            train: The training posts.
            train_labels: Their classes.
            strength: How closely to fit them.
            class_weights: How much a post of each class counts.

        Raises:
            DataError: All training posts have the same class.
        """
