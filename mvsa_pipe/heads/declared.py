"""What the class of a head declares: the features it reads and its options."""

import inspect
from dataclasses import fields, is_dataclass, make_dataclass
from enum import Enum
from typing import Any

from mvsa_pipe.errors import ConfigError
from mvsa_pipe.features.batch import Field
from mvsa_pipe.heads.options import HeadOptions

# The parameter by which a constructor takes all options as one object.
_OBJECT = "options"
_KINDS = (bool, int, float, str, Enum)


def declared_needs(kind: type, needs: Any) -> frozenset[Field]:  # noqa: ANN401  # whatever was declared
    """The features that a class declares, from any collection of them or of their names.

    Raises:
        ConfigError: It names something else.
    """
    names = [field.value for field in Field]
    if isinstance(needs, str):
        needs = [needs]
    try:
        return frozenset(map(Field, needs))
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"{kind.__name__}.needs names features that there are not",
            expected=f"some of {', '.join(names)}",
            found=repr(needs),
        ) from error


def takes_object(kind: type) -> bool:
    """Whether a class's constructor takes its options as one object."""
    return _OBJECT in inspect.signature(kind.__init__).parameters  # type: ignore[misc]


def declared_options(kind: type, options: type | None) -> type[HeadOptions]:
    """The options of a class: the dataclass that it declares, else its constructor's keywords.

    Args:
        kind: The class.
        options: Its own ``Options``, if it declares any.

    Raises:
        ConfigError: A keyword has no default, or one that no text can spell; or ``Options`` is no
            frozen dataclass.
    """
    if options is not None:
        return _derived(kind, options)
    parameters = list(inspect.signature(kind.__init__).parameters.values())[2:]  # type: ignore[misc]
    keywords = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    entries = []
    for each in keywords:
        if not isinstance(each.default, _KINDS):
            raise ConfigError(
                f"Option {each.name!r} of {kind.__name__} has no default that --set could change",
                expected="a whole number, a number, a text, true or false, or an enumeration",
                found="none" if each.default is each.empty else repr(each.default),
            )
        entries.append((each.name, _kind_of(each), each.default))
    made = make_dataclass(f"{kind.__name__}Options", entries, bases=(HeadOptions,), frozen=True)
    made.__module__ = kind.__module__
    return made


def _kind_of(parameter: inspect.Parameter) -> type:
    """The type of a keyword; that of its default, unless it says that it is a number."""
    if parameter.annotation in (float, "float") and type(parameter.default) is int:
        return float
    return type(parameter.default)


def _derived(kind: type, options: type) -> type[HeadOptions]:
    """The same options as a ``HeadOptions``; a plain frozen dataclass needs not derive from it."""
    if issubclass(options, HeadOptions):
        return options
    if not is_dataclass(options) or not options.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        raise ConfigError(
            f"{kind.__name__}.Options cannot be used",
            expected="a frozen dataclass: @dataclass(frozen=True)",
            found=options.__name__,
        )
    made = make_dataclass(options.__name__, [], bases=(options, HeadOptions), frozen=True)
    made.__module__ = options.__module__
    return made


def keywords_of(options: HeadOptions) -> dict[str, Any]:
    """The options as keywords."""
    return {field.name: getattr(options, field.name) for field in fields(options)}
