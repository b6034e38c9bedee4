"""Options are checked against the ranges that stand at their fields."""

from dataclasses import dataclass, fields
from math import inf, nan

import numpy as np
import pytest

from mvsa_pipe.errors import ConfigError
from mvsa_pipe.options import Option, Options, Range, group, option


@dataclass(frozen=True)
class Sample(Options):
    """Options of every kind."""

    count: int = option(3, least=1, most=1_000)
    share: float = option(0.5, least=0, below=1)
    rate: float = option(0.1, "--speed", above=0)
    word: str = option("a", among=("a", "b", "c"))
    maybe: int | None = option(None, least=0, rare=True)
    free: str = "x"


@dataclass(frozen=True)
class Holder(Options):
    """Options that hold others."""

    inner: Sample = group(Sample, without=("free",))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"count": 0}, "--count cannot be used. Expected a whole number from 1 to 1,000. Found 0"),
        ({"count": 1_001}, "from 1 to 1,000"),
        ({"count": 10**400}, "from 1 to 1,000"),
        ({"count": 2.0}, "a whole number"),
        ({"count": True}, "a whole number"),
        ({"count": "3"}, "a whole number"),
        ({"count": None}, "a whole number"),
        ({"share": 1.0}, "--share cannot be used. Expected a number, at least 0 and less than 1"),
        ({"share": nan}, "at least 0 and less than 1"),
        ({"share": -0.1}, "at least 0 and less than 1"),
        ({"rate": 0.0}, "--speed cannot be used. Expected a finite number, above 0. Found 0.0"),
        ({"rate": inf}, "a finite number"),
        ({"word": "d"}, "--word cannot be used. Expected a, b or c"),
        ({"word": ["a"]}, "a, b or c"),
        ({"maybe": -1}, "--maybe cannot be used. Expected a whole number, at least 0"),
    ],
)
def test_a_value_out_of_range_names_option_range_and_value(values, expected):
    with pytest.raises(ConfigError) as caught:
        Sample(**values)
    assert expected in caught.value.paragraph()


@pytest.mark.parametrize(
    "values",
    [
        {"count": 1, "share": 0, "rate": 1e-300, "word": "c", "maybe": 0},
        {"count": 1_000, "share": np.float32(0.5), "rate": 10**300, "maybe": None},
        {"count": np.int64(7), "free": ""},
    ],
)
def test_values_in_range_are_kept_as_they_are(values):
    made = Sample(**values)
    for name, value in values.items():
        assert getattr(made, name) is value


def test_names_on_the_command_line():
    assert Sample.typed("rate") == "--speed"
    assert Sample.typed("maybe") == "--maybe"


def test_a_group_has_the_defaults_of_what_it_holds():
    assert Holder().inner == Sample()
    (inner,) = fields(Holder)
    assert Option.of(inner).without == ("free",)


@pytest.mark.parametrize(
    ("allowed", "text"),
    [
        (Range(least=0), "at least 0"),
        (Range(above=0, most=1), "above 0 and at most 1"),
        (Range(least=0.5, most=2_000), "from 0.5 to 2,000"),
        (Range(among=("a",)), "a"),
    ],
)
def test_ranges_in_words(allowed, text):
    assert str(allowed) == text
