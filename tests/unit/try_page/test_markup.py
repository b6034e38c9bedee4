"""Answers as HTML: figures as they are, text escaped, and a fault in place of a table."""

import re
import sys

import pytest

from mvsa_pipe.analysis.finding import OverlayPlot
from mvsa_pipe.errors import ConfigError
from mvsa_pipe.try_page.answer import Answer, Shares
from mvsa_pipe.try_page.markup import answers_html
from mvsa_pipe.try_page.options import TryOptions
from mvsa_pipe.try_page.serving import require_gradio

SCRIPT = "<script>alert(1)</script>\u202e"
READINGS = (Shares("text and picture", (0.25, 0.75)), Shares("text alone", (0.9, 0.1)))


def test_a_table_has_every_probability_and_marks_the_largest():
    page = answers_html([Answer("cmac", ("no", "yes"), READINGS, remarks=("A remark.",))])
    cells = re.findall(r"<td( class=most)?>([\d.]+)", page)
    assert cells == [("", "25.0"), (" class=most", "75.0"), (" class=most", "90.0"), ("", "10.0")]
    assert page.count("--share:75.0%") == 1
    assert "<p>A remark.</p>" in page


def test_words_and_patches_are_shaded_by_their_weights():
    plot = OverlayPlot("layer", "1", [("a", 0.1), ("b", 0.4)], [[0.2, 0.1], [0.0, float("nan")]])
    page = answers_html([Answer("cmac", ("no",), READINGS[:1], (plot,), "data:image/png;base64,A")])
    words = re.findall(r'<span style="--weight:(\d+)%"', page)
    patches = re.findall(r'<i style="--weight:(\d+)%"', page)
    assert int(words[0]) * 4 == pytest.approx(int(words[1]), abs=4)
    assert [int(patch) for patch in patches] == [int(words[1]), int(words[1]) // 2, 0, 0]
    assert "--columns:2" in page
    assert "--picture:url(data:image/png;base64,A)" in page
    assert "Heaviest patch: row 1, column 1" in page


def test_all_text_is_escaped():
    plot = OverlayPlot(SCRIPT, SCRIPT, [(SCRIPT, 1.0)], [[1.0]])
    whole = Answer(SCRIPT, (SCRIPT, "yes"), READINGS, (plot,), remarks=(SCRIPT,))
    page = answers_html([whole, Answer(SCRIPT, fault=SCRIPT)])
    assert "<script" not in page
    assert "\u202e" not in page
    assert page.count("&lt;script&gt;") >= 7


def test_a_fault_stands_in_place_of_the_table():
    page = answers_html([Answer("cmac", fault="It needs a picture.")])
    assert 'role="alert">It needs a picture.</p>' in page
    assert "<table" not in page


def test_without_gradio_one_paragraph_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(ConfigError, match=re.escape('pip install "mvsa-pipe[try]"')):
        require_gradio()


@pytest.mark.parametrize("port", [0, 80, 70_000])
def test_ports_have_a_range(port):
    with pytest.raises(ConfigError, match="port"):
        TryOptions(port=port)
