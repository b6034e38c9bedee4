"""Image tokens averaged over a grid of areas."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from mvsa_pipe.features.options import grid_tokens, token_square


def to_grid(hidden: Float[Tensor, "N P *L D"], grid: int) -> Float[Tensor, "N Q *L D"]:
    """Averages image tokens over a grid of ``grid × grid`` areas; a CLS token stays first.

    Areas that cells straddle share them, as in adaptive average pooling.
    """
    tokens = hidden.shape[1]
    if grid_tokens(tokens, grid) == tokens:
        return hidden
    side, extra = token_square(tokens)
    flat = hidden.flatten(2).float()
    cells = flat[:, extra:].transpose(1, 2).reshape(len(hidden), -1, side, side)
    pooled = F.adaptive_avg_pool2d(cells, grid).flatten(2).transpose(1, 2)
    averaged = torch.cat([flat[:, :extra], pooled], dim=1).to(hidden.dtype)
    return averaged.reshape(*averaged.shape[:2], *hidden.shape[2:])
