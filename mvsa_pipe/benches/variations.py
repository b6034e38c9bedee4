"""The settings that ``--vary`` compares, in addition to heads and seeds."""

import csv
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import product
from typing import Any, get_type_hints

from mvsa_pipe.errors import ConfigError
from mvsa_pipe.heads.options import OptionValue, parse_value
from mvsa_pipe.training.options import TrainingOptions

# Options that the bench sets itself; ``--vary`` cannot.
_FIXED = ("seed", "device")


@dataclass(frozen=True)
class Setting:
    """One combination of varied options.

    Attributes:
        training: Options of training.
        head_options: Options of the heads, as typed.
        label: The combination as shown in tables; empty if nothing is varied.
    """

    training: TrainingOptions
    head_options: dict[str, OptionValue] = field(default_factory=dict)
    label: str = ""


def settings_of(vary: Sequence[str], training: TrainingOptions) -> list[Setting]:
    """Every combination of the values of ``--vary``, in the order typed.

    Several spellings of one value, such as 1e-3 and 0.001, count once, as the first.

    Args:
        vary: ``name=value,value`` each, with values that contain commas in double quotes; the name
            of a training option, or of an option of heads.
        training: The options that are not varied.

    Raises:
        ConfigError: The format is wrong, or a value cannot be used.
    """
    axes = [_axis(text) for text in vary]
    names = [name for name, _ in axes]
    if len(set(names)) < len(names):
        raise ConfigError("--vary names an option twice", found=", ".join(names))
    found: dict[Hashable, Setting] = {}
    for values in product(*(values for _, values in axes)):
        setting = _setting(dict(zip(names, values, strict=True)), training)
        found.setdefault(_meaning(setting), setting)
    return list(found.values())


def _meaning(setting: Setting) -> Hashable:
    """Canonical value of a setting, independent of spelling."""
    return setting.training, tuple(map(_number, setting.head_options.values()))


def _number(value: OptionValue) -> OptionValue:
    try:
        return float(value)
    except ValueError:
        return value


def _axis(text: str) -> tuple[str, list[str]]:
    name, equals, values = text.partition("=")
    try:
        # values that contain commas are in double quotes
        (listed,) = csv.reader([values], skipinitialspace=True, strict=True)
    except (ValueError, csv.Error):
        listed = [""]
    listed = [value.strip() for value in listed] or [""]
    if not equals or not name.strip() or not all(listed):
        raise ConfigError("--vary cannot be used", expected="name=value,value", found=repr(text))
    return name.strip().replace("-", "_"), list(dict.fromkeys(listed))


def _setting(values: dict[str, str], training: TrainingOptions) -> Setting:
    known = {f.name for f in fields(TrainingOptions)}
    for name in values:
        if name in _FIXED:
            raise ConfigError(f"--vary cannot vary {name}", hint="--seeds sets the number of seeds")
    hints = get_type_hints(TrainingOptions)
    own: dict[str, Any] = {
        name: parse_value(name, hints[name], value)
        for name, value in values.items()
        if name in known
    }
    others: dict[str, OptionValue] = {n: v for n, v in values.items() if n not in known}
    label = ", ".join(f"{name}={value}" for name, value in values.items())
    return Setting(replace(training, **own), others, label)
