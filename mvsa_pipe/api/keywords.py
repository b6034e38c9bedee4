"""Builds option dataclasses from keywords: names and ranges are those of the command line."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from numbers import Integral, Real
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from mvsa_pipe.errors import ConfigError
from mvsa_pipe.options import Option, Options

OptionsT = TypeVar("OptionsT", bound=Options)


def names_of(kind: type[Any]) -> tuple[str, ...]:
    """Names of a dataclass's options that a keyword can set; those of nested dataclasses too."""
    hints = get_type_hints(kind)
    names: list[str] = []
    for each in fields(kind):
        declared, hint = Option.of(each), hints[each.name]
        if isinstance(hint, type) and is_dataclass(hint):
            names += (name for name in names_of(hint) if name not in declared.without)
        else:
            names.append(each.name)
    return tuple(names)


def build(kind: type[OptionsT], given: Mapping[str, Any]) -> OptionsT:
    """An option dataclass from keywords; ``None`` stands for an option's default.

    Strings become paths and members of enumerations, lists become tuples.

    Raises:
        ConfigError: A keyword is no option, or its value cannot be used.
    """
    refuse_unknown(given, names_of(kind))
    hints = get_type_hints(kind)
    values: dict[str, Any] = {}
    for each in fields(kind):
        hint = hints[each.name]
        if isinstance(hint, type) and is_dataclass(hint) and issubclass(hint, Options):
            own = {name: given[name] for name in names_of(hint) if name in given}
            values[each.name] = build(hint, own)
        elif given.get(each.name) is not None:
            values[each.name] = _as_kind(each.name, hint, given[each.name])
    return kind(**values)


def refuse_unknown(
    given: Mapping[str, Any], known: Sequence[str], where: str | None = None
) -> None:
    """Refuses keywords that are no options.

    Raises:
        ConfigError: There is one; the message names similar options.
    """
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
            raise ConfigError(
                f"There is no option {name!r} here",
                where=where,
                expected=f"one of {', '.join(sorted(known))}",
                hint=f"did you mean {' or '.join(near)}?" if near else None,
            )


def _as_kind(name: str, hint: Any, value: Any) -> Any:  # noqa: ANN401  # a type, and any value
    """A keyword's value as the type that its field declares.

    Raises:
        ConfigError: It is of another type, or no member of the enumeration.
    """
    kinds = [each for each in get_args(hint) or (hint,) if each is not NoneType]
    if get_origin(hint) is tuple:
        if isinstance(value, str):  # a single name
            return (value,)
        return tuple(map(str, value))
    kind = kinds[0] if len(kinds) == 1 and isinstance(kinds[0], type) else object
    if issubclass(kind, Enum):
        members = [str(member.value) for member in kind]
        if str(value) not in members:
            raise _refused(name, f"one of {', '.join(members)}", value)
        return kind(str(value))
    if kind is Path:
        return as_path(name, value)
    if kind not in _PLAIN:
        return value
    noun, abstract = _PLAIN[kind]
    if not isinstance(value, abstract) or (isinstance(value, bool) and kind is not bool):
        raise _refused(name, noun, value)
    plain: Any = kind
    return plain(value)  # of NumPy's numbers, which records cannot hold


_PLAIN: dict[type, tuple[str, type]] = {
    str: ("a text", str),
    bool: ("True or False", bool),
    int: ("a whole number", Integral),
    float: ("a number", Real),
}


def as_path(name: str, value: object) -> Path:
    """A path from a keyword.

    Raises:
        ConfigError: It is neither a text nor a path.
    """
    if isinstance(value, str | Path):
        return Path(value).expanduser()
    raise _refused(name, "a path, as a text or a Path", value)


def _refused(name: str, expected: str, value: object) -> ConfigError:
    return ConfigError(f"{name} cannot be used", expected=expected, found=repr(value)[:200])
