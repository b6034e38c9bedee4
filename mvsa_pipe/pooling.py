"""Pools token vectors; used by backbones and heads."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def mean_over_tokens(
    x: Float[Tensor, "B T D"], mask: Bool[Tensor, "B T"] | None = None
) -> Float[Tensor, "B D"]:
    """Mean over all tokens, or over those that the mask selects (zero if it selects none)."""
    if mask is None:
        return x.mean(dim=1)
    real = mask.unsqueeze(-1)
    return torch.where(real, x, 0.0).sum(dim=1) / real.sum(dim=1).clamp(min=1)
