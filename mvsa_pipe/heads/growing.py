"""Modules some of whose tensors are as long as their training makes them."""

from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn


class Growing(nn.Module):
    """A module that knows the first axis of some tensors only once it is trained.

    Attributes:
        grows: The names of those tensors.
    """

    grows: ClassVar[tuple[str, ...]] = ()

    @torch.no_grad()
    def assign(self, name: str, values: np.ndarray | Tensor) -> None:
        """Sets a tensor in place, as an optimiser or a graph may hold it; one that grows, grows."""
        tensor: Tensor = getattr(self, name)
        new = torch.as_tensor(values, dtype=tensor.dtype, device=tensor.device)
        if name in self.grows:
            self._fit_length(tensor, new)
        tensor.copy_(new)

    @staticmethod
    def _fit_length(tensor: Tensor, like: Tensor) -> None:
        if like.dim() == tensor.dim():
            tensor.data = tensor.new_empty((len(like), *tensor.shape[1:]))

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        *args: Any,  # noqa: ANN401  # as torch has it
    ) -> None:
        """Makes room for tensors that grow; torch then checks all their other axes."""
        for name in self.grows:
            tensor = getattr(self, name, None)
            if tensor is not None and f"{prefix}{name}" in state_dict:
                self._fit_length(tensor, state_dict[f"{prefix}{name}"])
        super()._load_from_state_dict(state_dict, prefix, *args)
