"""Classes of a table, and labels that are one class spelled in two ways."""

import pytest

from mvsa_pipe.errors import DataError
from mvsa_pipe.posts import read_posts
from mvsa_pipe.posts.labels import classes_of


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (["positive", "negative", None], ("negative", "positive")),
        (["zebra", "ant"], ("ant", "zebra")),
        (["10", "9", "-1"], ("-1", "9", "10")),
        (["10.0", "9.0", "0.5"], ("0.5", "9.0", "10.0")),
        (["1", "01", "1.0"], ("01", "1", "1.0")),
        (["10", "9", "x"], ("10", "9", "x")),
        ([], ()),
    ],
)
def test_classes(labels, classes):
    assert classes_of(labels, "t") == classes


@pytest.mark.parametrize(
    ("usual", "other"),
    [
        ("positive", "Positive"), ("very bad", "very  bad"), ("very bad", "very\u00a0bad"),
        ("straße", "STRASSE"), ("caf\u00e9", "cafe\u0301"), ("1", "\uff11"),
    ],
)  # fmt: skip
def test_two_spellings_of_one_label_are_named_with_their_rows(usual, other):
    labels = [usual, usual, other, "else", usual, other]
    with pytest.raises(DataError, match="one spelling of each label") as caught:
        classes_of(labels, "t")
    assert f"{other!r} in row 3, 6 beside {usual!r}" in str(caught.value)


def test_lines_of_the_file_are_named(tmp_path):
    rows = ["1,a,,yes", "", "2,b,,Yes", "3,c,,yes", "4,d,,no"]
    (tmp_path / "t.csv").write_text("\n".join(["id,text,image,label", *rows]) + "\n")
    with pytest.raises(DataError, match="'Yes' in line 4 beside 'yes'"):
        read_posts(tmp_path / "t.csv")
