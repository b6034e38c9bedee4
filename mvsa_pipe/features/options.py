"""How heads read cached hidden states; torch-free, so that help screens stay fast."""

import math
from dataclasses import dataclass

from mvsa_pipe.errors import ConfigError
from mvsa_pipe.layers import LayerMix
from mvsa_pipe.options import MOST_BATCH, Options, option


@dataclass(frozen=True)
class FeatureOptions(Options):
    """How hidden states become what heads read.

    Attributes:
        image_grid: Average image tokens to this many rows and columns; 0 keeps all.
        layer_mix: What heads read from caches of several layers. last reads the last layer; mean
            averages all; learned weighs them by weights that are trained with the head.
    """

    panel = "Caches"

    image_grid: int = option(0, least=0, most=MOST_BATCH, rare=True)
    layer_mix: LayerMix = option(LayerMix.LAST, rare=True)

    def layers_of(self, layers: int) -> int:
        """Number of layers that a head reads of a cache's ``layers``."""
        return layers if self.layer_mix is LayerMix.LEARNED else 1

    def tokens_of(self, tokens: int) -> int:
        """Number of image tokens that a head reads of a backbone's ``P``; 1 if none are kept."""
        return grid_tokens(tokens, self.image_grid) if tokens else 1


def grid_tokens(tokens: int, grid: int) -> int:
    """Number of image tokens after ``P`` of them are averaged to a grid.

    Raises:
        ConfigError: The tokens do not form a square, with or without one leading token.
    """
    side, extra = token_square(tokens)
    if grid and not side:
        raise ConfigError(
            "--image-grid needs image tokens that form a square",
            found=f"{tokens} tokens",
            hint="leave --image-grid out",
        )
    return tokens if not 0 < grid < side else grid * grid + extra


def token_square(tokens: int) -> tuple[int, int]:
    """Side of the square of tokens and number of leading tokens; (0, 0) if there is no square."""
    for extra in (0, 1):
        side = math.isqrt(tokens - extra)
        if side * side == tokens - extra:
            return side, extra
    return 0, 0
