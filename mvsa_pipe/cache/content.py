"""Content of a feature file: a header, and rows of features with checksums."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from mvsa_pipe.cache.fingerprint import Fingerprint
from mvsa_pipe.modality import Modality

FORMAT = "mvsa-pipe features"
PARTS = ("pooled", "hidden")  # columns of /checksums
QUARANTINE = ("id", "digest", "reason")  # columns of /quarantine
SEAL_LENGTH = 32
SOURCE = "source"  # the entry of the notes with the path of the posts

# Bytes of a part, which is in memory until it is written.
PART_BYTES = 32 * 2**20


@dataclass(frozen=True)
class Rows:
    """Features of some posts, as arrays.

    Attributes:
        ids: Post ids.
        digests: Digest of each post's content.
        pooled: ``[N, D]``.
        hidden: Text: ``[ΣT, D]``, the tokens of all posts concatenated; image: ``[N, P, D]``; with
            several layers ``[ΣT, L, D]`` or ``[N, P, L, D]``; where only pooled vectors are kept
            ``[0, D]`` or ``[N, 0, D]``.
        lengths: Text: tokens of each post ``[N]``; image: ``None``.
    """

    ids: Sequence[str]
    digests: Sequence[str]
    pooled: NDArray[np.floating[Any]]
    hidden: NDArray[np.floating[Any]]
    lengths: NDArray[np.int64] | None = None

    def checksums(self) -> NDArray[np.uint64]:
        """Checksums of each post's pooled vector and hidden states, ``[N, 2]``."""
        bounds = self.bounds()
        out = np.empty((len(self.ids), 2), np.uint64)
        for i in range(len(self.ids)):
            out[i, 0] = xxhash.xxh3_64_intdigest(self.pooled[i].data)
            out[i, 1] = xxhash.xxh3_64_intdigest(self.hidden[bounds[i] : bounds[i + 1]].data)
        return out

    @property
    def layers(self) -> int:
        """Number of layers of the hidden states."""
        plain = 3 if self.lengths is None else 2
        return int(self.hidden.shape[-2]) if self.hidden.ndim > plain else 1

    def bounds(self) -> NDArray[np.int64]:
        """Bounds of each post's entries in ``hidden``: ``[N + 1]``."""
        return self.places() if self.lengths is None else bounds_of(self.lengths)

    def places(self) -> NDArray[np.int64]:
        """Bounds of each post's row in ``pooled``: ``[N + 1]``."""
        return np.arange(len(self.ids) + 1, dtype=np.int64)

    @classmethod
    def of_vectors(
        cls,
        ids: Sequence[str],
        digests: Sequence[str],
        pooled: NDArray[np.floating[Any]],
        modality: Modality,
    ) -> "Rows":
        """Features of which only pooled vectors are kept."""
        if modality is Modality.TEXT:
            none = np.empty((0, pooled.shape[1]), pooled.dtype)
            return cls(ids, digests, pooled, none, np.zeros(len(ids), np.int64))
        return cls(ids, digests, pooled, np.empty((len(ids), 0, pooled.shape[1]), pooled.dtype))

    @classmethod
    def joined(cls, blocks: Sequence["Rows"]) -> "Rows":
        """Concatenates blocks of rows; copies them."""
        lengths = [block.lengths for block in blocks if block.lengths is not None]
        return cls(
            ids=[post_id for block in blocks for post_id in block.ids],
            digests=[digest for block in blocks for digest in block.digests],
            pooled=np.concatenate([block.pooled for block in blocks]),
            hidden=np.concatenate([block.hidden for block in blocks]),
            lengths=np.concatenate(lengths) if lengths else None,
        )


