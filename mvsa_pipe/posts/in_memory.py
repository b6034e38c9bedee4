"""Posts that are built in memory: from lists, from a pandas frame, from a Hugging Face dataset."""

import io
import time
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mvsa_pipe.errors import ConfigError, DataError
from mvsa_pipe.posts.dataset_path import checked_name
from mvsa_pipe.posts.labels import classes_of
from mvsa_pipe.posts.post import Post, PostSet
from mvsa_pipe.posts.storage.base import PICTURE_BYTES, Storage, require_picture_size
from mvsa_pipe.posts.tables.cells import CellError, Kind, plain_cell
from mvsa_pipe.posts.tables.row_faults import CONTROL, RowFaults, text_fault

# The data set's name if none is given; its features are not cached.
UNNAMED = "in-memory"

# Modes that PNG holds without loss; every other is converted as pictures in files are.
_PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")


class MemoryStorage(Storage):
    """Pictures in memory, or in files that paths name, by the id of their post.

    Args:
        name: The data set's name.
        ids: The posts, each with a picture.
        pictures: The picture of each post: a path, a ``PIL.Image``, an array ``[H, W, 3]`` or
            ``[H, W]`` of bytes, the bytes of a file, or a mapping with ``bytes`` or ``path``. Any
            sequence; an entry is looked at when its picture is read.
    """

    def __init__(self, name: str, ids: Sequence[str], pictures: Sequence[Any]) -> None:
        super().__init__(Path(name))
        self._ids = tuple(ids)
        self._places = {post_id: place for place, post_id in enumerate(self._ids)}
        self._pictures = pictures

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles the pictures: another process has no other way to them."""
        return type(self), (str(self.root), self._ids, self._pictures)

    def names(self) -> Collection[str]:
        """The ids."""
        return self._ids

    def has(self, name: str) -> bool:
        """Whether there is a picture of that post."""
        return name in self._places

    def size(self, name: str) -> int:
        """Bytes of one picture's file."""
        return len(self.read(name))

    def stamp(self, name: str) -> tuple[int, ...]:  # noqa: ARG002
        """The present, as nothing tells whether a picture in memory was changed."""
        return 0, time.time_ns()

    def read(self, name: str, most: int = PICTURE_BYTES) -> bytes:
        """The bytes of one picture's file; pixels become a PNG, which loses none."""
        if name not in self._places:
            raise DataError("There is no picture of this post", where=self.where(name))
        data = picture_bytes(self._pictures[self._places[name]], self.where(name))
        return require_picture_size(data, most, self.where(name))

    def where(self, name: str) -> str:
        """How a message names one picture."""
        return f"picture of post {name} of {self.root}"


def picture_bytes(picture: object, where: str) -> bytes:
    """A picture in any form as the bytes of a file.

    Raises:
        DataError: It has none of the forms, or its file cannot be read.
    """
    if isinstance(picture, dict):  # as Hugging Face has them
        picture = picture.get("bytes") or picture.get("path")
    if isinstance(picture, str | Path):
        try:
            return Path(picture).expanduser().read_bytes()
        except (OSError, ValueError) as error:
            raise DataError("A file cannot be read", where=picture, found=error) from error
    if isinstance(picture, bytes | bytearray | memoryview):
        return bytes(picture)
    if isinstance(picture, np.ndarray):
        picture = _from_array(picture, where)
    if isinstance(picture, Image.Image):
        file = io.BytesIO()
        lossless = picture if picture.mode in _PNG_MODES else picture.convert("RGB")
        try:
            lossless.save(file, "PNG", compress_level=1)
        except (OSError, ValueError) as error:
            raise DataError("A picture cannot be read", where=where, found=error) from error
        return file.getvalue()
    raise DataError(
        "This is no picture",
        where=where,
        expected="a path, a PIL.Image, an array [H, W, 3] of bytes, or the bytes of a file",
        found=type(picture).__name__,
    )


def _from_array(pixels: NDArray[Any], where: str) -> Image.Image:
    shaped = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))
    if not shaped or pixels.dtype != np.uint8 or not pixels.size:
        raise DataError(
            "This array is no picture",
            where=where,
            expected="uint8 values of shape [H, W], [H, W, 3] or [H, W, 4]",
            found=f"{pixels.dtype} of shape {list(pixels.shape)}",
        )
    return Image.fromarray(pixels)


