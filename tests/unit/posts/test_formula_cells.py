"""Cells that a spreadsheet would compute: written as text, read back as they were."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvsa_pipe.posts.tables.csv_rows import as_text_cell, from_text_cell
from mvsa_pipe.runs.predictions import Prediction, write_predictions

SIGNS = st.text(st.sampled_from("'=+-@\t\r\n＝1.eEa "), max_size=8)


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
        ("-inf", "'-inf"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("＝1", "'＝1"),
        ("'=1", "''=1"),
        ("-1", "-1"),
        ("+1.5e-3", "+1.5e-3"),
        ("'tis", "'tis"),
        ("a=b", "a=b"),
        ("", ""),
    ],
)
def test_formulas_are_text(text, cell):
    assert as_text_cell(text) == cell
    assert from_text_cell(cell) == text


@given(SIGNS | st.text())
def test_reading_returns_what_was_written(text):
    assert from_text_cell(as_text_cell(text)) == text


@given(st.lists(SIGNS, unique=True, min_size=2))
def test_no_two_texts_share_a_cell(texts):
    assert len({as_text_cell(text) for text in texts}) == len(texts)


def test_tables_of_predictions(tmp_path):
    row = Prediction("=A1", "test", "-1", "@b", [0.25, 0.75])
    write_predictions(tmp_path / "p.csv", [row], ["-1", "@b"])
    written = (tmp_path / "p.csv").read_text().splitlines()
    assert written == [
        "post_id,split,label,prediction,p_-1,p_@b",
        "'=A1,test,-1,'@b,0.250000,0.750000",
    ]
