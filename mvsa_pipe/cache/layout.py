"""What one feature file holds: a header, and rows of features with their checksums."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from mvsa_pipe.cache.fingerprint import Fingerprint

FORMAT = "mvsa-pipe features"
PARTS = ("pooled", "hidden")  # columns of /checksums
QUARANTINE = ("id", "digest", "reason")  # columns of /quarantine
SEAL_LENGTH = 32

# What one part holds in memory until it is written.
PART_BYTES = 32 * 2**20


@dataclass(frozen=True)
class Rows:
    """Features of some posts, as arrays.

    Attributes:
        ids: Post ids.
        digests: Digest of each post's content.
        pooled: ``[N, D]``.
        hidden: Text: ``[ΣT, D]``, all posts' tokens end to end; image: ``[N, P, D]``; of several
            layers ``[ΣT, L, D]`` or ``[N, P, L, D]``.
        lengths: Text: tokens of each post ``[N]``; image: ``None``.
    """

    ids: Sequence[str]
    digests: Sequence[str]
    pooled: NDArray[np.floating[Any]]
    hidden: NDArray[np.floating[Any]]
    lengths: NDArray[np.int64] | None = None

    def checksums(self) -> NDArray[np.uint64]:
        """Two checksums a post: of its pooled vector and of its hidden states, ``[N, 2]``."""
        bounds = self.bounds()
        out = np.empty((len(self.ids), 2), np.uint64)
        for i in range(len(self.ids)):
            out[i, 0] = xxhash.xxh3_64_intdigest(self.pooled[i].data)
            out[i, 1] = xxhash.xxh3_64_intdigest(self.hidden[bounds[i] : bounds[i + 1]].data)
        return out

    @property
    def layers(self) -> int:
        """How many layers' hidden states each token has."""
        plain = 3 if self.lengths is None else 2
        return int(self.hidden.shape[-2]) if self.hidden.ndim > plain else 1

    def bounds(self) -> NDArray[np.int64]:
        """Where each post's hidden rows begin and end in ``hidden``: ``[N + 1]``."""
        return self.places() if self.lengths is None else bounds_of(self.lengths)

    def places(self) -> NDArray[np.int64]:
        """Where each post's row begins and ends in ``pooled``: ``[N + 1]``."""
        return np.arange(len(self.ids) + 1, dtype=np.int64)

    @classmethod
    def joined(cls, blocks: Sequence["Rows"]) -> "Rows":
        """Blocks of rows, one after the other, as one; copies them."""
        lengths = [block.lengths for block in blocks if block.lengths is not None]
        return cls(
            ids=[post_id for block in blocks for post_id in block.ids],
            digests=[digest for block in blocks for digest in block.digests],
            pooled=np.concatenate([block.pooled for block in blocks]),
            hidden=np.concatenate([block.hidden for block in blocks]),
            lengths=np.concatenate(lengths) if lengths else None,
        )


def bounds_of(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where runs of such lengths begin and end when they lie end to end: ``[N + 1]``."""
    bounds = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=bounds[1:])
    return bounds


@dataclass(frozen=True)
class Refusal:
    """A post that a backbone could not read.

    Attributes:
        id: The post.
        digest: Digest of the content that was refused; empty where there was none.
        reason: What is wrong with it.
    """

    id: str
    digest: str
    reason: str


@dataclass(frozen=True)
class Segment:
    """Some neighbouring rows of a cache that were left in a part.

    Entries count the first axis of ``hidden``: tokens of texts, posts of pictures.

    Attributes:
        name: The part's file, in the folder of the cache's parts.
        size: Its bytes.
        part_rows: All its rows.
        part_entries: All its entries.
        row: The first of the rows meant here.
        rows: How many they are.
        entry: The first of their entries.
        entries: How many those are.
        pooled: Where the part's pooled vectors begin in its file, in bytes.
        hidden: Where its hidden states begin.
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
    """Everything in a feature file but the features.

    Attributes:
        dataset: Name of the data set.
        fingerprint: What decided the values.
        ids: Post ids, in the order of the rows.
        digests: Digest of each post's content.
        offsets: Text: ``[N + 1]`` token offsets; image: ``None``.
        width: ``D``.
        tokens: ``P`` of images; 0 for text.
        layers: How many layers' hidden states each token has.
        notes: Readable facts that decide no value (device, versions, tokens cut, deviation).
        quarantine: Posts that could not be read, and why.
        segments: Where the rows lie, in their order, when they were left in parts.
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
        """``[ΣT, D]`` or ``[N, P, D]``; of several layers ``[ΣT, L, D]`` or ``[N, P, L, D]``."""
        entries = len(self.ids) if self.offsets is None else int(self.offsets[-1])
        return (entries, *self.entry_shape)

    @property
    def entry_shape(self) -> tuple[int, ...]:
        """What ``hidden`` holds of one picture, or of one text token."""
        places = (self.tokens,) if self.offsets is None else ()
        return (*places, *((self.layers,) if self.layers > 1 else ()), self.width)

    @property
    def payload_bytes(self) -> int:
        """Bytes of all features."""
        numbers = len(self.ids) * self.width + int(np.prod(self.hidden_shape, dtype=np.int64))
        return numbers * np.dtype(self.fingerprint.dtype.value).itemsize

    def seal(self, checksums: NDArray[np.uint64]) -> str:
        """Checksum over everything but the features, which have their own."""
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
    """Where the parts of a cache lie: all of them while its extraction has not ended."""
    return path.with_suffix(PARTS_SUFFIX)
