"""The settings that tuning tries: from ranges that options declare, or that a user writes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from enum import Enum
from typing import Any, get_type_hints

from mvsa_pipe.benches.variations import Setting
from mvsa_pipe.errors import ConfigError
from mvsa_pipe.heads import HEADS
from mvsa_pipe.heads.options import HeadOptions, OptionValue, parse_options, parse_value
from mvsa_pipe.options import Search
from mvsa_pipe.training.options import TrainingOptions

# A value of an option as the sampler proposes it.
Value = float | int | str | bool


@dataclass(frozen=True)
class SearchSpace:
    """The options of one head that tuning varies.

    Attributes:
        head: The head's name.
        training: The options that are not varied.
        searches: The values to try, by option.
    """

    head: str
    training: TrainingOptions
    searches: Mapping[str, Search]

    @property
    def reshaping(self) -> tuple[str, ...]:
        """The options that change the shapes of the head's parameters."""
        return tuple(name for name, search in self.searches.items() if search.reshapes)

    def setting(self, values: Mapping[str, Value]) -> Setting:
        """A setting of the bench from proposed values.

        Raises:
            ConfigError: The values do not fit together.
        """
        own = {f.name for f in fields(TrainingOptions)}
        hints = get_type_hints(TrainingOptions)
        training: dict[str, Any] = {
            k: parse_value(k, hints[k], v) for k, v in values.items() if k in own
        }
        others: dict[str, OptionValue] = {k: v for k, v in values.items() if k not in own}
        parse_options(self.head, _options_of(self.head), others)
        return Setting(replace(self.training, **training), others, described(values))

    def defaults(self) -> Setting:
        """The setting without any varied option."""
        return Setting(self.training, {}, "defaults")

    def as_record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            name: list(search.choices)
            if search.choices
            else {"low": search.low, "high": search.high, "log": search.log}
            for name, search in self.searches.items()
        }


def described(values: Mapping[str, Value]) -> str:
    """Values as tables show them."""
    return ", ".join(
        f"{name}={value:.3g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in values.items()
    )


def search_space(head: str, training: TrainingOptions, given: Sequence[str]) -> SearchSpace:
    """The search space of a head.

    Args:
        head: Its name.
        training: Options of training that are not varied.
        given: Ranges as a user writes them; by default all that options declare.

    Raises:
        ConfigError: A range cannot be used, or nothing is left to vary.
    """
    kind = _options_of(head)
    declared = TrainingOptions.searches() | kind.searches()
    if not getattr(HEADS.load(head), "seeded", True):
        declared = kind.searches()  # a solver reads no option of training
    searches = dict(_written(text, kind) for text in given) or declared
    if not searches:
        raise ConfigError(
            f"The head {head!r} has nothing to tune",
            expected="a head with options that declare the values to try, or --search",
            found="a baseline, which selects its strength on validation itself"
            if not declared
            else "no options",
        )
    return SearchSpace(head, training, searches)


def _options_of(head: str) -> type[HeadOptions]:
    kind: type[HeadOptions] = HEADS.load(head).Options
    return kind


def _written(text: str, kind: type[HeadOptions]) -> tuple[str, Search]:
    """An option and its values as ``--search`` has them."""
    name, equals, values = (part.strip() for part in text.partition("="))
    name = name.replace("-", "_")
    hints = get_type_hints(TrainingOptions) | get_type_hints(kind)
    known = {f.name for f in (*fields(TrainingOptions), *fields(kind))} - {"seed", "device"}
    if not equals or name not in known:
        raise ConfigError(
            "--search cannot be used",
            expected=f"name=LOW..HIGH or name=VALUE,VALUE; name one of {', '.join(sorted(known))}",
            found=text,
        )
    declared = (TrainingOptions.searches() | kind.searches()).get(name)
    reshapes = name in {f.name for f in fields(kind)} and (declared is None or declared.reshapes)
    low, dots, rest = values.partition("..")
    if not dots:
        choices: list[Value] = []
        for each in values.split(","):
            value = parse_value(name, hints[name], each.strip())
            choices.append(value.value if isinstance(value, Enum) else value)
        return name, Search(choices=tuple(choices), reshapes=reshapes)
    high, _, scale = rest.partition(",")
    try:
        bounds = float(low), float(high)
    except ValueError:
        bounds = 1.0, 0.0
    log = scale.strip() == "log"
    if (
        hints[name] is not float
        or scale.strip() not in ("", "log")
        or not (bounds[0] < bounds[1] and (bounds[0] > 0 or not log))
    ):
        raise ConfigError(
            "--search cannot be used",
            expected=f"{name}=LOW..HIGH or {name}=LOW..HIGH,log with LOW below HIGH"
            if hints[name] is float
            else f"{name}=VALUE,VALUE, as {name} is not a number with fractions",
            found=text,
        )
    return name, Search(*bounds, log=log, reshapes=False)
