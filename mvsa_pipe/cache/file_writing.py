"""Writes one feature file, completely or not at all.

Everything is stored contiguously, so that rows are ranges of bytes: ``pwrite`` at the data set's
offset is several times faster than HDF5's own selections. Any HDF5 library can read the file.
"""

import errno
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mvsa_pipe.cache.content import PARTS, Header, Rows, parts_folder
from mvsa_pipe.cache.hdf5_skeleton import SparseFileBuffer, lay_out
from mvsa_pipe.cache.structure_digest import STRUCTURE_LENGTH, digest_beside
from mvsa_pipe.durable import replacing


def write_feature_file(path: Path, header: Header, blocks: Iterable[Rows]) -> str:
    """Writes a feature file completely or not at all; returns its seal.

    ``blocks`` are in the order of ``header.ids``; one is in memory at a time. Space is reserved
    before the first byte is written, so that a full disk is found at once.

    Raises:
        StorageError: Writing fails.
    """
    image, places = lay_out(header)
    checksums = np.zeros((len(header.ids), len(PARTS)), np.uint64)
    with replacing(path) as temporary, temporary.open("w+b", buffering=0) as file:
        _reserve(file.fileno(), image.size)
        _write_image(file.fileno(), image)
        row = token = 0
        for block in blocks:
            count, held = len(block.ids), len(block.hidden)
            _write_rows(file.fileno(), places["pooled"], row, block.pooled)
            _write_rows(file.fileno(), places["hidden"], token, block.hidden)
            checksums[row : row + count] = block.checksums()
            row, token = row + count, token + held
        if row != len(header.ids) or token != header.hidden_shape[0]:
            raise AssertionError("blocks do not add up to the header")
        return _seal(file.fileno(), places, header, checksums)


def write_referring_file(path: Path, header: Header, checksums: NDArray[np.uint64]) -> str:
    """Writes a feature file whose rows stay in parts; returns its seal.

    Raises:
        StorageError: Writing fails.
    """
    image, places = lay_out(header, parts_folder(path).name)
    with replacing(path) as temporary, temporary.open("w+b", buffering=0) as file:
        _reserve(file.fileno(), image.size)
        _write_image(file.fileno(), image)
        return _seal(file.fileno(), places, header, checksums)


def _write_image(descriptor: int, image: SparseFileBuffer) -> None:
    for position, page in image.written():
        _write_at(descriptor, position, page)


def _seal(
    descriptor: int, places: dict[str, int], header: Header, checksums: NDArray[np.uint64]
) -> str:
    """Writes the checksums, the seal, and last the digest of the structure."""
    seal = header.seal(checksums)
    _write_rows(descriptor, places["checksums"], 0, checksums)
    _write_at(descriptor, places["seal"], memoryview(seal.encode()))
    holes = [(places["structure"], STRUCTURE_LENGTH)]
    if not header.segments:
        pooled = len(header.ids) * header.width * np.dtype(header.fingerprint.dtype.value).itemsize
        holes += [(places["pooled"], pooled), (places["hidden"], header.payload_bytes - pooled)]
    digest = digest_beside(descriptor, holes)
    _write_at(descriptor, places["structure"], memoryview(digest.encode()))
    return seal


def _reserve(descriptor: int, size: int) -> None:
    os.ftruncate(descriptor, size)
    if not hasattr(os, "posix_fallocate"):  # macOS
        return
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        # Some file systems cannot reserve space; a full disk is then found while writing.
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
            raise


def _write_rows(descriptor: int, place: int, row: int, values: NDArray[Any]) -> None:
    if values.size:
        raw = np.ascontiguousarray(values).data.cast("B")
        _write_at(descriptor, place + row * (len(raw) // len(values)), raw)


def _write_at(descriptor: int, position: int, raw: memoryview) -> None:
    while raw:
        written = os.pwrite(descriptor, raw, position)
        raw, position = raw[written:], position + written
