"""Posts written in any dialect, encoding and type come back as written, or with an error.

A guessed encoding may be wrong, but is then a finding. Nothing else differs in silence.
"""

import csv
import io
import json
import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import assume, event, example, given, settings
from hypothesis import strategies as st

from mvsa_pipe.errors import MvsaError
from mvsa_pipe.posts import ReadOptions, read_posts

HEADER = ("id", "text", "image", "label")
SEPARATORS = {",": ".csv", ";": ".csv", "\t": ".tsv", "|": ".csv"}
# What dialects are made of, with letters of several scripts.
CHARACTERS = 'ab c"",;\t|\n\r\\\'.éñÄ“”€жЖ你好テ😀\u2028\x0b\x85'
ENCODINGS = (
    "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252", "latin-1",
    "cp1251", "gb18030", "big5", "shift_jis",
)  # fmt: skip
MARKED = {"utf-8", "utf-8-sig", "utf-16", "utf-32"}

texts = st.one_of(
    st.text(CHARACTERS, max_size=12),
    st.sampled_from(
        ["señor", '"', '"hello"', '"a', 'b"', 'say "hi" now', '""', '"a""b"', "it’s", "x\n2,y"]
    ),
)


@st.composite
def post_lists(draw, texts=texts):
    count = draw(st.integers(1, 6))
    labels = draw(st.sampled_from([["positive", "negative"], ["1", "0"], ["NA", "None"]]))
    return [(str(at), draw(texts), "", draw(st.sampled_from(labels))) for at in range(count)]


