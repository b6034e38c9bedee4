"""Users' own backbones: a class, or a reference to one, becomes a row in a table of backbones."""

import inspect
from dataclasses import replace
from typing import Any, TypeVar

from torch import nn

from mvsa_pipe.backbones import BACKBONES
from mvsa_pipe.backbones.base import (
    Backbone,
    BackboneIdentity,
    ImageBackbone,
    TextBackbone,
    describe,
    weights_digest,
)
from mvsa_pipe.backbones.options import BackboneOptions, without_layers
from mvsa_pipe.class_rows import add_class, built_in_name, declared_row
from mvsa_pipe.errors import CacheError, ConfigError, MvsaError
from mvsa_pipe.modality import Modality
from mvsa_pipe.user_code import (
    Origin,
    UnusableRecordError,
    load_recorded,
    load_reference,
    load_same,
    origin_of,
    remember,
)

KindT = TypeVar("KindT", bound=type[Any])

# The field of a fingerprint's preprocessing that tells versions of a class apart.
_SOURCE_FIELD = "source"
_SOURCE_DIGITS = 16


def register_backbone(kind: KindT) -> KindT:
    """Adds a class to the table of backbones of its modality; can be a decorator.

    A class that is defined again, as in a notebook, takes the place of the former one.

    Args:
        kind: A subclass of ``TextBackbone`` or ``ImageBackbone``. Its name in the table is
            ``kind.name`` if it declares one, else that of the class in kebab-case.

    Returns:
        The class itself.

    Raises:
        ConfigError: It is no usable backbone, or its name is taken.
    """
    _required_origin(kind)
    row, table = declared_row(kind), BACKBONES[kind.modality]
    for other in BACKBONES.values():
        if other is not table and row.name in other:
            raise ConfigError(
                f"The name of {row.target} is taken: there is a {other.kind} {row.name!r}",
                hint="set another in the class: name = 'my-name'",
            )
    add_class(table, kind)
    return kind


def own_backbone_name(backbone: str | type[Any]) -> str:
    """The name in the tables of a class, or of a reference to one, which is added to them.

    Raises:
        ConfigError: There is no such file or class, or it is no usable backbone.
    """
    kind = load_reference(backbone) if isinstance(backbone, str) else backbone
    for table in BACKBONES.values():
        if (name := built_in_name(table, kind)) is not None:
            return name
    register_backbone(kind)
    remember(_required_origin(kind))
    return declared_row(kind).name


def add_same_backbone(origin: Origin) -> None:
    """Adds the class that another process of this user computes with.

    Raises:
        ConfigError: It cannot be found here, or has another source.
    """
    register_backbone(load_same(origin))


def add_recorded_backbone(name: str, origin: Origin, where: object) -> None:
    """Adds the class that a record of a cache or run names, under the rules of ``load_recorded``.

    Args:
        name: The backbone's name.
        origin: Where its class came from.
        where: The cache or run, for messages.

    Raises:
        CacheError: It cannot be found, has changed, or was never named by this user.
    """
    family = name.partition(":")[0]
    for table in BACKBONES.values():
        if family in table:
            now = origin_of(table.load(family))
            if now is not None and now.sha256 == origin.sha256:
                return
            raise CacheError(
                f"Backbone {family!r} is not the class that these features came from",
                where=where,
                expected=str(origin),
                found=str(now or "a backbone of mvsa-pipe itself"),
                hint="mvsa extract with the class as it is now, then mvsa fit over the new cache",
            )
    try:
        kind, _ = load_recorded(origin, f"backbone {family!r}", where, "mvsa extract --backbone")
    except UnusableRecordError as error:
        raise CacheError(
            error.what,
            where=error.where,
            expected=error.expected,
            found=error.found,
            hint=error.hint,
        ) from error
    register_backbone(kind)


def build_own(kind: type[Any], options: BackboneOptions) -> TextBackbone | ImageBackbone:
    """A backbone of an own class, frozen, with the digest of its source in its identity.

    The identity is the class's own, where it sets one, else made from its weights and options.

    Raises:
        MvsaError: The class raised it.
        ConfigError: The class raised something else, or lacks what a backbone has.
    """
    try:
        backbone: TextBackbone | ImageBackbone = kind(options)
    except MvsaError:
        raise
    except Exception as error:
        raise ConfigError(
            f"Backbone {options.name!r} cannot be built",
            where=options.source,
            found=f"{type(error).__name__}: {error}",
        ) from error
    _require_complete(backbone, options)
    backbone.freeze()
    known = getattr(backbone, "identity", None) or _identity(backbone, options)
    if known.layers != options.layers.value:
        raise without_layers(options)
    origin = options.source
    rule = dict(known.preprocessing)
    if origin is not None:
        rule[_SOURCE_FIELD] = origin.sha256[:_SOURCE_DIGITS]
    backbone.identity = replace(known, name=describe(options), preprocessing=rule)
    return backbone


def _identity(backbone: TextBackbone | ImageBackbone, options: BackboneOptions) -> BackboneIdentity:
    rule: dict[str, str | int | float] = {}
    if isinstance(backbone, TextBackbone):
        rule["max_tokens"] = backbone.max_tokens
    pooling = options.pooling.value if options.pooling is not None else "own"
    return BackboneIdentity(
        name=options.name,
        modality=backbone.modality,
        weights=weights_digest(backbone.module),
        preprocessing=rule,
        layers="last",
        pooling=pooling,
    )


def _require_complete(backbone: Backbone, options: BackboneOptions) -> None:
    has = {"module": nn.Module, "width": int}
    has |= (
        {"max_tokens": int, "pad_id": int} if options.modality is Modality.TEXT else {"tokens": int}
    )
    lacking = [
        f"self.{name}, {kind.__name__}"
        for name, kind in has.items()
        if not isinstance(getattr(backbone, name, None), kind)
    ]
    if lacking:
        raise ConfigError(
            f"Backbone {options.name!r} is not complete",
            where=options.source,
            expected=" and ".join(lacking),
        )


def _required_origin(kind: object) -> Origin:
    """Where a class comes from; refuses what is no usable backbone.

    Raises:
        ConfigError: It is none, lacks methods, or has no source that its features could be told by.
    """
    if not isinstance(kind, type) or not issubclass(kind, TextBackbone | ImageBackbone):
        raise ConfigError(
            "This is no backbone",
            expected="a subclass of TextBackbone or ImageBackbone of mvsa_pipe.backbones.base",
            found=kind.__qualname__ if isinstance(kind, type) else repr(kind),
        )
    origin = origin_of(kind)
    if inspect.isabstract(kind):
        raise ConfigError(
            f"Backbone {kind.__name__} is not complete",
            where=origin,
            expected=f"methods {', '.join(sorted(kind.__abstractmethods__))}",
        )
    if origin is None or not origin.sha256:
        raise ConfigError(
            f"Backbone {kind.__name__} has no source file, by which caches tell its versions apart",
            hint="put the class into a file",
        )
    return origin
