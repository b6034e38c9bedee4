"""Feature caches in small, and everything that one holds as plain values."""

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mvsa_pipe.cache.content import Rows
from mvsa_pipe.cache.fingerprint import Fingerprint, StoredDtype
from mvsa_pipe.cache.folder import CacheFolder
from mvsa_pipe.cache.reading import FeatureFile
from mvsa_pipe.cache.writer import open_writer
from mvsa_pipe.errors import CacheError
from mvsa_pipe.layers import Keep
from mvsa_pipe.modality import Modality

WIDTH, TOKENS = 4, 3
Values = tuple[Any, Any]


def fingerprint(modality: Modality = Modality.TEXT, **changes: Any) -> Fingerprint:
    plain = Fingerprint(
        backbone="small",
        modality=modality,
        weights="0123" * 8,
        preprocessing={"max_tokens": 128, "tokenizer": "words"},
        layers="last",
        pooling="mean",
        precision="float32",
        dtype=StoredDtype.FLOAT16,
    )
    return replace(plain, **changes)


def rows(
    ids: Sequence[str],
    modality: Modality = Modality.TEXT,
    *,
    version: str = "first",
    dtype: str = "float16",
    layers: int = 1,
    keep: Keep = Keep.ALL,
) -> Rows:
    """Features that follow from each post's id and version alone."""
    state = (layers, WIDTH) if layers > 1 else (WIDTH,)
    draws = [np.random.default_rng(list(f"{i}/{version}".encode())) for i in ids]
    pooled = [draw.standard_normal(WIDTH) for draw in draws]
    lengths = [int(draw.integers(1, 6)) if modality is Modality.TEXT else TOKENS for draw in draws]
    hidden = [draw.standard_normal((n, *state)) for draw, n in zip(draws, lengths, strict=True)]
    text, digests = modality is Modality.TEXT, [f"{version}-{i}" for i in ids]
    if keep is Keep.POOLED:
        return Rows.of_vectors(list(ids), digests, np.array(pooled, dtype), modality)
    return Rows(
        ids=list(ids),
        digests=digests,
        pooled=np.array(pooled, dtype),
        hidden=(np.concatenate(hidden) if text else np.stack(hidden)).astype(dtype),
        lengths=np.array(lengths, np.int64) if text else None,
    )


def write_cache(
    root: Path, ids: Sequence[str], modality: Modality = Modality.TEXT, **notes: Any
) -> FeatureFile:
    with open_writer(CacheFolder(root), "set", fingerprint(modality)) as writer:
        writer.commit(rows(ids, modality))
        return writer.finish(ids, notes)


def features(file: FeatureFile) -> dict[str, tuple[str, bytes, bytes]]:
    """Digest, pooled vector and hidden states of every post, by id."""
    header = file.header
    all_rows = np.arange(len(header.ids))
    pooled = file.pooled(all_rows)
    hidden, bounds = file.hidden(all_rows)
    return {
        post_id: (
            header.digests[k],
            pooled[k].tobytes(),
            hidden[bounds[k] : bounds[k + 1]].tobytes(),
        )
        for k, post_id in enumerate(header.ids)
    }


def expected(parts: Rows) -> dict[str, tuple[str, bytes, bytes]]:
    """What ``features`` gives for a cache that holds just these rows."""
    bounds = parts.bounds()
    return {
        post_id: (
            parts.digests[k],
            parts.pooled[k].tobytes(),
            parts.hidden[bounds[k] : bounds[k + 1]].tobytes(),
        )
        for k, post_id in enumerate(parts.ids)
    }


def whole(file: FeatureFile) -> tuple[object, ...]:
    """Everything that a feature file says."""
    header = file.header
    offsets = None if header.offsets is None else header.offsets.tolist()
    facts = (header.dataset, header.fingerprint, header.ids, header.digests, header.notes, offsets)
    return (*facts, features(file))


def assert_flips_are_found(path: Path, flips: int, seed: str) -> None:
    """Each of some flipped bits either raises, or is in bytes that change nothing that is read."""
    data, truth = path.read_bytes(), whole(FeatureFile(path))
    draw = random.Random(seed)
    for _ in range(flips):
        flipped = bytearray(data)
        flipped[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        path.write_bytes(flipped)
        try:
            assert whole(FeatureFile(path)) == truth
        except CacheError:
            continue
