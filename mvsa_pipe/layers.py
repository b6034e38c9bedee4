"""Which layers of a backbone are kept, and what heads make of several; torch-free."""

from enum import StrEnum


class Layers(StrEnum):
    """Of which layers a backbone's hidden states are kept; pooled vectors are the last one's.

    ``all`` leaves out the embeddings that the first layer reads.
    """

    LAST = "last"
    LAST4 = "last4"
    ALL = "all"

    def count_of(self, depth: int) -> int:
        """How many layers that is of a backbone with ``depth`` of them."""
        return {Layers.LAST: 1, Layers.LAST4: min(4, depth), Layers.ALL: depth}[self]


class LayerMix(StrEnum):
    """How the kept layers of a token become one vector.

    ``last`` takes the last layer. ``mean`` is the mean over layers, each normalised first so that
    none drowns the others. ``learned`` weighs them by weights that are trained with the head.
    """

    LAST = "last"
    MEAN = "mean"
    LEARNED = "learned"
