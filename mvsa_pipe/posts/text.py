"""Decodes texts of MVSA's files, and normalises tweets for comparison.

Tables are decoded by ``encodings``, which reports every guess.
"""

import re

_BYTE_ORDER_MARKS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_MARKS = tuple(mark for mark, _ in _BYTE_ORDER_MARKS)
# A quarter of MVSA-Single's texts are GB18030 (its "…" is A1 AD); Latin-1 decodes the rest.
_ENCODINGS = ("utf-8", "gb18030", "latin-1")

_NOISE = re.compile(r"\b(?:https?://|www\.)\S+|@\w+:?|\brt\b:?", re.IGNORECASE)


def decode_text(data: bytes) -> tuple[str, str]:
    r"""The text of some bytes, without its byte order mark, and its encoding.

    Tried in order: the encoding of a byte order mark, UTF-8, GB18030, and Latin-1, which decodes
    any bytes. NUL characters are removed: they have no meaning, and tokenizers and CSV readers fail
    on them.
    """
    encodings: tuple[str, ...] = _ENCODINGS
    if data.startswith(_MARKS):
        marked = (name for mark, name in _BYTE_ORDER_MARKS if data.startswith(mark))
        encodings = (*marked, *_ENCODINGS)
    for encoding in encodings:
        try:
            return data.decode(encoding).replace("\0", ""), encoding
        except UnicodeDecodeError:
            continue
    raise AssertionError("Latin-1 decodes every byte")


def normalised(text: str) -> str:
    """A tweet without retweet marks, user names, links, case and spacing."""
    return " ".join(_NOISE.sub(" ", text).casefold().split())
