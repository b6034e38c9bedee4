"""Reads JSON from untrusted files: bounded in size, depth and numbers, with a declared schema."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

# Lists of ids and predictions of some hundred thousand posts are the largest things in records.
_MOST_BYTES = 256 * 2**20
_MOST_LEVELS = 64

ShapeT = TypeVar("ShapeT")

Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Seed = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Seconds = Annotated[float, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0, le=1)]


class Schema(msgspec.Struct, kw_only=True):
    """Base of schemas; unknown fields are allowed."""


def read_json(path: Path) -> Any:  # noqa: ANN401  # JSON is any plain value
    """The value in a file, as plain Python.

    Raises:
        OSError: It cannot be read.
        ValueError: It is no JSON, or nested or large beyond use.
    """
    with path.open("rb") as file:
        data = file.read(_MOST_BYTES + 1)
    return parse_json(data)


def parse_json(data: bytes | str) -> Any:  # noqa: ANN401
    """Parses JSON to plain Python values; NaN and infinity are errors.

    Raises:
        ValueError: It is no JSON, or nested or large beyond use.
    """
    if len(data) > _MOST_BYTES:
        raise ValueError(f"more than {_MOST_BYTES:,} bytes")
    try:
        value = msgspec.json.decode(data)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    for level, found in _every(value):
        if level > _MOST_LEVELS:
            raise ValueError(f"it is nested in more than {_MOST_LEVELS} levels")
        if isinstance(found, int) and not -(2**63) <= found < 2**63:
            raise ValueError("it holds a whole number of more than 64 bits")
    return value


def _every(value: object) -> Iterator[tuple[int, object]]:
    """Every value inside a value, with its level."""
    waiting = [(0, value)]
    while waiting:
        level, found = waiting.pop()
        yield level, found
        if isinstance(found, dict):
            waiting += [(level + 1, inner) for inner in found.values()]
        elif isinstance(found, list) and found and isinstance(found[0], dict | list):
            waiting += [(level + 1, inner) for inner in found]
        elif isinstance(found, list):
            waiting += [(level + 1, inner) for inner in found if not isinstance(inner, str | float)]


def validated(value: object, kind: type[ShapeT]) -> ShapeT:
    """Converts a plain value to a schema.

    Raises:
        ValueError: The value does not match; names the field.
    """
    return msgspec.convert(value, kind, dec_hook=_path)


def _path(kind: type[Any], value: object) -> object:
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise ValueError(f"expected {kind.__name__}")
