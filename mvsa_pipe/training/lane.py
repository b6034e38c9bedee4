"""One run inside a stack: its parameters as a vector, its optimiser settings, its average.

Axes beyond the common legend: ``W`` all parameters of a head, end to end.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mvsa_pipe.training.stacked_loss import flatten, unflatten
from mvsa_pipe.training.state import TrainState
from mvsa_pipe.training.step import learning_rate_factor


class Lane:
    """One run inside a stack.

    Attributes:
        train_state: The run.
        layers: Its dropout layers by name.
        leaf: Its parameters as one vector ``[W]``, which the optimiser moves.
        group: The optimiser's settings for them.
        average: Their average ``[W]``; ``None`` if no run of the stack keeps one.
        steps: Steps taken.
    """

    def __init__(self, train_state: TrainState) -> None:
        self.train_state = train_state
        self.layers = train_state.head.dropouts()
        self._parameters = list(train_state.head.parameters())
        vector = torch.cat([flatten(value) for value in self._parameters])
        self.leaf = nn.Parameter(vector)
        self.average: Tensor | None = None
        self.group: dict[str, Any] = {}
        self.steps = 0
        self._all_steps = train_state.steps

    def point_to(self, row: Float[Tensor, " W"]) -> None:
        """Moves the head's parameters and the optimiser's vector into a row of the stack."""
        self.leaf.data = row
        self._view(row)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Within it the head's parameters are their average, if the run keeps one."""
        if self.average is None or not self.train_state.options.ema:
            yield
            return
        self._view(self.average)
        try:
            yield
        finally:
            self._view(self.leaf.data)

    def _view(self, row: Float[Tensor, " W"]) -> None:
        start = 0
        for value in self._parameters:
            piece = row[None, start : start + value.numel()]
            value.data = unflatten(piece, value.shape)[0]
            start += value.numel()

    def leave(self) -> None:
        """Copies the head's parameters out of the stack, in torch's memory order."""
        for value in self._parameters:
            value.data = value.data.clone(memory_format=torch.contiguous_format)

    def buffer(self, name: str) -> Tensor:
        """A buffer of the head."""
        return self.train_state.head.get_buffer(name)

    def aim(self, gradient: Float[Tensor, " W"]) -> None:
        """Sets the optimiser's gradient and learning rate for this step."""
        options = self.train_state.options
        factor = learning_rate_factor(self.steps, options, self._all_steps)
        self.group["lr"] = options.learning_rate * factor
        self.leaf.grad = gradient
        self.steps += 1
