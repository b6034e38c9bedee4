"""Compiles functions by ``torch.compile``; fused kernels give other last digits."""

import functools
import logging
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch

from mvsa_pipe.errors import MvsaError

# Most shapes that a function is compiled for; beyond it torch would run the function uncompiled.
# With dynamic shapes there are a few, such as for batches or texts of one.
_MOST_SHAPES = 64

# Requirements of compiling, for the ``expected`` of an ``MvsaError``.
COMPILABLE = (
    "a C++ compiler such as g++ for a CPU, Triton for a GPU, and a network that torch.compile takes"
)

P = ParamSpec("P")
R = TypeVar("R")


def compiled(
    function: Callable[P, R], fault: Callable[[str], MvsaError], mode: str | None = None
) -> Callable[P, R]:
    """Compiles a function at its first call, for inputs of any shape.

    Graph breaks run in Python.

    Args:
        function: Tensors in, tensors out.
        fault: Makes the error to raise if the function cannot be compiled or needs more variants
            than torch makes, from the cause in one line.
        mode: As of ``torch.compile``.
    """
    from torch._dynamo import config
    from torch._dynamo.exc import TorchDynamoException

    config.recompile_limit = max(config.recompile_limit, _MOST_SHAPES)
    config.fail_on_recompile_limit_hit = True
    made: Callable[P, R] = torch.compile(function, dynamic=True, mode=mode)

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return made(*args, **kwargs)
        except TorchDynamoException as error:
            raise fault(_first_sentence(error)) from error

    logging.getLogger("torch._dynamo").setLevel(logging.ERROR)
    logging.getLogger("torch._inductor").setLevel(logging.ERROR)
    return call


def _first_sentence(error: BaseException) -> str:
    """The cause, without the generated code that follows it."""
    innermost = error
    while innermost.__cause__ is not None:
        innermost = innermost.__cause__
    lines = [line.strip() for line in str(innermost).splitlines() if line.strip()]
    return f"{type(innermost).__name__}: {lines[0] if lines else 'no message'}"[:300]
