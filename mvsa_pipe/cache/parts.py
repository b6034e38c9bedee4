"""Parts of a cache, each a small feature file of its own: written, and found again."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mvsa_pipe.cache.fingerprint import Fingerprint, StoredDtype
from mvsa_pipe.cache.layout import Header, Refusal, Rows, bounds_of
from mvsa_pipe.cache.manifest import Part
from mvsa_pipe.cache.reading import FeatureFile
from mvsa_pipe.cache.writing import write_feature_file
from mvsa_pipe.errors import CacheError
from mvsa_pipe.modality import Modality

# Numbers tested for being finite at a time: a piece stays in the processor's cache.
_BLOCK = 2**18


def write_part(
    path: Path,
    dataset: str,
    fingerprint: Fingerprint,
    blocks: Sequence[Rows],
    quarantine: Sequence[Refusal] = (),
) -> Part:
    """Writes one part of a cache, whole or not at all; whoever holds the cache may adopt it.

    Its rows come in blocks, such as batches, so that memory need not hold them a second time.

    Raises:
        CacheError: A number is not finite in the stored type.
        StorageError: The disk refuses.
    """
    for block in blocks:
        _refuse_overflow(block, fingerprint, path)
    lengths = [block.lengths for block in blocks if block.lengths is not None]
    image = fingerprint.modality is Modality.IMAGE
    header = Header(
        dataset=dataset,
        fingerprint=fingerprint,
        ids=tuple(post_id for block in blocks for post_id in block.ids),
        digests=tuple(digest for block in blocks for digest in block.digests),
        offsets=bounds_of(np.concatenate(lengths)) if lengths else None,
        width=blocks[0].pooled.shape[1],
        tokens=blocks[0].hidden.shape[1] if image else 0,
        layers=blocks[0].layers,
        quarantine=tuple(quarantine),
    )
    seal = write_feature_file(path, header, blocks)
    return Part(path.name, len(header.ids), path.stat().st_size, seal)


def whole_parts(folder: Path, dataset: str, fingerprint: Fingerprint) -> list[Part]:
    """The parts of a cache whose list was lost: every file that is whole, by its own checksums."""
    found = []
    for path in sorted(folder.glob("part-*.h5")):
        with suppress(CacheError):  # a file that is damaged, cut short or none of ours is no part
            file = FeatureFile(path)
            own = file.header.dataset == dataset and file.header.fingerprint == fingerprint
            if own and not file.damaged_posts():
                found.append(Part(path.name, len(file.header.ids), path.stat().st_size, file.seal))
    return found


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
