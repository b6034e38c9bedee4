import csv
import io
import re
import shutil
import subprocess

import pandas as pd
import pytest

from mvsa_pipe.analysis.finding import Estimate, FindingTable
from mvsa_pipe.reports.formats import (
    csv_table,
    latex,
    latex_table,
    latex_text,
    markdown,
    markdown_table,
    markdown_text,
    slugs,
)

TABLE = FindingTable(
    "heads by accuracy",
    ["head", "accuracy", "posts", "seconds", "tied"],
    [
        ["gated", Estimate(0.7123, 0.69, 0.7301), 4511, 1.25, True],
        ["co-attention", Estimate(0.7, 0.68, 0.72), 4511, None, False],
        ["majority", 0.6, 4511, 0.00001, None],
    ],
    "Intervals at 95 %.",
    ["accuracy"],
)
EVIL = "a|b *c* _d_ <b>e</b> [x](http://y) `f` $g_h$ \\i #j & 100% ~k ^l {m} \x1b[1m \u202e"


def test_markdown_aligns_numbers_and_shows_intervals():
    lines = markdown_table(TABLE).splitlines()
    assert lines[0] == "**heads by accuracy**"
    assert lines[2].split("|")[1:3] == [" head         ", f" {'accuracy %':>19} "]
    assert re.fullmatch(r"\| -+ \| -+: \| -+: \| -+: \| -+ \|", lines[3])
    assert [cell.strip() for cell in lines[4].split("|")[1:-1]] == [
        "gated",
        r"71.2 \[69.0, 73.0\]",
        "4,511",
        "1.250",
        "yes",
    ]
    assert {len(line) for line in lines[2:7]} == {len(lines[2])}
    assert lines[-1] == "Intervals at 95 %."


def test_markdown_shows_text_as_it_is():
    escaped = markdown_text(EVIL)
    assert re.sub(r"\\([\\`*_{}\[\]|~$#])", r"\1", escaped).startswith("a|b *c* _d_ &lt;b&gt;e")
    assert not re.search(r"(?<!\\)[|*_`$~]", escaped.replace(r"\\", ""))
    assert "<" not in escaped
    assert "\x1b" not in escaped
    assert "\u202e" not in escaped
    assert markdown_text("- item") == r"\- item"
    assert markdown_text("1. item") == r"1\. item"
    document = markdown("t", ["a verdict"], [TABLE, TABLE])
    assert document.startswith("# t\n\n- a verdict\n\n**heads")
    assert document.count("| gated") == 2


def test_latex_tables_have_rules_caption_label_and_numbers_at_the_right():
    written = latex_table(TABLE, "x")
    assert r"\begin{tabular}{lrrrl}" in written
    assert r"\caption{Heads by accuracy. Intervals at 95 \%.}" in written
    assert r"\label{tab:x}" in written
    assert r"{}gated & 71.2 {\small [69.0, 73.0]} & 4,511 & 1.250 & yes \\" in written
    assert [written.count(rf"\{rule}") for rule in ("toprule", "midrule", "bottomrule")] == [1] * 3
    minus = FindingTable("t", ["a", "b"], [["x", Estimate(-0.5, -0.6, 0.1)]])
    assert r"$-$0.500 {\small [$-$0.600, 0.100]}" in latex_table(minus, "t")


def test_latex_typesets_text_as_it_is():
    escaped = latex_text(EVIL)
    commands = re.sub(r"\\(text[a-z]+|ldots)\{\}|\\[{}$&#%_]|\{-\}", "", escaped)
    assert not re.search(r"[\\{}$&#%_^~]", commands)
    assert "\x1b" not in escaped
    assert r"{}a\_b & c\_d \\" in latex_table(FindingTable("t", ["n", "m"], [["a_b", "c_d"]]), "t")
    assert latex("t\n\\input{x}", ["s"], [TABLE]).splitlines()[0] == r"% t\n\input{x}"


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="no LaTeX installed")
def test_latex_compiles(tmp_path):
    evil = FindingTable(EVIL, [EVIL, "b"], [[EVIL, 1.0], ["[x]", -2.0]], EVIL)
    document = r"\documentclass{article}\usepackage[T1]{fontenc}\usepackage{textcomp,booktabs}"
    body = latex("t", [], [TABLE, evil])
    (tmp_path / "t.tex").write_text(f"{document}\\begin{{document}}{body}\\end{{document}}")
    subprocess.run(["pdflatex", "-halt-on-error", "t.tex"], cwd=tmp_path, check=True)


def test_csv_has_all_digits_and_bounds_in_columns():
    frame = pd.read_csv(io.StringIO(csv_table(TABLE)))
    assert list(frame.columns) == [
        *["head", "accuracy", "accuracy low", "accuracy high"],
        *["posts", "seconds", "tied"],
    ]
    assert frame["accuracy"].tolist() == [0.7123, 0.7, 0.6]
    assert frame["accuracy low"].tolist()[:2] == [0.69, 0.68]
    assert frame["accuracy low"].isna().tolist() == [False, False, True]
    assert frame["seconds"].tolist()[::2] == [1.25, 0.00001]


@pytest.mark.parametrize("text", ["=1+1", "@x", "+cmd", "-a", "＝1", "\t=1", "'=1"])
def test_csv_guards_formulas(text):
    table = FindingTable("t", [text, "b"], [[text, 1], ["-1", -1.5]])
    header, first, second = csv.reader(io.StringIO(csv_table(table)))
    assert first[0].startswith("'") or first[0].startswith("\\t")
    assert header[0] == first[0]
    assert second == ["-1", "-1.5"]


def test_equal_titles_get_different_names():
    named = [FindingTable(title, ["a"], []) for title in ("A b!", "a-b", "日本", "日本")]
    assert slugs(named) == ["a-b", "a-b-2", "table", "table-2"]


def test_tables_without_rows_are_written():
    empty = FindingTable("none", ["a", "b"], [])
    assert csv_table(empty) == "a,b\n"
    assert markdown_table(empty).count("\n") == 4
    assert r"\begin{tabular}{ll}" in latex_table(empty, "x")
