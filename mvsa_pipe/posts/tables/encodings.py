"""Decodes tables: by byte order mark, as UTF-8, or by a guess that is reported as a finding."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from mvsa_pipe.errors import DataError, name_some

# The mark of UTF-32 begins with that of UTF-16, so it is tried first.
_BYTE_ORDER_MARKS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\0\0", "utf-32"),
    (b"\0\0\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
# Two ASCII characters of a header, with bytes that are not NUL as x.
_WITHOUT_MARK = {
    b"x\0\0\0x\0\0\0": "utf-32-le",
    b"\0\0\0x\0\0\0x": "utf-32-be",
    b"x\0x\0x\0x\0": "utf-16-le",
    b"\0x\0x\0x\0x": "utf-16-be",
}
# Guesses: encodings whose words mix their letters with ASCII ones, and those whose words do not.
# Rare ones (EBCDIC, Johab, Macintosh Cyrillic) would only make the choice uncertain.
_LATIN = (
    "cp1252", "cp1250", "cp1254", "cp1257", "iso8859_15", "iso8859_2", "mac_roman", "cp850",
)  # fmt: skip
_OTHERS = (
    "gb18030", "big5hkscs", "cp932", "euc_jp", "cp949", "cp1251", "koi8_r", "cp1253", "cp1255",
    "cp1256",
)  # fmt: skip
_SAMPLE_BYTES = 2**16
_MOST_EXAMPLES = 3

# How text in a Western language uses the upper half of cp1252: letters in words that also have
# ASCII letters, no capital after a small letter; a few letters as words; the usual signs, not
# between two letters, except for apostrophe, dashes and the middle dot.
_LETTERS = "àáâãäåæçèéêëìíîïñòóôõöøùúûüýÿßœšž"
_CAPITALS = "ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜÝŸŒŠŽ"
_WESTERN_WORD = re.compile(
    rf"(?=.*[a-z])[A-Z{_CAPITALS}]?(?:[a-z]|[{_LETTERS}](?![{_LETTERS}]{{2}}))+"
    rf"|(?=.*[A-Z])(?:[A-Z]|[{_CAPITALS}](?![{_CAPITALS}]{{2}}))+"
    rf"|[àáâäåæèéêìíîñòóôöøùúûüÀÁÅÆÈÉÊÍÑÓÔÖØÙÚÜ]"
)
_WORD = re.compile(r"[^\W\d_ªº²³¹¼½¾]+")
_SIGN = re.compile(r"[^\w\x00-\x7f]|[ªº²³¹¼½¾]")
_SIGNS = "€‚„…‘’“”•–—™¡¢£©ª«®°²³´·º»½¿\xa0"
_WITHIN_WORDS = "’–—·"
_ENOUGH = 0.9


@dataclass(frozen=True)
class DecodedTable:
    """The text of a table.

    Attributes:
        text: Without its byte order mark and without NUL characters.
        encoding: How the bytes were decoded.
        finding: A sentence on how the encoding was guessed, with examples; empty if it was not.
        nuls: Number of removed NUL characters, which have no meaning and make tokenizers fail.
    """

    text: str
    encoding: str
    finding: str = ""
    nuls: int = 0


def decode_table(data: bytes, where: str, encoding: str | None = None) -> DecodedTable:
    """The text of a table's bytes.

    Tried in order: the named encoding, that of a byte order mark, UTF-16 or UTF-32 without a mark,
    UTF-8, and a guess. The guess prefers Windows-1252, which includes Latin-1, if the text can be
    in a Western language; charset-normalizer decides between the others.

    Raises:
        DataError: A byte is invalid in the named or marked encoding, the file is UTF-8 except for a
            few bytes, or no guess is better than the others.
    """
    if encoding is not None:
        return _decoded(data, where, encoding)
    for mark, name in _BYTE_ORDER_MARKS:
        if data.startswith(mark):
            return _decoded(data, where, name)
    pattern = re.sub(rb"[^\0]", b"x", data[:8])
    if pattern in _WITHOUT_MARK:
        name = _WITHOUT_MARK[pattern]
        return _decoded(data, where, name, "as its NUL bytes show")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        _refuse_nearly_utf8(data, where)
        return _decoded(data, where, *_guess(data, where))
    if b"\x1b$" in data:
        return _decoded(data, where, "iso2022_jp", "as its escape sequences show")
    return _without_nuls(text, "utf-8")


def _decoded(data: bytes, where: str, encoding: str, guessed: str = "") -> DecodedTable:
    try:
        text = data.decode(encoding)
    except UnicodeError as error:
        start = getattr(error, "start", 0)
        rest = getattr(error, "object", data)  # without its byte order mark, for UTF-8
        at = rest.count(b"\n", 0, start) + 1
        wrong = rest[start : start + 1].hex().upper()
        raise DataError(
            f"A table is not in the encoding {encoding}",
            where=f"{where}:{at}",
            found=f"byte 0x{wrong} at offset {start + len(data) - len(rest):,}" if wrong else error,
            hint="name its encoding: --encoding NAME",
        ) from error
    done = _without_nuls(text.removeprefix("\ufeff"), encoding)
    if not guessed:
        return done
    return DecodedTable(done.text, encoding, _finding(done.text, encoding, guessed), done.nuls)


def _without_nuls(text: str, encoding: str) -> DecodedTable:
    nuls = text.count("\0")
    return DecodedTable(text.replace("\0", "") if nuls else text, encoding, nuls=nuls)


def _finding(text: str, encoding: str, guessed: str) -> str:
    """How the encoding was guessed, with words of three lines that depend on it."""
    examples = list(islice(_examples(text), _MOST_EXAMPLES))
    shown = f"; read so: {'; '.join(examples)}" if examples else ""
    return (
        f"The table names no encoding and is not UTF-8; {encoding} was taken, {guessed}{shown}. "
        f"If that is right, name it: --encoding {encoding}."
    )


def _examples(text: str) -> Iterator[str]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.isascii():
            words = [word[:40] for word in re.split(r"[\s,;|]+", line) if not word.isascii()]
            yield f"line {number}: {name_some(words, most=4)}"


def _refuse_nearly_utf8(data: bytes, where: str) -> None:
    """Refuses UTF-8 with a few other bytes: any single encoding would misread some of the text.

    In another encoding, bytes that form UTF-8 characters by chance are far fewer than those that
    form none.
    """
    text = data.decode(errors="replace")
    wrong = text.count("\ufffd")
    right = len(text) - len(text.encode("ascii", "ignore")) - wrong
    if right > wrong:
        at = text.count("\n", 0, text.index("\ufffd")) + 1
        raise DataError(
            f"A table is UTF-8 except in {wrong:,} places",
            where=f"{where}:{at}",
            found=f"{right:,} characters that are UTF-8, and bytes that are not",
            hint="repair the file, which was perhaps joined from two; or name its encoding with "
            "--encoding NAME",
        )


def _guess(data: bytes, where: str) -> tuple[str, str]:
    """The most likely encoding of a text, and the reason."""
    sample = _sample(data)
    if _western(sample) and _decodes(data, "cp1252"):
        return "cp1252", "as Western text uses it"
    # Here, as most tables are UTF-8.
    from charset_normalizer import from_bytes

    text = sample.decode("latin-1")
    mixed = len(re.findall(r"[A-Za-z][\x80-\xff]|[\x80-\xff][A-Za-z]", text))
    alone = len(re.findall(r"[\x80-\xff]+", text))
    # A character of two bytes may end in an ASCII letter, so those encodings are never excluded.
    candidates = _OTHERS if mixed < alone / 4 else _LATIN + _OTHERS[:5]
    found = [
        (match.chaos, -match.coherence, candidates.index(match.encoding), match.encoding)
        for match in from_bytes(sample, cp_isolation=list(candidates))
        if match.encoding in candidates and _decodes(data, match.encoding)
    ]
    found.sort()
    if not found:
        raise _undecided(where, [], sample)
    best, rivals = found[0], [name for *score, _, name in found[1:] if score == list(found[0][:2])]
    if rivals and not (best[3] in _LATIN and set(rivals) <= set(_LATIN)):
        raise _undecided(where, [best[3], *rivals], sample)
    return best[3], "as charset-normalizer finds"


def _undecided(where: str, candidates: list[str], sample: bytes) -> DataError:
    shown = [
        f"{name} would read {next(_examples(sample.decode(name))).partition(': ')[2]}"
        for name in candidates
    ]
    return DataError(
        "A table is not UTF-8, and its encoding cannot be detected from its text",
        where=where,
        found="; ".join(shown) or "bytes that no encoding in wide use explains",
        hint="name it: --encoding NAME, such as cp1252, gb18030, big5, shift_jis or cp1251",
    )


def _sample(data: bytes) -> bytes:
    """The lines that are not ASCII, up to a limit, so that one accent in a long file counts."""
    lines, size = [], 0
    for line in data.split(b"\n"):
        if not line.isascii():
            if len(line) > _SAMPLE_BYTES:
                # at a blank, which is not part of a character in any of the encodings
                line = line[:_SAMPLE_BYTES].rpartition(b" ")[0] or line[:_SAMPLE_BYTES]
            lines.append(line)
            size += len(line)
            if size > _SAMPLE_BYTES:
                break
    return b"\n".join(lines)


def _decodes(data: bytes, encoding: str) -> bool:
    try:
        data.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _western(sample: bytes) -> bool:
    """Whether nearly all words and signs beyond ASCII are as Western languages write them."""
    try:
        text = sample.decode("cp1252")
    except UnicodeDecodeError:
        return False
    words = [word for word in _WORD.findall(text) if not word.isascii()]
    signs = list(_SIGN.finditer(text))
    good = sum(_WESTERN_WORD.fullmatch(word) is not None for word in words)
    good += sum(_usual(text, sign.start()) for sign in signs)
    return good >= _ENOUGH * (len(words) + len(signs))


def _usual(text: str, at: int) -> bool:
    sign, before, after = text[at], text[at - 1 : at], text[at + 1 : at + 2]
    if sign not in _SIGNS:
        return False
    if sign in _WITHIN_WORDS:
        return True
    # ºª follow digits or letters; the others are not between letters
    return not (before.isalpha() and after.isalpha())