def posts_in_memory(
    texts: Sequence[Any] | None,
    images: Sequence[Any] | None,
    labels: Sequence[Any] | None = None,
    ids: Sequence[Any] | None = None,
    *,
    name: str = UNNAMED,
) -> PostSet:
    """Posts from lists, which have one entry a post each; cells are read as those of a table.

    Args:
        texts: The texts; ``None`` for none, as a whole or in an entry.
        images: The pictures, as of ``MemoryStorage``; ``None`` for none.
        labels: Names of the classes; ``None`` for unknown ones.
        ids: The ids; ``1``, ``2``, … by default.
        name: The data set's name in caches and records.

    Raises:
        ConfigError: The lists are no lists, or of different lengths.
        DataError: There is no post, ids are repeated, or an entry is of another type.
    """
    columns = {"texts": texts, "images": images, "labels": labels, "ids": ids}
    given = {key: column for key, column in columns.items() if column is not None}
    lengths = {key: _length(key, column) for key, column in given.items()}
    if len(set(lengths.values())) != 1 or not {"texts", "images"} & given.keys():
        raise ConfigError(
            "These lists are no posts",
            where=name,
            expected="texts, images or both, with one entry a post",
            found=", ".join(f"{count:,} {key}" for key, count in lengths.items()) or "no list",
        )
    count = lengths["texts" if texts is not None else "images"]
    return assemble(name, range(1, count + 1) if ids is None else ids, texts, images, labels)


def assemble(
    name: str,
    ids: Sequence[Any],
    texts: Sequence[Any] | None,
    images: Sequence[Any] | None,
    labels: Sequence[Any] | None,
) -> PostSet:
    """Posts from columns of one length; arguments as of ``posts_in_memory``.

    Raises:
        ConfigError: The name cannot be used.
        DataError: There is no post, ids are repeated, or an entry is of another type.
    """
    checked_name(name, where="name")
    if not len(ids):
        raise DataError("There are no posts", where=name, found="no rows")
    nothing = [None] * len(ids)
    pictured = nothing if images is None else [not is_absent(picture) for picture in images]
    keys, posts = _posts(
        name,
        ids,
        nothing if texts is None else texts,
        nothing if labels is None else labels,
        pictured,
    )
    storage = MemoryStorage(name, keys, () if images is None else images)
    return PostSet(name, classes_of([post.label for post in posts], name), posts, storage)


def _posts(
    name: str,
    ids: Iterable[Any],
    texts: Iterable[Any],
    labels: Iterable[Any],
    pictured: Iterable[object],
) -> tuple[list[str], tuple[Post, ...]]:
    """The ids and the posts of some rows.

    Raises:
        DataError: Rows cannot be used; names them.
    """
    faults, keys, posts = RowFaults(name, "row"), [], []
    rows = zip(ids, texts, labels, pictured, strict=True)
    for number, (key, text, label, has_picture) in enumerate(rows, start=1):
        try:
            post_id = (_cell(key, Kind.ID) or "").strip()
            words, named = _cell(text, Kind.TEXT), (_cell(label, Kind.LABEL) or "").strip() or None
        except CellError as error:
            faults.add(number, str(error))
            continue
        words = None if words is None else words.replace("\0", "").strip()
        fault = text_fault(words)
        if named is not None and CONTROL.search(named):
            fault = fault or f"the label {named!r} holds a control character"
        if fault:
            faults.add(number, fault)
        elif faults.new_id(number, post_id):
            keys.append(post_id)
            posts.append(Post(post_id, words, post_id if has_picture else None, named))
    faults.raise_any("mend these rows, or leave them out")
    return keys, tuple(posts)


def _cell(value: object, kind: Kind) -> str | None:
    """The text of a cell; NumPy's scalars are those of Python.

    Raises:
        CellError: The value has no plain text.
    """
    if is_absent(value):
        return None
    return plain_cell(value.item() if isinstance(value, np.generic) else value, kind)


def is_absent(value: object) -> bool:
    """Whether a cell is empty: ``None``, NaN, pandas' ``NA`` and ``NaT``, a picture of nothing."""
    if isinstance(value, dict):  # a picture as Hugging Face has it
        return not (value.get("bytes") or value.get("path"))
    if value is None or (isinstance(value, float) and value != value):  # NaN
        return True
    return type(value).__name__ in ("NAType", "NaTType")


def _length(key: str, column: object) -> int:
    """How many entries a list has.

    Raises:
        ConfigError: It is no list; a single text would count as one of its letters.
    """
    if isinstance(column, str | bytes | Path | Image.Image) or not hasattr(column, "__len__"):
        raise ConfigError(
            f"{key} cannot be used",
            expected="a list with one entry a post",
            found=repr(column)[:200],
            hint=f"{key}=[...]",
        )
    return len(column)
