"""How results show themselves."""

from mvsa_pipe.tabular import Table, shown


def test_a_table_is_a_frame_a_text_and_html():
    table = Table(
        "scores", [{"head": "basic", "f1": 0.51234}, {"head": "cmac", "f1": None}], ("n",)
    )
    assert table.to_frame()["head"].tolist() == ["basic", "cmac"]
    assert repr(table).splitlines() == ["scores", "head   f1", "basic  0.5123", "cmac", "n"]
    html = table._repr_html_()
    assert html.count("<tr>") == 3
    assert "<caption>scores</caption>" in html
    assert len(table) == 2


def test_an_empty_table_has_its_title():
    assert repr(Table("nothing", [])) == "nothing"
    assert Table("nothing", []).to_frame().empty


def test_long_tables_are_cut_where_they_are_shown():
    table = Table("many", [{"n": n} for n in range(1000)])
    assert len(table.to_frame()) == 1000
    assert len(repr(table).splitlines()) == 23
    assert "to_frame() has more rows" in table._repr_html_()


def test_what_data_say_is_neither_markup_nor_a_command():
    table = Table("<b>", [{"text": "<script>alert(1)</script>"}], ("<i>",))
    html = table._repr_html_()
    assert not any(tag in html for tag in ("<script>", "<b>", "<i>"))
    assert shown("a\x1b[31mb\nc") == "a\\x1b[31mb\\nc"
    assert shown("x" * 100) == "x" * 59 + "…"
    assert [shown(value) for value in (1234567, 0.5, True, None)] == [
        "1,234,567",
        "0.5",
        "True",
        "",
    ]
