"""Options: frozen dataclasses whose fields contain their ranges and command-line names.

Name, default, range and help text of an option are stated once, at its field. The check, the
command line and the records use them.
"""

import functools
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from math import inf
from numbers import Integral, Real
from types import NoneType
from typing import Any, ClassVar, get_args, get_type_hints

from mvsa_pipe.errors import ConfigError

# Far above any use, and far below where the arithmetic of tensors, lists and schedules fails.
MOST_EPOCHS = 1_000_000
MOST_BATCH = 1_000_000
MOST_SEEDS = 10_000
MOST_RESAMPLES = 1_000_000
MOST_THREADS = 100_000
# Generators of torch and NumPy accept no larger seed.
MOST_SEED = 2**63 - 1

_KEY = "option"


@dataclass(frozen=True)
class Range:
    """The values that an option accepts.

    Attributes:
        least: The smallest number.
        most: The largest number.
        above: All numbers are greater than this.
        below: All numbers are less than this.
        among: The accepted texts, for options with few of them.
    """

    least: float = -inf
    most: float = inf
    above: float = -inf
    below: float = inf
    among: tuple[str, ...] = ()

    def __contains__(self, value: object) -> bool:
        if self.among:
            return value in self.among
        if isinstance(value, bool) or not isinstance(value, Real):
            return False
        # Python compares integers of any size exactly; NaN fails every comparison.
        number: Any = value
        inside = self.least <= number <= self.most and self.above < number < self.below
        return bool(inside and number not in (-inf, inf))

    def __str__(self) -> str:
        if self.among:
            *most, last = self.among
            return f"{', '.join(most)} or {last}" if most else last
        if self.least != -inf and self.most != inf:
            return f"from {_plain(self.least)} to {_plain(self.most)}"
        bounds = (
            ("at least", self.least),
            ("above", self.above),
            ("at most", self.most),
            ("less than", self.below),
        )
        return " and ".join(
            f"{word} {_plain(bound)}" for word, bound in bounds if abs(bound) != inf
        )


def _plain(number: float) -> str:
    return f"{int(number):,}" if number == int(number) else f"{number:g}"


@dataclass(frozen=True)
class Search:
    """The values of an option that tuning tries: those between two numbers, or some choices.

    Attributes:
        low: The smallest number.
        high: The largest number.
        log: Whether numbers are drawn evenly on a logarithmic scale.
        choices: The values, if they are not a range of numbers.
        reshapes: Whether the option changes the shapes of a head's parameters, so that runs with
            different values cannot be trained as one stack.
    """

    low: float = 0.0
    high: float = 0.0
    log: bool = False
    choices: tuple[float | int | str | bool, ...] = ()
    reshapes: bool = False


@dataclass(frozen=True)
class Option:
    """The metadata of an option's field.

    Attributes:
        allowed: The accepted values; ``None`` for any value of the field's type.
        flags: Its names on the command line; by default the field's name.
        rare: Whether ``--help`` leaves it to ``--help-all``.
        hidden: Whether the command line has no such option.
        without: Fields of a nested dataclass that are no options of the command line either.
        search: The values that tuning tries; ``None`` if it leaves the option as it is.
    """

    allowed: Range | None = None
    flags: tuple[str, ...] = ()
    rare: bool = False
    hidden: bool = False
    without: tuple[str, ...] = ()
    search: Search | None = None

    @classmethod
    def of(cls, field: Any) -> "Option":  # noqa: ANN401  # a dataclass's field of any type
        """The option of a dataclass's field."""
        found: Option = field.metadata.get(_KEY, _PLAIN)
        return found

    def names(self, field: str) -> tuple[str, ...]:
        """Its names on the command line, given the name of its field."""
        return self.flags or (f"--{field.replace('_', '-')}",)


_PLAIN = Option()