def read(data, suffix, **options):
    """Posts as ``(id, text, label)``, whether anything was guessed; ``None`` if refused."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"posts{suffix}"
        path.write_bytes(data)
        try:
            posts = read_posts(path, ReadOptions(**options))
        except MvsaError:
            return None
    return [(p.id, p.text, p.label) for p in posts.posts], bool(posts.findings)


def as_read(rows):
    """Rows as posts: blanks around texts are no part of them."""
    return [(post_id, text.strip(), label) for post_id, text, _, label in rows]


def naive(rows, separator, line_ends):
    """What a program writes that joins cells and knows nothing of quotes."""
    lines = [separator.join(row) for row in [HEADER, *rows]]
    return "".join(line + line_ends[at % len(line_ends)] for at, line in enumerate(lines))


def quoted(rows, separator, line_end="\n", quoting=csv.QUOTE_MINIMAL, header=HEADER):
    file = io.StringIO(newline="")
    writer = csv.writer(file, delimiter=separator, lineterminator=line_end, quoting=quoting)
    writer.writerows([header, *rows])
    return file.getvalue()


def enclosed_texts(rows, separator, line_end, nulls=True):
    """What databases write that are told to quote a column: neither its name nor nulls are."""
    lines = [separator.join(HEADER)]
    for post_id, text, image, label in rows:
        if text or not nulls:
            text = '"' + text.replace('"', '""') + '"'
        lines.append(separator.join((post_id, text, image, label)))
    return "".join(line + line_end for line in lines)


def has_quoting_writer(text, separator):
    """Posts of which a quoting writer makes the same text but for line ends; ``None`` if none."""
    text = re.sub("\r\n|\r", "\n", text)
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True))
    except csv.Error:
        return None
    rows = [tuple(row) for row in rows[1:]]
    if any(len(row) != len(HEADER) for row in rows):
        return None
    writers = [
        quoted(rows, separator),
        quoted(rows, separator, quoting=csv.QUOTE_ALL),
        enclosed_texts(rows, separator, "\n"),
        enclosed_texts(rows, separator, "\n", nulls=False),
    ]
    return as_read(rows) if text in writers else None


def has_naive_writer(text, separator):
    """Posts of which a naive writer makes the very same text; ``None`` if there are none."""
    lines = [line.rstrip("\r\n") for line in io.StringIO(text, newline="")]
    rows = [tuple(line.split(separator)) for line in lines[1:] if line.strip()]
    return as_read(rows) if all(len(row) == len(HEADER) for row in rows) else None


plain_texts = texts.map(lambda text: text.translate(str.maketrans("", "", ",;\t|\n\r")))


@settings(max_examples=150, deadline=None)
@given(
    post_lists(plain_texts),
    st.sampled_from(sorted(SEPARATORS)),
    st.lists(st.sampled_from(["\n", "\r\n", "\r"]), min_size=1, max_size=3),
)
@example([("1", '"a', "", "x"), ("2", 'b"', "", "y")], "\t", ["\n"])
@example([("1", '"hello"', "", "x"), ("2", "b", "", "y")], ",", ["\n"])
@example([("1", '"a""b"', "", "x"), ("2", '"b"', "", "y")], "\t", ["\n"])
def test_tables_of_writers_that_never_quote(rows, separator, line_ends):
    text = naive(rows, separator, line_ends)
    found = read(text.encode(), SEPARATORS[separator])
    if found is None:
        event("refused")
        assert '"' in text  # else nothing is ambiguous
        return
    posts, guessed = found
    assert not guessed
    if posts != as_read(rows):
        event("another writer writes the same")
        assert posts == has_quoting_writer(text, separator)


@settings(max_examples=150, deadline=None)
@given(
    post_lists(),
    st.sampled_from(sorted(SEPARATORS)),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC, None]),
    st.sampled_from(["", ",", ",,", "extra"]),
    st.booleans(),
)
@example([("1", "x,y\n2,z", "", "a")], ",", "\n", csv.QUOTE_MINIMAL, "", False)
def test_tables_of_writers_that_quote(rows, separator, line_end, quoting, beyond, said):
    if quoting is None:
        text = enclosed_texts(rows, separator, line_end)
    elif beyond == "extra":
        # columns that nobody asked for, repeated
        wider = [(*row, "u", "v") for row in rows]
        text = quoted(wider, separator, line_end, quoting, (*HEADER, "note", "note"))
    else:
        more = ("",) * len(beyond)
        wider = [(*row, *more) for row in rows]
        text = quoted(wider, separator, line_end, quoting, (*HEADER, *more))
    text += (separator * 3 + line_end) if said else ""
    text = (f"sep={separator}{line_end}" if said else "") + text
    found = read(text.encode(), SEPARATORS[separator])
    if found is None:
        event("refused")
        # Python before 3.13 leaves other line ends than its own in a cell without quotes.
        assert '"' in text or any(set("\r\n") & set(row[1]) for row in rows)
        return
    posts, guessed = found
    assert not guessed
    if posts != as_read(rows):
        event("another writer writes the same")
        assert any("\n" in row[1] or "\r" in row[1] for row in rows)
        assert posts == has_naive_writer(text, separator)


@settings(max_examples=120, deadline=None)
@given(post_lists(), st.sampled_from(sorted(SEPARATORS)), st.sampled_from(ENCODINGS))
@example([("1", "el señor número", "", "x")], ",", "cp1252")
@example([("1", "你好", "", "x")], ",", "gb18030")
@example([("1", "“curly”", "", "x")], ",", "cp1252")
def test_encodings(rows, separator, encoding):
    text = quoted(rows, separator, "\r\n", csv.QUOTE_ALL)
    try:
        content = text.encode(encoding)
    except UnicodeEncodeError:
        assume(False)
    suffix = SEPARATORS[separator]
    named = read(content, suffix, encoding=encoding)
    assert named == (as_read(rows), False)
    found = read(content, suffix)
    if encoding in MARKED or text.isascii():
        assert found == (as_read(rows), found is not None and found[1])
    elif found is not None and not is_utf8(content):
        assert found[1]
        event("guessed rightly" if found[0] == as_read(rows) else "guessed wrongly")


def is_utf8(content):
    """Whether bytes are UTF-8, if only by chance: nothing tells them from what is meant so."""
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return b"\0" not in content


typed = st.one_of(
    st.none(),
    st.text("ab \"'é你\x00\u2028", max_size=6),
    st.integers(-3, 12),
    st.integers(2**53 - 2, 2**70),
    st.floats(),
    st.booleans(),
    st.binary(max_size=3),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.sampled_from(["bytes", "path", "x"]), st.text(max_size=2), max_size=2),
)


def spelled(value, column):
    """The text that a typed cell has; ``...`` where it must be refused."""
    if value is None or value != value:
        return ""
    if isinstance(value, str):
        return value.replace("\0", "").strip()
    if isinstance(value, bool):
        return str(value).lower() if column == "label" else ...
    if isinstance(value, int):
        return str(value) if abs(value) < 2**64 else ...
    if isinstance(value, float) and column != "text":
        return str(int(value)) if abs(value) < 2**53 and value == int(value) else ...
    return ...


@settings(max_examples=120, deadline=None)
@given(st.lists(st.tuples(typed, typed, typed), min_size=1, max_size=4))
def test_typed_cells_of_json_lines(rows):
    assume(not any(isinstance(value, bytes) for row in rows for value in row))
    columns = ("id", "text", "label")
    lines = [json.dumps(dict(zip(columns, row, strict=True)) | {"image": None}) for row in rows]
    found = read("\n".join(lines).encode(), ".jsonl")
    check_typed(columns, rows, found)


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_typed_cells_of_parquet(data):
    import pyarrow as pa
    from pyarrow import parquet

    kinds = st.sampled_from(
        [
            (pa.string(), st.text('ab "é你', max_size=6)),
            (pa.large_string(), st.text("ab", max_size=6)),
            (pa.dictionary(pa.int8(), pa.string()), st.text("ab", max_size=2)),
            (pa.int64(), st.integers(-5, 2**62)),
            (pa.float64(), st.floats()),
            (pa.float32(), st.floats(width=32)),
            (pa.bool_(), st.booleans()),
            (pa.binary(), st.binary(max_size=3)),
            (pa.list_(pa.int64()), st.lists(st.integers(0, 5), max_size=2)),
            (pa.timestamp("ns"), st.integers(0, 2**62)),
            (pa.null(), st.none()),
        ]
    )
    columns, count = ("id", "text", "label"), data.draw(st.integers(1, 4))
    table, values = {"image": pa.nulls(count)}, []
    for name in columns:
        kind, cells = data.draw(kinds)
        drawn = data.draw(st.lists(st.none() | cells, min_size=count, max_size=count))
        table[name] = pa.array(drawn, kind)
        is_number = pa.types.is_timestamp(kind)
        values.append([... if is_number and value is not None else value for value in drawn])
    file = io.BytesIO()
    parquet.write_table(pa.table(table), file)
    check_typed(columns, list(zip(*values, strict=True)), read(file.getvalue(), ".parquet"))


def check_typed(columns, rows, found):
    expected = [
        tuple(spelled(value, column) for column, value in zip(columns, row, strict=True))
        for row in rows
    ]
    if any(cell is ... for row in expected for cell in row):
        assert found is None
    elif found is None:
        event("refused")
        ids, labels = [row[0] for row in expected], [row[2] for row in expected]
        alike = len({label.lower() for label in labels}) < len(set(labels))
        nul = any("\0" in str(cell) for row in rows for cell in (row[0], row[2]))
        assert "" in ids or "" in labels or len(set(ids)) < len(ids) or alike or nul
    else:
        assert [(i, t or "", label) for i, t, label in found[0]] == expected


@pytest.mark.parametrize("label", ["nan", "NA", "None", "null", "1.0", "True"])
def test_labels_that_look_like_values_stay_texts(label):
    rows = [("1", "x", "", label), ("2", "y", "", "other")]
    assert read(quoted(rows, ",").encode(), ".csv") == (as_read(rows), False)
