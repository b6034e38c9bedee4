"""Image tokens averaged over a grid of areas."""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from mvsa_pipe.errors import ConfigError


def grid_tokens(tokens: int, grid: int) -> int:
    """How many image tokens are left of ``P`` when they are averaged to a grid.

    Raises:
        ConfigError: The tokens form no square, with or without one token before it.
    """
    side, extra = _square(tokens)
    if grid and not side:
        raise ConfigError(
            "--image-grid needs image tokens that form a square",
            found=f"{tokens} tokens",
            hint="leave --image-grid out",
        )
    return tokens if not 0 < grid < side else grid * grid + extra


def to_grid(hidden: Float[Tensor, "N P *L D"], grid: int) -> Float[Tensor, "N Q *L D"]:
    """Averages image tokens over a grid of ``grid × grid`` areas; a CLS token stays first.

    Areas that cells straddle share them, as in adaptive average pooling.
    """
    tokens = hidden.shape[1]
    if grid_tokens(tokens, grid) == tokens:
        return hidden
    side, extra = _square(tokens)
    flat = hidden.flatten(2).float()
    cells = flat[:, extra:].transpose(1, 2).reshape(len(hidden), -1, side, side)
    pooled = F.adaptive_avg_pool2d(cells, grid).flatten(2).transpose(1, 2)
    averaged = torch.cat([flat[:, :extra], pooled], dim=1).to(hidden.dtype)
    return averaged.reshape(*averaged.shape[:2], *hidden.shape[2:])


def _square(tokens: int) -> tuple[int, int]:
    """Side of the square that tokens form and how many stand before it; (0, 0) if they do not."""
    for extra in (0, 1):
        side = math.isqrt(tokens - extra)
        if side * side == tokens - extra:
            return side, extra
    return 0, 0
