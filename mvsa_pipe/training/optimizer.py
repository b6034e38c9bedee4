"""AdamW, without the second that an import of torch.compile takes."""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Adam, Optimizer


class AdamW(torch.optim.AdamW):
    """torch's AdamW, which hides itself from torch.compile, and imports it only for that.

    Nothing here compiles an optimiser, so its methods are called as they are.
    """

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds parameters with options of their own."""
        inspect.unwrap(Optimizer.add_param_group)(self, param_group)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drops all gradients, or sets them to zero."""
        inspect.unwrap(Optimizer.zero_grad)(self, set_to_none)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # noqa: ANN401  # as torch's
        """Updates all parameters by their gradients."""
        return inspect.unwrap(Adam.step)(self, closure)
