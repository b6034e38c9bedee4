"""Finds and decodes ``ID.txt``, and finds ``ID.jpg``, beside a list of ids: the layout of MVSA."""

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection

from mvsa_pipe.errors import DataError
from mvsa_pipe.posts.dataset_path import DatasetPath
from mvsa_pipe.posts.readers.picture_names import NEAR_NOTE
from mvsa_pipe.posts.storage.base import TEXT_BYTES

# In this order of preference if an id has several pictures.
_PICTURE_ENDINGS = ("jpg", "jpeg", "jpe", "jfif", "png", "webp", "gif", "bmp", "avif")
_FOLDER = "data/"

_BYTE_ORDER_MARKS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_MARKS = tuple(mark for mark, _ in _BYTE_ORDER_MARKS)
# A quarter of MVSA-Single's texts are GB18030 (its "…" is A1 AD); Latin-1 decodes the rest.
_ENCODINGS = ("utf-8", "gb18030", "latin-1")


class IdFiles:
    """Texts and pictures by post id, in ``data/`` or directly beside the list.

    If no file has the name of an id, one that differs in Unicode form or case is taken, if there is
    exactly one and it matches no other id.

    Args:
        place: Their folder.
        ids: The ids of all posts.

    Attributes:
        notes: Numbers of repaired texts and of files found under a similar name, by kind.

    Raises:
        DataError: There is no text and no picture at all.
    """

    def __init__(self, place: DatasetPath, ids: Collection[str]) -> None:
        self._place, self._ids = place, ids
        self.notes: Counter[str] = Counter()
        below = place.below()
        inside = [name for name in below if name[: len(_FOLDER)].lower() == _FOLDER]
        self._texts: dict[str, str] = {}
        self._pictures: dict[str, str] = {}
        self._near: tuple[dict[str, list[str]], ...] | None = None
        pictures: dict[str, list[tuple[str, str]]] = {ending: [] for ending in _PICTURE_ENDINGS}
        for name in sorted(inside or [name for name in below if "/" not in name]):
            # Fifteen times as fast as a ``Path`` for every file.
            stem, _, ending = name.rpartition("/")[2].rpartition(".")
            if not stem.strip("."):  # a hidden file without a suffix
                continue
            ending = ending.lower()
            if ending == "txt":
                self._texts[stem] = name
            elif ending in pictures:
                pictures[ending].append((stem, name))
        for found in pictures.values():
            for stem, name in found:
                if self._pictures.setdefault(stem, name) != name:
                    self.notes["ids-with-several-pictures"] += 1
        if not self._pictures and not inside:
            raise DataError(
                "The list of posts is there, but their texts and pictures are not",
                where=place.where(),
                expected="data/ID.txt and data/ID.jpg beside the list",
                hint="put the data/ folder beside the list",
            )

    def text(self, post_id: str) -> tuple[str | None, str]:
        """A post's text, ``None`` if its file is missing, and its encoding."""
        name = self._texts.get(post_id) or self._near_name(0, post_id, "texts-found-by-near-name")
        if name is None:
            return None, "utf-8"
        data = self._place.read(name, TEXT_BYTES)
        if b"\0" in data and not data.startswith((b"\xff\xfe", b"\xfe\xff")):
            self.notes["texts-with-nul-removed"] += 1
        text, encoding = decode_text(data)
        return text.strip(), encoding

    def image(self, post_id: str) -> tuple[str | None, str]:
        """Path of a post's picture in the storage, or ``None`` and the names that were tried."""
        name = self._pictures.get(post_id) or self._near_name(1, post_id, NEAR_NOTE)
        if name is not None:
            return self._place.prefix + name, ""
        return None, f"{self._place.prefix}{_FOLDER}{post_id}.{_PICTURE_ENDINGS[0]}"

    def _near_name(self, number: int, post_id: str, note: str) -> str | None:
        """The one text (0) or picture (1) with a similar name; counts it."""
        if self._near is None:
            self._near = self._index(self._texts), self._index(self._pictures)
        found = self._near[number].get(_folded(post_id), [])
        if len(found) != 1:
            return None
        self.notes[note] += 1
        return found[0]

    def _index(self, files: dict[str, str]) -> dict[str, list[str]]:
        index: defaultdict[str, list[str]] = defaultdict(list)
        ids = set(self._ids)
        for stem, name in files.items():
            if stem not in ids:
                index[_folded(stem)].append(name)
        prefix, there = self._place.prefix, set(files.values())
        for spelling, real in self._place.storage.spellings().items():
            stem = spelling.rpartition("/")[2].rpartition(".")[0]
            name = real.removeprefix(prefix)
            if name in there and name not in index[_folded(stem)]:
                index[_folded(stem)].append(name)
        # Two ids that differ only in case cannot both refer to one file.
        seekers = Counter(_folded(post_id) for post_id in ids if post_id not in files)
        return {key: names for key, names in index.items() if seekers[key] == 1}


def _folded(post_id: str) -> str:
    composed = unicodedata.normalize("NFC", post_id)
    return unicodedata.normalize("NFC", composed.casefold())


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
