"""Tables of names."""

import subprocess
import sys

import pytest

from mvsa_pipe.backbones import IMAGE_BACKBONES, TEXT_BACKBONES
from mvsa_pipe.errors import ConfigError, UnknownNameError
from mvsa_pipe.registry import Registry, Row, kebab_case

TABLE: Registry[type] = Registry(
    "shape",
    [Row("circle", "fractions:Fraction", "round"), Row("square", "no.such:Thing", "not round")],
)


def test_rows_are_listed_in_order_and_loaded_when_asked_for() -> None:
    assert TABLE.names == ("circle", "square")
    assert len(TABLE) == 2
    assert "circle" in TABLE
    assert "round" not in TABLE
    assert [row.summary for row in TABLE] == ["round", "not round"]
    from fractions import Fraction

    assert TABLE.load("circle") is Fraction
    with pytest.raises(ModuleNotFoundError):
        TABLE.load("square")


def test_an_unknown_name_lists_the_near_ones() -> None:
    with pytest.raises(UnknownNameError) as caught:
        TABLE.row("cirle")
    assert str(caught.value) == (
        "No shape is named 'cirle'. Expected one of circle, square. Next: did you mean circle?"
    )
    with pytest.raises(UnknownNameError) as caught:
        TABLE.load("zzz")
    assert "did you mean" not in str(caught.value)


def test_two_rows_of_one_name() -> None:
    with pytest.raises(ValueError, match="two shape rows are named 'a'"):
        Registry("shape", [Row("a", "x:y", ""), Row("b", "x:y", ""), Row("a", "z:z", "")])


def test_every_backbone_has_a_line() -> None:
    for row in (*TEXT_BACKBONES, *IMAGE_BACKBONES):
        assert row.summary
        assert "\n" not in row.summary
    assert not set(TEXT_BACKBONES.names) & set(IMAGE_BACKBONES.names)


def test_the_tables_import_no_torch() -> None:
    code = (
        "import sys, mvsa_pipe.backbones.options, mvsa_pipe.extraction.options;"
        "sys.exit(any(m in sys.modules for m in ('torch', 'transformers', 'h5py')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


class Point:
    """An entry point of an installed package."""

    def __init__(self, name: str, value: str, package: str) -> None:
        self.name, self.value = name, value
        self.dist = type("Distribution", (), {"name": package, "version": "1.0"})


def table_with(monkeypatch: pytest.MonkeyPatch, *points: Point) -> Registry[type]:
    asked = []

    def entry_points(group: str) -> tuple[Point, ...]:
        asked.append(group)
        return points

    monkeypatch.setattr("importlib.metadata.entry_points", entry_points)
    table: Registry[type] = Registry("shape", [Row("circle", "fractions:Fraction", "")], "shapes")
    assert table.row("circle")
    assert asked == [], "installed packages are looked through only when they are needed"
    return table


def test_installed_packages_add_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    table = table_with(
        monkeypatch,
        Point("decimal", "decimal:Decimal", "numbers"),
        Point("gone", "no.such:Thing", "torn"),
    )
    assert table.names == ("circle", "decimal", "gone")
    assert [row.name for row in table.built_in] == ["circle"]
    assert table.row("decimal").summary == "decimal:Decimal of numbers 1.0"
    assert table.load("decimal").__name__ == "Decimal"
    with pytest.raises(ConfigError, match=r"'gone' .* cannot be imported.*uninstall torn"):
        table.load("gone")
    with pytest.raises(UnknownNameError, match="did you mean decimal"):
        table.row("decimals")


def test_rows_of_installed_packages_that_cannot_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    table = table_with(
        monkeypatch,
        Point("circle", "decimal:Decimal", "taken"),
        Point("Not Kebab", "decimal:Decimal", "odd"),
        *(Point("twice", "decimal:Decimal", package) for package in ("one", "two", "three")),
    )
    assert table.names == ("circle",)
    assert table.load("circle").__name__ == "Fraction"
    assert len(table.faults) == 3
    assert "of two 1.0 and decimal:Decimal of one 1.0 are both named 'twice'" in table.faults[2]
    with pytest.raises(ConfigError, match=r"cannot be used.*both named"):
        table.row("twice")


def test_rows_that_users_add() -> None:
    table: Registry[type] = Registry("shape", [Row("circle", "fractions:Fraction", "")])
    table.register(Row("own", "here.py:Own", ""), int)
    assert table.load("own") is table.added("own") is int
    assert table.names == ("circle", "own")
    for name, replace in (("own", False), ("circle", False), ("circle", True)):
        with pytest.raises(ConfigError, match=f"there is a shape '{name}'.*set another"):
            table.register(Row(name, "here.py:Other", ""), float, replace=replace)
    table.register(Row("own", "here.py:Own", ""), float, replace=True)
    assert table.load("own") is float
    for name in ("", "a" * 41, "Own", "../own", "own_head", "-own"):
        with pytest.raises(ConfigError, match="cannot be named"):
            table.register(Row(name, "here.py:Own", ""), int)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("Mine", "mine"), ("MyHead", "my-head"), ("MLPHead2", "mlp-head2"), ("_my_Own", "my-own")],
)
def test_kebab_case(name: str, expected: str) -> None:
    assert kebab_case(name) == expected
