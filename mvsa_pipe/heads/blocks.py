"""Building blocks that heads share; dropout draws from an explicit generator."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Int16
from torch import Tensor, nn


class Dropout(nn.Module):
    """Inverted dropout whose masks come from an explicit generator.

    ``nn.Dropout`` draws from the global generator, so that a run would depend on other
    runs in the process; here each run has a generator of its own.

    Args:
        probability: Chance of dropping an entry.
        across_tokens: Whether all tokens of a post lose the same entries. Masks drawn token by
            token average out in a mean over hundreds of tokens and so regularise next to nothing;
            one mask a post also costs a hundredth of the draws.

    Attributes:
        generator: Set by ``FusionHead.use_generator``; on the device of the input.
        given: Returns masks instead of the generator when many heads are trained as one; they have
            the shape and scale of those of ``draw_mask``.

    Raises:
        RuntimeError: Training without a generator.
    """

    def __init__(self, probability: float, *, across_tokens: bool = False) -> None:
        super().__init__()
        self.probability = probability
        self.across_tokens = across_tokens
        self.generator: torch.Generator | None = None
        self.given: Callable[[Tensor], Tensor] | None = None

    def forward(self, x: Float[Tensor, "B ..."]) -> Float[Tensor, "B ..."]:
        """Zeroes entries and scales the others while training; the identity otherwise."""
        if not self.training or self.probability == 0.0:
            return x
        drawn = x[:, :1] if self.across_tokens and x.dim() == 3 else x
        if self.given is not None:
            return x * self.given(drawn)
        return x * draw_mask(drawn, self.probability, self.generator)


def draw_mask(
    like: Float[Tensor, "*axes"], probability: float, generator: torch.Generator | None
) -> Float[Tensor, "*axes"]:
    """An inverted dropout mask of a tensor's shape: 0, or what makes up for the zeroes.

    Raises:
        RuntimeError: There is no generator.
    """
    bits = draw_bits(like.numel(), generator)
    return bits_to_mask(bits, drop_below(probability), like.dtype).view_as(like)


def draw_bits(count: int, generator: torch.Generator | None) -> Int16[Tensor, " count"]:
    """Random 16-bit numbers, all equally likely, from which masks are made.

    On a CPU four of them are cut from each number that the generator draws: a mask drawn entry by
    entry took a quarter of a small head's step.

    Raises:
        RuntimeError: There is no generator.
    """
    if generator is None:
        raise RuntimeError("dropout needs a generator: call use_generator before training")
    device = generator.device
    if device.type != "cpu":
        low, past = -(2**15), 2**15
        return torch.randint(
            low, past, (count,), generator=generator, device=device, dtype=torch.int16
        )
    whole = torch.empty(-(-count // 4), dtype=torch.int64)
    return whole.random_(-(2**63), None, generator=generator).view(torch.int16)[:count]


def drop_below(probability: float) -> int:
    """Of 65,536 equally likely numbers, how many drop an entry; never all of them."""
    return min(round(probability * 2**16), 2**16 - 1)


def bits_to_mask(
    bits: Int16[Tensor, "*axes"],
    below: int | Int[Tensor, "*ones"],
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "*axes"]:
    """A mask from 16-bit numbers, which makes up for what it drops.

    Args:
        bits: What ``draw_bits`` drew.
        below: The result of ``drop_below``, one for all or in a shape that broadcasts.
        dtype: Type of the mask.
    """
    return ((bits >= below - 2**15) * (2**16 / (2**16 - below))).to(dtype)


class Projection(nn.Module):
    """Brings a backbone's features to the head's width: ``ReLU(Linear(Dropout(LayerNorm(x))))``.

    Backbones differ in scale by orders of magnitude; normalising each vector makes one learning
    rate fit all. The norm has no weights of its own: the linear map would absorb them, and
    without them no gradient has to flow back to the (large) cached features.

    Args:
        inputs: Width of the features.
        width: Width to bring them to.
        dropout: Chance of dropping a feature, for all tokens of a post at once.
    """

    def __init__(self, inputs: int, width: int, dropout: float) -> None:
        super().__init__()
        self.dropout = Dropout(dropout, across_tokens=True)
        self.linear = nn.Linear(inputs, width)

    def forward(self, x: Float[Tensor, "B *tokens Din"]) -> Float[Tensor, "B *tokens D"]:
        """Projects pooled vectors or each token."""
        projected: Tensor = self.linear(self.dropout(normalise(x)))
        return projected.relu()


class Classifier(nn.Module):
    """Two layers from a fused vector to logits: ``Linear(Dropout(ReLU(Linear(Dropout(x)))))``."""

    def __init__(self, inputs: int, hidden: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            Dropout(dropout),
            nn.Linear(inputs, hidden),
            nn.ReLU(),
            Dropout(dropout),
            nn.Linear(hidden, classes),
        )

    def forward(self, x: Float[Tensor, "B D"]) -> Float[Tensor, "B C"]:
        """Logits."""
        logits: Tensor = self.layers(x)
        return logits


def normalise(x: Float[Tensor, "B *tokens D"]) -> Float[Tensor, "B *tokens D"]:
    """Every vector shifted and scaled to mean 0 and variance 1 over its own entries."""
    return F.layer_norm(x, x.shape[-1:])


def join(*vectors: Float[Tensor, "B _"]) -> Float[Tensor, "B D"]:
    """Vectors side by side, each normalised first so that none drowns the others."""
    return torch.cat([normalise(vector) for vector in vectors], dim=-1)