def option(
    default: Any,  # noqa: ANN401  # of the field's type
    *flags: str,
    least: float = -inf,
    most: float = inf,
    above: float = -inf,
    below: float = inf,
    among: Iterable[str] = (),
    rare: bool = False,
    hidden: bool = False,
    search: Search | None = None,
) -> Any:  # noqa: ANN401  # a dataclass replaces it by the field's value
    """A field of an option dataclass.

    Args:
        default: Its default.
        flags: Names on the command line; by default the field's name.
        least: The smallest value.
        most: The largest value.
        above: All values are greater than this.
        below: All values are less than this.
        among: The accepted values, if there are few.
        rare: Whether ``--help`` leaves it to ``--help-all``.
        hidden: Whether the command line has no such option.
        search: The values that tuning tries.
    """
    limits = Range(least, most, above, below, tuple(among))
    allowed = None if limits == Range() else limits
    declared = Option(allowed, flags, rare, hidden, search=search)
    return field(default=default, metadata={_KEY: declared})


def group(kind: type[Any], *, without: Iterable[str] = ()) -> Any:  # noqa: ANN401  # as of option
    """A field with another option dataclass and its defaults.

    Args:
        kind: The dataclass.
        without: Its fields that are no options of the command line here.
    """
    return field(default_factory=kind, metadata={_KEY: Option(without=tuple(without))})


@dataclass(frozen=True)
class Options:
    """Base of option dataclasses: checks every field against its range.

    Attributes:
        panel: Heading of these options on help screens; by default that of the command.

    Raises:
        ConfigError: A field is out of its range; names the command-line option.
    """

    panel: ClassVar[str | None] = None

    def __post_init__(self) -> None:
        """Checks every field; subclasses add the checks that involve several."""
        own: Any = type(self)
        for name, allowed, expected, whole, optional in _checks(own):
            value = getattr(self, name)
            if optional and value is None:
                continue
            if value not in allowed or (whole and not isinstance(value, Integral)):
                raise self.refused(name, expected)

    @classmethod
    def searches(cls) -> dict[str, Search]:
        """The options that tuning varies, with the values that it tries."""
        found = {each.name: Option.of(each).search for each in fields(cls)}
        return {name: search for name, search in found.items() if search is not None}

    @classmethod
    def typed(cls, name: str) -> str:
        """A field's command-line option."""
        (found,) = (each for each in fields(cls) if each.name == name)
        return Option.of(found).names(name)[0]

    def refused(self, name: str, expected: str) -> ConfigError:
        """The error about a field's value."""
        return ConfigError(
            f"{self.typed(name)} cannot be used", expected=expected, found=getattr(self, name)
        )


def typed_words(*options: Options) -> list[str]:
    """The words of a command line for all options that differ from their defaults."""
    return [word for each in options for word in _words(each, ())]


def _words(options: Options, without: tuple[str, ...]) -> list[str]:
    words: list[str] = []
    for each in fields(options):
        declared, value = Option.of(each), getattr(options, each.name)
        if declared.hidden or each.name in without:
            continue
        if isinstance(value, Options):
            words += _words(value, (*without, *declared.without))
            continue
        name = declared.names(each.name)[0]
        if value == each.default or value is None:
            continue
        if isinstance(value, bool):
            words.append(name if value else f"--no-{name.removeprefix('--')}")
        else:
            for one in value if isinstance(value, tuple) else (value,):
                words += [name, str(one)]
    return words


@functools.cache
def _checks(kind: type[Any]) -> tuple[tuple[str, Range, str, bool, bool], ...]:
    """Each option's name, range, range in words, and whether it is whole and optional."""
    hints = get_type_hints(kind)
    found = []
    for each in fields(kind):
        allowed = Option.of(each).allowed
        if allowed is None:
            continue
        kinds = get_args(hints[each.name]) or (hints[each.name],)
        whole = int in kinds
        found.append((each.name, allowed, _in_words(allowed, whole), whole, NoneType in kinds))
    return tuple(found)


def _in_words(allowed: Range, whole: bool) -> str:
    if allowed.among:
        return str(allowed)
    bounded = min(allowed.most, allowed.below) != inf
    noun = "a whole number" if whole else "a number" if bounded else "a finite number"
    return f"{noun} {allowed}" if str(allowed).startswith("from") else f"{noun}, {allowed}"
