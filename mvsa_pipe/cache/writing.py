"""Writes one feature file, whole or not at all.

Everything is stored contiguously, so that rows are plain ranges of bytes: they are written by
``pwrite`` at the data set's offset, several times faster than through HDF5's own selections, while
any HDF5 library can read the file.
"""

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from mvsa_pipe.cache.layout import FORMAT, PARTS, Header, Rows
from mvsa_pipe.durable import replacing

# From this version on, HDF5's own structures carry checksums too.
_LIBRARY_BOUNDS = ("v110", "v110")


def write_feature_file(path: Path, header: Header, blocks: Iterable[Rows]) -> None:
    """Writes a feature file whole or not at all; ``blocks`` come in the order of ``header.ids``.

    Memory holds one block at a time. Space is reserved before the first byte is written, so that
    a full disk is found at once.

    Raises:
        StorageError: The disk refuses.
    """
    with replacing(path) as temporary:
        places = _lay_out(temporary, header)
        checksums = np.zeros((len(header.ids), len(PARTS)), np.uint64)
        with temporary.open("r+b") as file:
            _reserve(file.fileno(), temporary.stat().st_size)
            row = token = 0
            for block in blocks:
                count, held = len(block.ids), len(block.hidden)
                _write_at(file.fileno(), places["pooled"], row, block.pooled)
                _write_at(file.fileno(), places["hidden"], token, block.hidden)
                checksums[row : row + count] = block.checksums()
                row, token = row + count, token + held
            if row != len(header.ids) or token != header.hidden_shape[0]:
                raise AssertionError("blocks do not add up to the header")
            _write_at(file.fileno(), places["checksums"], 0, checksums)
        with h5py.File(temporary, "r+", libver=_LIBRARY_BOUNDS) as file:
            file.attrs["seal"] = header.seal(checksums)


def _lay_out(path: Path, header: Header) -> dict[str, int]:
    """Makes the file's structure; returns each data set's offset in bytes."""
    dtype = header.fingerprint.dtype.value
    with h5py.File(path, "w", libver=_LIBRARY_BOUNDS) as file:
        file.attrs["format"] = FORMAT
        file.attrs["schema"] = header.fingerprint.schema
        file.attrs["dataset"] = header.dataset
        file.attrs["fingerprint"] = header.fingerprint.to_json()
        file.attrs["notes"] = json.dumps(header.notes, ensure_ascii=False)
        file.attrs["seal"] = "0" * 32  # replaced by one of the same length, in place
        file["ids"] = _fixed_strings(header.ids)
        file["digests"] = _fixed_strings(header.digests)
        if header.offsets is not None:
            file["offsets"] = header.offsets
        places = {}
        shapes = {"pooled": (len(header.ids), header.width), "hidden": header.hidden_shape}
        for name, shape in shapes.items():
            places[name] = _allocate(file, name, shape, dtype)
        places["checksums"] = _allocate(file, "checksums", (len(header.ids), len(PARTS)), "u8")
    return places


def _allocate(file: h5py.File, name: str, shape: tuple[int, ...], dtype: str) -> int:
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    plan.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    return int(file.create_dataset(name, shape, dtype, dcpl=plan).id.get_offset() or 0)


def _fixed_strings(values: Sequence[str]) -> NDArray[np.bytes_]:
    encoded = [value.encode() for value in values]
    return np.array(encoded, dtype=f"S{max([1, *map(len, encoded)])}")


def _reserve(descriptor: int, size: int) -> None:
    if hasattr(os, "posix_fallocate") and size:
        os.posix_fallocate(descriptor, 0, size)


def _write_at(descriptor: int, place: int, row: int, values: NDArray[Any]) -> None:
    if not values.size:
        return
    raw = np.ascontiguousarray(values).data.cast("B")
    position = place + row * (len(raw) // len(values))
    while raw:
        written = os.pwrite(descriptor, raw, position)
        raw, position = raw[written:], position + written
