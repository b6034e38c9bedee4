"""Tables of names."""

import subprocess
import sys

import pytest

from mvsa_pipe.backbones import IMAGE_BACKBONES, TEXT_BACKBONES
from mvsa_pipe.errors import UnknownNameError
from mvsa_pipe.registry import Registry, Row

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
