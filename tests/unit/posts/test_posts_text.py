"""Encodings, and what makes two tweets the same."""

import pytest

from mvsa_pipe.posts.duplicates import normalised
from mvsa_pipe.posts.readers.id_files import decode_text


@pytest.mark.parametrize(
    ("data", "text", "encoding"),
    [
        (b"", "", "utf-8"),
        (b"plain", "plain", "utf-8"),
        ("café ☕".encode(), "café ☕", "utf-8"),
        (b"so\xa1\xadyes", "so…yes", "gb18030"),
        ("开心".encode("gb18030"), "开心", "gb18030"),
        (b"caf\xe9", "café", "latin-1"),
        (b"\xef\xbb\xbfmarked", "marked", "utf-8-sig"),
        ("wide".encode("utf-16"), "wide", "utf-16"),
        (b"\xfe\xff" + "big".encode("utf-16-be"), "big", "utf-16"),
        (b"\xef\xbb\xbfcaf\xe9", "ï»¿café", "latin-1"),
        (b"a\0b", "ab", "utf-8"),
    ],
)
def test_decode_text(data, text, encoding):
    assert decode_text(data) == (text, encoding)


def test_an_odd_utf_16_falls_through_to_what_can_read_it():
    text, encoding = decode_text(b"\xff\xfea")
    assert (text, encoding) == ("ÿþa", "latin-1")


@pytest.mark.parametrize(
    ("text", "bare"),
    [
        ("RT @user: Good  Day", "good day"),
        ("rt @a @b http://t.co/x?y=1 good day", "good day"),
        ("Good day https://t.co/abc www.x.org", "good day"),
        ("GOOD\tday\n", "good day"),
        ("RT: good day", "good day"),
        ("art start sort", "art start sort"),
        ("#good day", "#good day"),
        ("RT @only http://t.co/1", ""),
        ("", ""),
    ],
)
def test_normalised(text, bare):
    assert normalised(text) == bare
