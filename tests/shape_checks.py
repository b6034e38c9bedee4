"""Checks shapes of tensors while tests run, in functions that take or return tensors.

jaxtyping's import hook would check every function of a module and every call, which doubles the
time of a test: types without shapes are mypy's work, and the steps of a training are alike.
"""

import functools
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import jaxtyping

# The first calls of every function in each test are checked.
CHECKED_CALLS = 50

_CHECKED = jaxtyping.jaxtyped
_calls: Counter[Callable[..., Any]] = Counter()


def check_shapes(modules: Sequence[str]) -> None:
    """Checks the shapes of all modules below these that are imported from here on."""
    jaxtyping.jaxtyped = _checked_if_shaped
    jaxtyping.install_import_hook(modules, "beartype.beartype")


def begin_test() -> None:
    """Checks the first calls of every function again."""
    _calls.clear()


def _checked_if_shaped(*, typechecker: Any) -> Callable[[Any], Any]:
    def decorate(decorated: Any) -> Any:
        if not _is_shaped(decorated):
            return decorated
        checked = _CHECKED(decorated, typechecker=typechecker)
        if isinstance(decorated, type):  # its __init__ is checked
            return checked

        @functools.wraps(decorated)
        def call(*args: Any, **kwargs: Any) -> Any:
            _calls[decorated] += 1
            return (checked if _calls[decorated] <= CHECKED_CALLS else decorated)(*args, **kwargs)

        return call

    return decorate


def _is_shaped(decorated: Any) -> bool:
    """Whether a function has shapes in its annotations, or a class in those of its fields."""
    hints = getattr(decorated, "__annotations__", {}).values()
    return any("jaxtyping." in repr(hint) or "[Tensor" in repr(hint) for hint in hints)
