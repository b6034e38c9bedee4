"""Writes parts of a cache, which are small feature files, and finds them again."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from mvsa_pipe.cache.content import Header, Refusal, Rows, bounds_of
from mvsa_pipe.cache.file_writing import write_feature_file
from mvsa_pipe.cache.fingerprint import Fingerprint
from mvsa_pipe.cache.finite import require_finite_rows
from mvsa_pipe.cache.manifest import CachePart
from mvsa_pipe.cache.reading import FeatureFile
from mvsa_pipe.errors import CacheError
from mvsa_pipe.modality import Modality


def write_part(
    path: Path,
    dataset: str,
    fingerprint: Fingerprint,
    blocks: Sequence[Rows],
    quarantine: Sequence[Refusal] = (),
) -> CachePart:
    """Writes one part of a cache, whole or not at all; the cache's writer adopts it.

    Its rows are given in blocks, such as batches, which need not be copied together.

    Raises:
        CacheError: A number is not finite in the stored type; names the posts.
        StorageError: Writing fails.
    """
    for block in blocks:
        require_finite_rows(block, fingerprint.backbone, fingerprint.dtype, path)
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
    return CachePart(path.name, len(header.ids), path.stat().st_size, seal)


def whole_parts(folder: Path, dataset: str, fingerprint: Fingerprint) -> list[CachePart]:
    """The parts of a cache whose list was lost: all files whose checksums are right."""
    found = []
    for path in sorted(folder.glob("part-*.h5")):
        with suppress(CacheError):  # damaged, cut short, or another file
            file = FeatureFile(path)
            own = file.header.dataset == dataset and file.header.fingerprint == fingerprint
            if own and not file.damaged_posts():
                found.append(
                    CachePart(path.name, len(file.header.ids), path.stat().st_size, file.seal)
                )
    return found
