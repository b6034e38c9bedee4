"""Averages of the trained weights over the steps of a training.

After step ``t`` the average is ``Σ dᵗ⁻ⁱ wᵢ / Σ dᵗ⁻ⁱ`` over the weights ``wᵢ`` behind each step
``i ≤ t``, with the decay ``d``. The divisor makes it a mean from the first step on, in which the
weights of the initialisation have no part. Training continues on the weights themselves.

Source:
    Polyak and Juditsky 1992, "Acceleration of stochastic approximation by averaging", for averaged
    iterates; the divisor is the bias correction of Kingma and Ba 2015, "Adam", arXiv 1412.6980,
    section 3.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


def newest_share(decay: float, step: int) -> float:
    """Share of the newest weights in the average: 1 at step 1, later nearly ``1 - decay``.

    Args:
        decay: ``d``; 0 makes the newest weights the average.
        step: ``t``, from 1 on.
    """
    return (1.0 - decay) / (1.0 - decay**step)


class WeightAverage:
    """The average of some parameters, and the exchange of both for validation.

    Args:
        parameters: The trained parameters; buffers are not averaged.
        decay: ``d``, above 0 and below 1.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], decay: float) -> None:
        self._parameters, self._decay = list(parameters), decay
        self._averages = [parameter.detach().clone() for parameter in parameters]
        self._steps = 0

    @torch.no_grad()
    def update(self) -> None:
        """Adds the weights behind a step."""
        self._steps += 1
        share = newest_share(self._decay, self._steps)
        newest: list[Tensor] = [parameter.detach() for parameter in self._parameters]
        torch._foreach_lerp_(self._averages, newest, share)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Puts the average in the place of the parameters, and restores their bits afterwards."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @torch.no_grad()
    def _exchange(self) -> None:
        # by value, since other objects may share the parameters' memory
        for parameter, average in zip(self._parameters, self._averages, strict=True):
            kept = parameter.clone()
            parameter.copy_(average)
            average.copy_(kept)

    def state_dict(self) -> dict[str, Any]:
        """State for a checkpoint."""
        return {"steps": self._steps, "averages": list(self._averages)}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores the state of a checkpoint.

        Raises:
            ValueError: It has another number of averages.
        """
        self._steps = int(state["steps"])
        for average, saved in zip(self._averages, state["averages"], strict=True):
            average.copy_(saved)
