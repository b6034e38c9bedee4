"""A backbone's forward pass compiled by ``torch.compile``: fused kernels, other last digits."""

import logging
from collections.abc import Callable

import torch
from torch import Tensor

from mvsa_pipe.backbones.base import Encoded, ImageBackbone, TextBackbone
from mvsa_pipe.errors import BackboneError

# Shapes that a backbone is compiled for before torch would go back to running it as it is: with
# dynamic shapes there are a few, for batches or texts of one.
_MOST_SHAPES = 64


def compiled_encode(backbone: TextBackbone | ImageBackbone) -> Callable[..., Encoded]:
    """A backbone's ``encode``, compiled when first called, for batches of any shape.

    What cannot be compiled, or needs more variants than torch makes, raises ``BackboneError`` when
    it is called. What ``torch.compile`` hands back to Python by design runs there.
    """
    from torch._dynamo import config
    from torch._dynamo.exc import TorchDynamoException

    config.recompile_limit = max(config.recompile_limit, _MOST_SHAPES)
    config.fail_on_recompile_limit_hit = True
    made: Callable[..., Encoded] = torch.compile(backbone.encode, dynamic=True)

    def encode(*inputs: Tensor) -> Encoded:
        try:
            return made(*inputs)
        except TorchDynamoException as error:
            raise BackboneError(
                "This backbone cannot be compiled here",
                where=backbone.identity.name,
                expected="a C++ compiler such as g++ for a CPU, Triton for a GPU, and a network "
                "that torch.compile takes",
                found=_first_sentence(error),
                hint="install one, or leave out --compile (what is cached with it needs it again)",
            ) from error

    logging.getLogger("torch._dynamo").setLevel(logging.ERROR)
    logging.getLogger("torch._inductor").setLevel(logging.ERROR)
    return encode


def _first_sentence(error: BaseException) -> str:
    """What was wrong, without the pages of generated code that follow it."""
    innermost = error
    while innermost.__cause__ is not None:
        innermost = innermost.__cause__
    lines = [line.strip() for line in str(innermost).splitlines() if line.strip()]
    return f"{type(innermost).__name__}: {lines[0] if lines else 'no message'}"[:300]
