"""The sanitiser of everything printed: text that a terminal does not interpret as commands.

Labels, ids, paths and notes come from data sets. Control characters in them would move the
cursor, recolour or hide lines, reverse the order of letters, or set the window's title.
"""

import re
import unicodedata
from functools import lru_cache

# Line separators, lone surrogates and private control ranges are found by category; of the format
# characters (Cf) the joiners stay, as emoji and the spelling of several languages need them.
_HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_KEPT = "\u200c\u200d"

# ASCII without its controls, and \n and \t: the fast path for nearly everything printed.
_PLAIN = re.compile(r"[\n\t\x20-\x7e]*")
_OTHER = re.compile(r"[^\n\t\x20-\x7e]")
_BREAKS = re.compile(r"[^\t\x20-\x7e]")

_NAMES = {"\n": "\\n", "\r": "\\r", "\a": "\\a", "\b": "\\b", "\v": "\\v", "\f": "\\f"}

# Python decodes bytes of file names that are not UTF-8 as these surrogates.
_FIRST_BYTE, _LAST_BYTE, _BYTE_OFFSET = 0xDC80, 0xDCFF, 0xDC00


def printable(text: str) -> str:
    r"""Returns text with control characters written out (``\x1b``); newlines and tabs stay."""
    return text if _PLAIN.fullmatch(text) else _OTHER.sub(_written_out, text)


def one_line(text: str) -> str:
    r"""Returns text as ``printable`` does, with its line breaks written out, too (``\n``)."""
    return text if text.isascii() and text.isprintable() else _BREAKS.sub(_written_out, text)


def json_printable(document: str) -> str:
    r"""Returns the same JSON document with control characters as ``\uXXXX``.

    They only occur in strings, so the parsed values do not change.
    """
    return document if _PLAIN.fullmatch(document) else _OTHER.sub(_as_json, document)


@lru_cache(maxsize=4096)
def _is_hidden(character: str) -> bool:
    return unicodedata.category(character) in _HIDDEN and character not in _KEPT


def _written_out(match: re.Match[str]) -> str:
    character = match.group()
    if not _is_hidden(character):
        return character
    if character in _NAMES:
        return _NAMES[character]
    number = ord(character)
    if _FIRST_BYTE <= number <= _LAST_BYTE:
        number -= _BYTE_OFFSET
    if number <= 0xFF:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"


def _as_json(match: re.Match[str]) -> str:
    character = match.group()
    if not _is_hidden(character):
        return character
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))