def bounds_of(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Bounds of concatenated runs of these lengths: ``[N + 1]``."""
    bounds = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=bounds[1:])
    return bounds


@dataclass(frozen=True)
class Refusal:
    """A post that a backbone could not read.

    Attributes:
        id: The post.
        digest: Digest of the refused content; empty if there was none.
        reason: Why it could not be read.
    """

    id: str
    digest: str
    reason: str


@dataclass(frozen=True)
class Segment:
    """A run of adjacent rows of a cache that stay in a part.

    An entry is an index of the first axis of ``hidden``: a token of a text, or a picture.

    Attributes:
        name: Name of the part's file.
        size: Bytes of the file.
        part_rows: Number of rows of the part.
        part_entries: Number of entries of the part.
        row: First row of the run.
        rows: Number of rows of the run.
        entry: First entry of the run.
        entries: Number of entries of the run.
        pooled: Offset of the part's pooled vectors in its file, in bytes.
        hidden: Offset of its hidden states.
    """

    name: str
    size: int
    part_rows: int
    part_entries: int
    row: int
    rows: int
    entry: int
    entries: int
    pooled: int
    hidden: int


@dataclass(frozen=True)
class Header:
    """Everything in a feature file except the features.

    Attributes:
        dataset: Name of the data set.
        fingerprint: The fingerprint of the features.
        ids: Post ids, in the order of the rows.
        digests: Digest of each post's content.
        offsets: Text: ``[N + 1]`` token offsets; image: ``None``.
        width: ``D``.
        tokens: ``P`` of images; 0 for text, and where only pooled vectors are kept.
        layers: Number of layers of the hidden states.
        notes: Facts that do not affect features (device, versions, tokens cut, deviation).
        quarantine: Posts that could not be read, with reasons.
        segments: Locations of the rows, in their order, if they stay in parts.
    """

    dataset: str
    fingerprint: Fingerprint
    ids: tuple[str, ...]
    digests: tuple[str, ...]
    offsets: NDArray[np.int64] | None
    width: int
    tokens: int
    layers: int = 1
    notes: dict[str, Any] = field(default_factory=dict)
    quarantine: tuple[Refusal, ...] = ()
    segments: tuple[Segment, ...] = ()

    @property
    def content_digests(self) -> dict[str, str]:
        """Digest of each post's content by post id."""
        return dict(zip(self.ids, self.digests, strict=True))

    @property
    def refused(self) -> dict[str, Refusal]:
        """The quarantine by post id."""
        return {refusal.id: refusal for refusal in self.quarantine}

    @property
    def hidden_shape(self) -> tuple[int, ...]:
        """Shape of ``hidden``, as of ``Rows``."""
        entries = len(self.ids) if self.offsets is None else int(self.offsets[-1])
        return (entries, *self.entry_shape)

    @property
    def entry_shape(self) -> tuple[int, ...]:
        """Shape of ``hidden`` for one picture, or for one text token."""
        places = (self.tokens,) if self.offsets is None else ()
        return (*places, *((self.layers,) if self.layers > 1 else ()), self.width)

    @property
    def entry_bytes(self) -> int:
        """Bytes of ``hidden`` for one picture, or for one text token."""
        numbers = int(np.prod(self.entry_shape, dtype=np.int64))
        return numbers * np.dtype(self.fingerprint.dtype.value).itemsize

    @property
    def payload_bytes(self) -> int:
        """Bytes of all features."""
        numbers = len(self.ids) * self.width + int(np.prod(self.hidden_shape, dtype=np.int64))
        return numbers * np.dtype(self.fingerprint.dtype.value).itemsize

    def seal(self, checksums: NDArray[np.uint64]) -> str:
        """Checksum over the header and the checksums of the features."""
        seal = xxhash.xxh3_128()
        seal.update(json.dumps([self.dataset, self.fingerprint.to_json(), self.notes]).encode())
        widths = [self.width, self.tokens, *([self.layers] if self.layers > 1 else [])]
        seal.update(json.dumps([self.ids, self.digests, *widths]).encode())
        seal.update(json.dumps([list(vars(row).values()) for row in self.quarantine]).encode())
        seal.update(json.dumps([list(vars(row).values()) for row in self.segments]).encode())
        if self.offsets is not None:
            seal.update(np.ascontiguousarray(self.offsets).data)
        seal.update(np.ascontiguousarray(checksums).data)
        return seal.hexdigest()


PARTS_SUFFIX = ".parts"


def parts_folder(path: Path) -> Path:
    """The folder of a cache's parts: all rows during an extraction, later those not joined."""
    return path.with_suffix(PARTS_SUFFIX)
