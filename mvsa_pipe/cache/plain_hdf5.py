"""Reads data sets and attributes that are stored plainly in their file, and refuses all others.

HDF5 can describe bytes that are not in the file: fill values, filters that expand, links and raw
data in other files. A feature file needs none of these, so reading a small file never takes more
memory than the file has bytes.
"""

import os
from collections.abc import Sequence
from io import FileIO
from math import prod
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

# Most bytes of a JSON text, an attribute, and one text of a list: far more than any cache has.
_MOST_JSON_BYTES = 2**26
_MOST_ATTRIBUTE_BYTES = 2**16
_MOST_TEXT_BYTES = 2**14
# Most bytes of a list of texts: ten million ids of 50 bytes.
_MOST_LIST_BYTES = 2**29


class PlainFile:
    """An HDF5 file; only plainly stored objects are read.

    Args:
        raw: The file, opened for reading.
        file: The same file, opened by h5py.
    """

    def __init__(self, raw: FileIO, file: h5py.File) -> None:
        self._size = os.fstat(raw.fileno()).st_size
        self._file = file

    def __contains__(self, name: str) -> bool:
        return self._file.get(name, getlink=True) is not None

    def has_attribute(self, name: str) -> bool:
        """Whether the root has an attribute."""
        return bool(h5py.h5a.exists(self._file.id, name.encode()))

    def attribute(self, name: str) -> Any:  # noqa: ANN401  # text as bytes, or a number
        """A number or bytes in an attribute of the root.

        Raises:
            ValueError: It is missing, or larger than in any cache.
        """
        if not self.has_attribute(name):
            raise ValueError(f"there is no attribute {name!r}")
        attribute = h5py.h5a.open(self._file.id, name.encode())
        kind = attribute.dtype
        if attribute.shape != () or kind.kind not in "Siu":
            raise ValueError(f"attribute {name!r} is not a plain value")
        if attribute.get_storage_size() > _MOST_ATTRIBUTE_BYTES:
            raise ValueError(f"attribute {name!r} has {attribute.get_storage_size():,} bytes")
        return self._file.attrs[name]

    def data_set(self, name: str, kinds: str) -> h5py.Dataset:
        """A data set that is stored contiguously in the file; its values are not read.

        Args:
            name: Its path.
            kinds: The allowed types, as NumPy's kind letters.

        Raises:
            ValueError: It is missing, or not stored plainly in this file.
        """
        self._require_own(name)
        found = self._file[name]
        if not isinstance(found, h5py.Dataset):
            raise ValueError(f"/{name} is not a data set")  # the file is wrong
        plan = found.id.get_create_plist()
        if plan.get_layout() != h5py.h5d.CONTIGUOUS or plan.get_nfilters():
            raise ValueError(f"/{name} is not stored contiguously without filters")
        if plan.get_external_count():
            raise ValueError(f"/{name} keeps its data in another file")
        dtype = found.dtype
        if dtype.kind not in kinds or found.shape is None:
            raise ValueError(f"/{name} is of type {dtype}")
        claimed = prod(found.shape) * dtype.itemsize
        place = found.id.get_offset()
        if claimed and (place is None or place + claimed > self._size):
            raise ValueError(f"/{name} claims {claimed:,} bytes that are not in the file")
        if found.id.get_storage_size() != claimed:
            raise ValueError(f"/{name} does not have the bytes of its shape")
        return found

    def _require_own(self, name: str) -> None:
        """Refuses links to other places, in every step of a path."""
        steps = name.split("/")
        for count in range(1, len(steps) + 1):
            step = "/".join(steps[:count])
            link = self._file.get(step, getlink=True)
            if link is None:
                raise ValueError(f"there is no /{step}")
            if not isinstance(link, h5py.HardLink):
                raise ValueError(f"/{step} is a link to elsewhere")

    def json_text(self, name: str) -> str:
        """One text.

        Raises:
            ValueError: As ``data_set``, or it is longer than in any cache.
        """
        found = self.data_set(name, "S")
        if found.shape != () or found.dtype.itemsize > _MOST_JSON_BYTES:
            raise ValueError(f"/{name} has shape {found.shape} of {found.dtype.itemsize:,} bytes")
        return bytes(found[()]).decode()

    def texts(self, name: str, shape: Sequence[int] | None = None) -> tuple[str, ...]:
        """A list of texts.

        Raises:
            ValueError: As ``data_set``, or it is longer than in any cache, or has another shape.
        """
        found = self.data_set(name, "S")
        self._require_shape(found, name, shape)
        long = found.dtype.itemsize > _MOST_TEXT_BYTES or found.nbytes > _MOST_LIST_BYTES
        if found.ndim != 1 or long:
            raise ValueError(
                f"/{name} has shape {found.shape} of texts of {found.dtype.itemsize:,} bytes"
            )
        values = found[:].tolist()
        # Decoded together, as there may be a million; padding with NUL was removed from each.
        texts = b"\0".join(values).decode().split("\0")
        return tuple(texts) if len(texts) == len(values) else tuple(v.decode() for v in values)

    def numbers(self, name: str, dtype: str, shape: Sequence[int]) -> NDArray[Any]:
        """An array of a known type and shape.

        Raises:
            ValueError: As ``data_set``, or it is of another type or shape.
        """
        return np.asarray(self.array(name, dtype, shape)[()])

    def array(self, name: str, dtype: str, shape: Sequence[int] | None = None) -> h5py.Dataset:
        """A data set of a known type; its values are not read.

        Raises:
            ValueError: As ``data_set``, or it is of another type or shape.
        """
        wanted = np.dtype(dtype).newbyteorder("<")
        found = self.data_set(name, wanted.kind)
        if found.dtype != wanted:
            raise ValueError(f"/{name} is of type {found.dtype}")
        self._require_shape(found, name, shape)
        return found

    @staticmethod
    def _require_shape(found: h5py.Dataset, name: str, shape: Sequence[int] | None) -> None:
        if shape is not None and found.shape != tuple(shape):
            raise ValueError(f"/{name} has shape {found.shape} instead of {tuple(shape)}")
