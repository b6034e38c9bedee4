"""Hyper-parameters of heads: frozen, validated, read from the command line or ``config.json``."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import Enum
from math import isfinite
from typing import Any, TypeVar, get_type_hints

from mvsa_pipe.errors import ConfigError
from mvsa_pipe.options import Options, Search, option

OptionValue = str | int | float | bool
OptionsT = TypeVar("OptionsT", bound="HeadOptions")

_TRUTHS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


# A square of weights of this side takes a gigabyte.
_MOST_WIDTH = 16_384
_MOST_LAYERS = 64


def size(default: int, tried: tuple[int, ...] = (64, 128, 256, 512)) -> Any:  # noqa: ANN401  # as of option
    """A field for a width, or another number of rows of a weight; tuning tries some."""
    search = Search(choices=tried, reshapes=True)
    return option(default, least=1, most=_MOST_WIDTH, search=search)


def count(default: int, least: int = 1) -> Any:  # noqa: ANN401
    """A field for a number of layers."""
    search = Search(choices=(1, 2, 3), reshapes=True)
    return option(default, least=least, most=_MOST_LAYERS, search=search)


def rate(default: float) -> Any:  # noqa: ANN401
    """A field for a dropout probability."""
    return option(default, least=0, below=1, search=Search(0.0, 0.6))


@dataclass(frozen=True)
class HeadOptions(Options):
    """Options of a head without any; every head's own options derive from it.

    Raises:
        ConfigError: A value is out of its range.
    """

    @classmethod
    def typed(cls, name: str) -> str:
        """An option as messages name it: ``--set`` sets it by its field's name."""
        return f"Option {name!r}"


@dataclass(frozen=True)
class ClassifierOptions(HeadOptions):
    """Options of the classifier that most heads end in.

    Attributes:
        hidden: Width of the classifier's hidden layer.
        dropout: Chance of dropping an entry before each of the classifier's two layers.
    """

    hidden: int = size(128)
    dropout: float = rate(0.4)


@dataclass(frozen=True)
class ProjectionOptions(ClassifierOptions):
    """Options of heads that bring both modalities to one width first.

    Attributes:
        width: The head's width ``d``; 256 as in S2.
        input_dropout: Chance of dropping a backbone feature, for all tokens of a post at once.
    """

    width: int = size(256)
    input_dropout: float = rate(0.2)


@dataclass(frozen=True)
class AttentionOptions(ProjectionOptions):
    """Options of heads that attend.

    Attributes:
        n_attn: Number of attention heads, which divides ``width``.
        attention_dropout: Chance of dropping an attention weight. Off by default: means over many
            tokens wash it out, and without it the fast attention kernels can be used.
    """

    n_attn: int = size(4, (1, 2, 4, 8))
    attention_dropout: float = rate(0.0)

    def __post_init__(self) -> None:
        """Checks that the attention heads share the width evenly."""
        super().__post_init__()
        if self.width % self.n_attn:
            raise self.refused("width", f"a multiple of n_attn = {self.n_attn}")


@dataclass(frozen=True)
class EncoderOptions(AttentionOptions):
    """Options of heads with a transformer layer.

    Attributes:
        feedforward: Width of the hidden layer after the attention.
        encoder_dropout: Chance of dropping an entry inside the layer.
    """

    feedforward: int = size(512)
    encoder_dropout: float = rate(0.2)


def parse_options(head: str, kind: type[OptionsT], given: Mapping[str, OptionValue]) -> OptionsT:
    """Options of a head from names and values, which may be strings as typed by a user.

    Args:
        head: The head's name, for messages.
        kind: The head's options.
        given: Names and values of the options that differ from their defaults.

    Raises:
        ConfigError: An option is unknown, or its value is of the wrong type or out of range.
    """
    kinds = get_type_hints(kind)
    names = [option.name for option in fields(kind)]
    for name in given:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
            raise ConfigError(
                f"Head {head!r} has no option {name!r}",
                expected=f"one of {', '.join(names)}" if names else "none: it has no options",
                hint=f"did you mean {' or '.join(near)}?" if near else None,
            )
    try:
        return kind(
            **{name: parse_value(name, kinds[name], value) for name, value in given.items()}
        )
    except ConfigError as error:
        raise ConfigError(
            error.what, where=f"head {head!r}", expected=error.expected, found=error.found
        ) from None


def parse_value(name: str, kind: type[Any], value: OptionValue) -> OptionValue | Enum:
    """Parses one option's value, as typed by a user or read from a record.

    Raises:
        ConfigError: The value is not of that kind.
    """
    if issubclass(kind, Enum):
        if value in [member.value for member in kind]:
            return kind(value)
        raise _bad_value(name, f"one of {', '.join(member.value for member in kind)}", value)
    if kind is str:
        return value
    if kind is bool:
        if str(value).lower() in _TRUTHS:
            return _TRUTHS[str(value).lower()]
        raise _bad_value(name, "true or false", value)
    # bool is an int to Python, and int(2.5) would round in silence
    if not isinstance(value, bool) and (kind is float or not isinstance(value, float)):
        try:
            number: int | float = kind(value)
            if isfinite(number):
                return number
        except (ValueError, OverflowError):  # digits without end fit no float
            pass
    raise _bad_value(name, "a whole number" if kind is int else "a number", value)


def _bad_value(name: str, expected: str, found: object) -> ConfigError:
    return ConfigError(f"Option {name!r} cannot be used", expected=expected, found=found)
