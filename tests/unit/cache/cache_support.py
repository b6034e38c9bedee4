"""Small caches with values that tell posts apart."""

import zlib
from dataclasses import replace

import numpy as np

from mvsa_pipe.cache.content import Rows
from mvsa_pipe.cache.fingerprint import Fingerprint, StoredDtype
from mvsa_pipe.modality import Modality

TEXT = Fingerprint(
    backbone="tiny-text",
    modality=Modality.TEXT,
    weights="w0",
    preprocessing={"max_tokens": 16, "tokenizer": "t0"},
    layers="last",
    pooling="mean",
    precision="float32",
    dtype=StoredDtype.FLOAT16,
)
IMAGE = replace(TEXT, backbone="tiny-image", modality=Modality.IMAGE, preprocessing={"px": 8})
WIDTH, CELLS = 5, 3


def rows_of(ids, fingerprint=TEXT, salt=""):
    """Features that follow from each id alone, so that any order or resume can be checked."""
    pooled, hidden, lengths = [], [], []
    for post_id in ids:
        generator = np.random.default_rng(zlib.crc32((post_id + salt).encode()))
        pooled.append(generator.normal(size=WIDTH))
        length = 1 + int(generator.integers(6))
        shape = (length, WIDTH) if fingerprint.modality is Modality.TEXT else (CELLS, WIDTH)
        hidden.append(generator.normal(size=shape))
        lengths.append(length)
    dtype = fingerprint.dtype.value
    text = fingerprint.modality is Modality.TEXT
    return Rows(
        ids=list(ids),
        digests=[f"digest of {post_id}{salt}" for post_id in ids],
        pooled=np.array(pooled, dtype),
        hidden=(np.concatenate(hidden) if text else np.array(hidden)).astype(dtype),
        lengths=np.array(lengths, np.int64) if text else None,
    )


def values_of(file):
    """Pooled vector and hidden states of every post, by id."""
    every = np.arange(len(file.header.ids))
    pooled, (hidden, bounds) = file.pooled(every), file.hidden(every)
    return {
        post_id: (pooled[i].tobytes(), hidden[bounds[i] : bounds[i + 1]].tobytes())
        for i, post_id in enumerate(file.header.ids)
    }
