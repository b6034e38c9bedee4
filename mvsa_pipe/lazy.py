"""Packages that import a module when one of its names is first used (PEP 562)."""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module


def lazy_names(
    package: str, sources: Mapping[str, str]
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """A package's ``__getattr__`` and ``__dir__``, which import a name when it is first used.

    Type checkers read the same names in an ``if TYPE_CHECKING`` block of the package.

    Args:
        package: The package's ``__name__``.
        sources: The module of the package that defines each name, as ``module`` or ``room.module``.
    """
    own = vars(sys.modules[package])

    def import_name(name: str) -> object:
        if name not in sources:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        own[name] = getattr(import_module(f"{package}.{sources[name]}"), name)
        return own[name]

    def names() -> list[str]:
        return sorted({*own, *sources})

    return import_name, names
