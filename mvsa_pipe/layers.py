"""Choice of what is stored of a backbone, and how heads combine layers; torch-free."""

from enum import StrEnum


class Layers(StrEnum):
    """Layers whose hidden states are stored; pooled vectors come from the last layer.

    ``all`` excludes the embeddings, which are the first layer's input.
    """

    LAST = "last"
    LAST4 = "last4"
    ALL = "all"

    def count_of(self, depth: int) -> int:
        """Number of stored layers of a backbone with ``depth`` layers."""
        return {Layers.LAST: 1, Layers.LAST4: min(4, depth), Layers.ALL: depth}[self]


class Keep(StrEnum):
    """What is kept of a backbone's output: pooled vectors, with hidden states or alone."""

    ALL = "all"
    POOLED = "pooled"


class LayerMix(StrEnum):
    """How the stored layers of a token are combined to one vector.

    ``last`` takes the last layer. ``mean`` is the mean over layers, each normalised first so that
    none dominates. ``learned`` is a weighted sum whose weights are trained with the head.
    """

    LAST = "last"
    MEAN = "mean"
    LEARNED = "learned"
