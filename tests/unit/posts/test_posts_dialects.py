"""How delimited text is written: separators, quotes, ragged and nameless columns."""

import pytest

from mvsa_pipe.errors import DataError
from mvsa_pipe.posts.formats import Quoting
from mvsa_pipe.posts.tables.delimited import header_of, read_delimited

WANTED = ("id", "text", "image", "label")
HEADER = "id\ttext\timage\tlabel\n"


def read(text, **options):
    return read_delimited(text, "t.csv", wanted=WANTED, **options)


def texts(table):
    return [cells[1] for _, cells in table.rows]


def tweets(*special, count=20):
    """A table of one writer that never quotes, some of whose texts are given."""
    rows = [*special, *(f"post {at}" for at in range(count))]
    lines = [f"{at}\t{text}\timg/{at}.jpg\t{'ab'[at % 2]}\n" for at, text in enumerate(rows)]
    return HEADER + "".join(lines)


@pytest.mark.parametrize(
    "special",
    [
        ['"begins', "between", 'ends"'],
        ['"begins', 'ends"'],
        ['"whole"', '"begins'],
        ['"begins" and goes on'],
        ['he said "yes" twice', '"whole"'],
        ['5" wide', 'and 7"'],
        ['"'],
        ["it's", "''"],
    ],
)
def test_quotes_of_a_writer_that_never_quoted_stay_in_their_texts(special):
    table = read(tweets(*special))
    assert texts(table)[: len(special)] == special
    assert len(table.rows) == 20 + len(special)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('id,text,image,label\n1,"a, b",,x\n2,c,,y\n', ["a, b", "c"]),
        ('id,text,image,label\n1,"a\nb",,x\n2,"c",,y\n', ["a\nb", "c"]),
        ('id,text,image,label\n1,"he said ""hi""",,x\n2,c,,y\n', ['he said "hi"', "c"]),
        ('"id","text","image","label"\n"1","a","","x"\n', ["a"]),
        ('id,text,image,label\n1,"a, ""b""\r\n\r\nc",,x\n', ['a, "b"\r\n\r\nc']),
        # a text of several lines one of which is as wide as a row
        (
            "id,text,image,label\n"
            + "".join(f"{at},t,,{'xy'[at % 2]}\n" for at in range(12))
            + '12,"one\ntwo, three, four, five\nsix",,x\n',
            ["t"] * 12 + ["one\ntwo, three, four, five\nsix"],
        ),
    ],
)
def test_quotes_that_enclose_cells(text, expected):
    table = read(text)
    assert texts(table) == expected
    assert table.quoting is Quoting.MINIMAL


@pytest.mark.parametrize(
    ("text", "line"),
    [
        # enclosed without need, beside texts that are not: a quotation, or a quoted cell
        (tweets('"whole"'), 2),
        ('id,text,image,label\n1,"a",,x\n2,"b",,y\n', 2),
        # two rows, or one; there are no others to compare with
        (HEADER + '1\t"a\t\tx\n2\tb"\t\ty\n', 2),
        # both kinds of writer
        (tweets('"he said ""hi"""', 'bare "quotes"'), 2),
        # rows glued by quotes, in a table with a line that is too long
        (tweets('"begins', "between", "too\tlong", 'ends"'), 2),
        # enclosed everywhere, but for one that was not written twice
        ('id,text,image,label\n1,"a",,x\n2,"b",,y\n3,"c "d" e",,x\n', 4),
        # escaped by backslashes
        ('id,text,image,label\n1,"he said \\"hi\\"",,x\n2,b,,y\n', 2),
        ('id,text,image,label\n1,he said \\"hi\\",,x\n2,b,,y\n', 2),
    ],
)
def test_what_stays_ambiguous_is_refused_with_its_line(text, line):
    with pytest.raises(DataError, match=rf"t\.csv:{line}\).*--quoting none"):
        read(text)


def test_options_decide_what_the_text_does_not():
    text = 'id,text,image,label\n1,"a",,x\n2,b,,y\n'
    assert texts(read(text, quoting=Quoting.MINIMAL)) == ["a", "b"]
    assert texts(read(text, quoting=Quoting.NONE)) == ['"a"', "b"]
    text = "id~text~image~label\n1~a~~x\n"
    assert texts(read(text, separator="~")) == ["a"]
    with pytest.raises(DataError, match="the rows from here on are unread"):
        read(tweets('"begins'), quoting=Quoting.MINIMAL)


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_the_header_tells_the_separator_whatever_the_suffix(separator, suffix):
    lines = [("id", "text", "image", "label"), ("1", "a ~ b", "", "x"), ("2", "c", "", "y")]
    text = "".join(separator.join(line) + "\r\n" for line in lines)
    for other in set(",;\t|") - {separator}:
        table = read(text.replace("~", other), suffix=suffix)
        assert table.separator == separator
        assert texts(table) == [f"a {other} b", "c"]


def test_rows_tell_the_separator_where_no_column_is_wanted():
    assert read_delimited("a;b,c\n1,5;x\n2;y\n", "t").separator == ";"
    assert read_delimited("a;b,c\n1;5,x\n2;7,y\n", "t", separator=",").columns == ("a;b", "c")
    assert read_delimited("id\n1\n2\n", "t", suffix=".tsv").columns == ("id",)


@pytest.mark.parametrize("line", ["sep=;", "SEP=;", '"sep=;"'])
def test_a_line_that_names_the_separator(line):
    table = read(f"{line}\r\nid;text;image;label\r\n1;a;;x\r\n")
    assert table.rows == [(3, ["1", "a", "", "x"])]
    assert header_of(f"{line}\nid;text\n") == ("id", "text")


def test_ragged_and_nameless_columns_and_empty_rows_are_counted():
    table = read("id,text,image,label,,\n1,a,,x,,\n\n,,,,,\n2,b,,y\n , ,\n")
    assert table.rows == [(2, ["1", "a", "", "x", "", ""]), (5, ["2", "b", "", "y", "", ""])]
    assert table.notes["rows without content, skipped"] == 3
    assert table.notes["columns without a name, ignored"] == 2
    assert table.notes["rows with more or fewer empty cells at their end"] == 1
    table = read("id,text,image,label\n1,a,,x,\n2,b,,y,\n")
    assert texts(table) == ["a", "b"]


@pytest.mark.parametrize(
    ("row", "cells"),
    [("2,b,y", 3), ("2,b,,y,z", 5), ("2,hello, world,,", 5), ("2,a, b,x.jpg,y", 5)],
)
def test_rows_of_a_wrong_width_are_named(row, cells):
    with pytest.raises(DataError, match=f"line 3: {cells} cells, where the header has 4"):
        read(f"id,text,image,label\n1,a,,x\n{row}\n")


def test_a_separator_in_an_unquoted_text_is_no_trailing_one():
    with pytest.raises(DataError, match="line 2: 5 cells, where the header has 6"):
        read("id,text,image,label,,\n1,hello, world,x.jpg,pos\n")


@pytest.mark.parametrize("header", ["c," * 100_000, "id,text,image,label\n" + "," * 100_000])
def test_too_many_columns_are_refused(header):
    with pytest.raises(DataError, match="more than 10,000 cells"):
        read(header + "\n")


def test_many_columns_whose_names_repeat():
    table = read("id,text,image,label" + ",c" * 9_000 + "\n1,a,,x" + "," * 9_000 + "\n")
    assert table.notes["columns whose name is repeated"] == 9_000


def test_a_cell_without_end_is_refused():
    with pytest.raises(DataError, match="field larger than field limit"):
        read("id,text,image,label\n1," + "a" * (2**22 + 1) + ",,x\n")
