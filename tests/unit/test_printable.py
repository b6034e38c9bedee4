"""The sanitiser of everything printed, and streams that cannot fail."""

import io
import json
import os
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvsa_pipe.cli.streams import Sanitised, TolerantStream, fitting
from mvsa_pipe.printable import json_printable, one_line, printable

ANY = st.text(st.characters(exclude_categories=()))  # lone surrogates, too
HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain [red] ünï 漢字 😀 👩‍👩‍👧", None),
        ("two\nlines\tand a tab", None),
        ("\x1b[31mred\x1b]0;title\x07", "\\x1b[31mred\\x1b]0;title\\a"),
        ("\x9b31m \x85 \x7f \0 \r", "\\x9b31m \\x85 \\x7f \\x00 \\r"),
        ("a\u202eb\u2066c\u200e\ufeff\u2028", "a\\u202eb\\u2066c\\u200e\\ufeff\\u2028"),
        ("\udcff\ud800", "\\xff\\ud800"),
        ("\U000e0041", "\\U000e0041"),
    ],
)
def test_control_characters_are_written_out(text, shown):
    assert printable(text) == (text if shown is None else shown)


def test_a_name_stays_in_its_line():
    assert one_line("a\nerror: b\tc") == "a\\nerror: b\tc"


@given(ANY)
def test_nothing_hidden_is_left(text):
    for shown in (printable(text), one_line(text), json_printable(text)):
        left = {c for c in shown if unicodedata.category(c) in HIDDEN}
        assert left <= set("\n\t\u200c\u200d")
    assert "\n" not in one_line(text)
    assert printable(printable(text)) == printable(text)


@given(st.recursive(ANY, lambda inner: st.lists(inner) | st.dictionaries(ANY, inner)))
def test_json_says_the_same(value):
    document = json_printable(json.dumps(value, indent=2, ensure_ascii=False))
    assert json.loads(document) == value


@given(st.text(), st.sampled_from(["ascii", "cp1252", "latin-1", "koi8-r", "utf-8", "utf-16"]))
def test_any_encoding_takes_any_text(text, encoding):
    shown = fitting(text, encoding)
    if encoding.startswith("utf"):
        assert shown == text
    assert fitting(shown, encoding) == shown


def test_our_own_signs_have_plain_forms():
    assert fitting("± × → … │ ≥", "ascii") == "+/- x -> ... | >="


def test_streams_are_sanitised_but_for_rich():
    stream = io.StringIO()
    guarded = Sanitised(TolerantStream(stream))
    guarded.write("\x1b[31m\r")
    guarded.rich_proxied_file.write("\x1b[0m")
    assert stream.getvalue() == "\\x1b[31m\\r\x1b[0m"


class Broken(io.StringIO):
    def write(self, _):
        raise OSError(28, "No space left on device")


def test_a_stream_that_fails_is_left_alone():
    outlet = TolerantStream(Broken())
    assert outlet.write("abc") == 3
    assert outlet.fault.errno == 28
    outlet.flush()
    closed = io.StringIO()
    closed.close()
    outlet = TolerantStream(closed)
    outlet.write("abc")
    assert outlet.fault is not None


def test_what_a_broken_pipe_holds_back_is_dropped():
    reader, writer = os.pipe()
    os.close(reader)
    stream = os.fdopen(writer, "w", encoding="utf-8")
    outlet = TolerantStream(stream)
    outlet.write("abc")
    outlet.flush()
    assert isinstance(outlet.fault, BrokenPipeError)
    stream.close()  # would raise, were the rest still on its way to the pipe
