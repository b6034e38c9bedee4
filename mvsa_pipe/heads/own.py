"""Heads of one's own: a class, or where one lies, becomes a row in the table of heads."""

import inspect
from collections.abc import Mapping
from dataclasses import fields, replace
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from mvsa_pipe.class_rows import add_class, built_in_name, declared_row
from mvsa_pipe.errors import ConfigError
from mvsa_pipe.heads import HEADS
from mvsa_pipe.heads.base import FusionHead
from mvsa_pipe.heads.model import Model
from mvsa_pipe.user_code import (
    Origin,
    UnusableRecordError,
    is_reference,
    load_recorded,
    load_reference,
    load_same,
    origin_of,
    remember,
)

KindT = TypeVar("KindT", bound=type[Any])

# The entry of a run's configuration that says where the head's class came from.
SOURCE = "head_source"
# The copy of an own head's file in the folder of a run or an export.
SOURCE_FILE = "head.py"

_OPTION_KINDS = (bool, int, float, str)
# Heads of installed packages that were named in this process, as they are now.
_chosen: set[str] = set()


def register_head(kind: KindT) -> KindT:
    """Adds a class to the table of heads; can be a decorator.

    A class that is defined again, as in a notebook, takes the place of the former one.

    Args:
        kind: The class. Its name in the table is ``kind.name`` if it declares one, else that of
            the class in kebab-case.

    Returns:
        The class itself.

    Raises:
        ConfigError: It is no usable head, or its name is taken.
    """
    _require_head(kind)
    add_class(HEADS, kind)
    return kind


def head_name(head: str | type[Any]) -> str:
    """The name in the table of heads for what a user names; own classes are added to it.

    Args:
        head: A name in the table, ``my_heads.py:Mine``, ``package.module:Mine``, or a class.

    Raises:
        UnknownNameError: No head has that name.
        ConfigError: There is no such file or class, or it is no usable head.
    """
    if isinstance(head, str) and not is_reference(head):
        if HEADS.row(head) not in HEADS.built_in:
            _note(HEADS.load(head))
            _chosen.add(head)
        return head
    kind = load_reference(head) if isinstance(head, str) else head
    if (name := built_in_name(HEADS, kind)) is not None:
        return name
    register_head(kind)
    _note(kind)
    return declared_row(kind).name


def head_origin(name: str) -> Origin | None:
    """Where the class of a head comes from; ``None`` for those of this package."""
    return origin_of(HEADS.load(name))


def add_same_head(origin: Origin) -> None:
    """Adds the class that another process of this user trains.

    Raises:
        ConfigError: It cannot be found here, or has another source.
    """
    register_head(load_same(origin))


def recorded_head(
    config: Mapping[str, Any], folder: Path, named: str | type[Any] | None = None
) -> tuple[type[Model], str]:
    """The class of a run's head.

    The class of an own head is the one that was named or registered in this process; else the
    recorded one, if its file, or the copy in the folder, is what it was, and the user has named
    code of that digest before: a folder from somebody else runs no code.

    Args:
        config: The run's configuration.
        folder: The run's folder, or an exported one.
        named: What the user names now, as of ``head_name``; ``None`` if nothing.

    Returns:
        The class, and a remark for the user where its source is not where it was, or another than
        the run's; else "".

    Raises:
        UnknownNameError: No head has that name.
        ConfigError: Another head is named than the run's.
        RunError: The class cannot be found, has changed, or was never named by this user.
    """
    name = str(config["head"])
    if named is not None and (given := head_name(named)) != name:
        raise ConfigError(
            "The run has another head", where=folder, expected=f"--head {name}", found=repr(given)
        )
    if SOURCE not in config:
        return HEADS.load(name), ""
    recorded = Origin.from_record(config[SOURCE])
    found = HEADS.load(name) if name in HEADS else None
    now = None if found is None else origin_of(found)
    if found is not None and now is not None and now.sha256 == recorded.sha256 != "":
        return found, ""
    remark = f"head {name!r} has changed since the run: it was {recorded}, and is {now}"
    if found is not None and named is not None:
        return found, remark
    copy = folder / SOURCE_FILE if recorded.file else None
    try:
        kind, said = load_recorded(recorded, f"head {name!r}", folder, "--head", copy)
    except UnusableRecordError as error:
        if found is None or now is None:
            raise
        if HEADS.added(name) is not None or name in _chosen:
            return found, remark
        hint = f"--head {name} takes it as it is now"
        raise UnusableRecordError(
            error.what, where=folder, expected=error.expected, found=now, hint=hint
        ) from error
    _require_head(kind)
    return kind, said


def add_recorded_head(
    config: Mapping[str, Any], folder: Path, named: str | type[Any] | None = None
) -> tuple[type[Model], str]:
    """Like ``recorded_head``; the table of heads contains the class from then on.

    Raises:
        MvsaError: As ``recorded_head``.
    """
    kind, remark = recorded_head(config, folder, named)
    name = str(config["head"])
    if SOURCE in config and (name not in HEADS or HEADS.load(name) is not kind):
        HEADS.register(replace(declared_row(kind), name=name), kind, replace=True)
    return kind, remark


def _note(kind: type[Model]) -> None:
    """Counts a class that the user named as known."""
    _require_head(kind)
    origin = origin_of(kind)
    if origin is not None:
        remember(origin)


def _require_head(kind: object) -> None:
    """Refuses what is no usable head.

    Raises:
        ConfigError: It is no class of a ``FusionHead``, computes nothing, reads nothing, or has
            options that cannot be typed.
    """
    if not isinstance(kind, type) or not issubclass(kind, FusionHead):
        raise ConfigError(
            "This is no fusion head",
            expected="a subclass of mvsa_pipe.heads.base.FusionHead",
            found=f"{kind.__module__}.{kind.__qualname__}"
            if isinstance(kind, type)
            else repr(kind),
        )
    lacking = []
    if inspect.isabstract(kind):
        lacking.append("no method forward(self, batch)")
    if not getattr(kind, "needs", None):
        lacking.append("no features that it needs")
    if lacking:
        raise ConfigError(
            f"Head {kind.__name__} is not complete",
            where=origin_of(kind),
            expected="needs = {Field.TEXT_POOLED, ...} and a method forward(self, batch)",
            found=" and ".join(lacking),
        )
    _require_options(kind)


def _require_options(kind: type[FusionHead]) -> None:
    try:
        hints = get_type_hints(kind.Options)
        kind.Options()
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(
            f"The options of head {kind.__name__} cannot be built from their defaults",
            where=origin_of(kind),
            found=f"{type(error).__name__}: {error}",
        ) from error
    for field in fields(kind.Options):
        hint = hints[field.name]
        if not (isinstance(hint, type) and issubclass(hint, (*_OPTION_KINDS, Enum))):
            raise ConfigError(
                f"Option {field.name!r} of head {kind.__name__} cannot be set by a text",
                where=origin_of(kind),
                expected="int, float, str, bool, or an enumeration of texts",
                found=str(hint),
            )
