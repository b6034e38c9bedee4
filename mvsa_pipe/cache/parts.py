"""Writes one part of a cache: a small feature file of its own."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mvsa_pipe.cache.fingerprint import Fingerprint, StoredDtype
from mvsa_pipe.cache.layout import Header, Refusal, Rows
from mvsa_pipe.cache.manifest import Part
from mvsa_pipe.cache.writing import write_feature_file
from mvsa_pipe.errors import CacheError
from mvsa_pipe.modality import Modality

# Numbers tested for being finite at a time: a piece stays in the processor's cache.
_BLOCK = 2**18


def write_part(
    path: Path,
    dataset: str,
    fingerprint: Fingerprint,
    rows: Rows,
    quarantine: Sequence[Refusal] = (),
) -> Part:
    """Writes one part of a cache, whole or not at all; whoever holds the cache may adopt it.

    Raises:
        CacheError: A number is not finite in the stored type.
        StorageError: The disk refuses.
    """
    _refuse_overflow(rows, fingerprint, path)
    image = fingerprint.modality is Modality.IMAGE
    header = Header(
        dataset=dataset,
        fingerprint=fingerprint,
        ids=tuple(rows.ids),
        digests=tuple(rows.digests),
        offsets=None if rows.lengths is None else rows.bounds(),
        width=rows.pooled.shape[1],
        tokens=rows.hidden.shape[1] if image else 0,
        layers=rows.layers,
        quarantine=tuple(quarantine),
    )
    seal = write_feature_file(path, header, [rows])
    return Part(path.name, len(rows.ids), path.stat().st_size, seal)


def _refuse_overflow(rows: Rows, fingerprint: Fingerprint, path: Path) -> None:
    for name, values in (("pooled", rows.pooled), ("hidden", rows.hidden)):
        if not _finite(values):
            raise CacheError(
                f"A {name} feature of {fingerprint.backbone} is not finite in {fingerprint.dtype}",
                where=path,
                found=f"among {len(rows.ids)} posts beginning with {rows.ids[0]}",
                hint="store wider numbers: --dtype float32"
                if fingerprint.dtype is StoredDtype.FLOAT16
                else "check the weights: they give no numbers for these posts",
            )


def _finite(values: NDArray[np.floating[Any]]) -> bool:
    """Whether all numbers are finite, from their exponents alone.

    numpy's own test of float16 is slower than the disk.
    """
    bits = values.reshape(-1).view(f"u{values.itemsize}")
    exponent = {2: 0x7C00, 4: 0x7F800000}[values.itemsize]
    masked = np.empty(min(_BLOCK, len(bits)), bits.dtype)
    for start in range(0, len(bits), _BLOCK):
        piece = bits[start : start + _BLOCK]
        if np.bitwise_and(piece, exponent, out=masked[: len(piece)]).max() == exponent:
            return False
    return True
