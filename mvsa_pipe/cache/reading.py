"""Reads one feature file; every row that leaves here was checked against its checksum.

Rows are ranges of bytes, read by ``preadv`` at the data set's offset: neighbours in one read, and
a file that was cut short gives a short read where a memory map would crash.
"""

import json
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from mvsa_pipe.cache.fingerprint import SCHEMA, Fingerprint
from mvsa_pipe.cache.gathering import (
    Ranges,
    Source,
    Stamp,
    damaged,
    gather,
    open_file,
    stamp_of,
)
from mvsa_pipe.cache.layout import (
    FORMAT,
    PARTS,
    QUARANTINE,
    Header,
    Refusal,
    Segment,
    bounds_of,
    parts_folder,
)
from mvsa_pipe.errors import CacheError, MvsaError, name_some
from mvsa_pipe.modality import Modality


class FeatureFile:
    """A feature file opened for reading; every row that it hands out was checked.

    Rows are found by the header that was read first; a file that an extraction has put in its
    place since is refused, not read as if it were the same.

    Args:
        path: The file.

    Attributes:
        header: Everything in it but the features.
        checksums: Of each post's pooled vector and hidden states ``[N, 2]``.
        seal: Checksum over both.
        spare_place: Where the copy of its structure begins, in bytes; ``None`` without one.
        spare_length: How many bytes it has.

    Raises:
        CacheError: It is missing, cut short, damaged, or of another schema.
        StorageError: It may not be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            found = "a folder" if path.is_dir() else "nothing"
            raise CacheError(
                "There is no cache file here", where=path, found=found, hint="mvsa cache list"
            )
        try:
            with open_file(path) as raw, h5py.File(raw, "r") as file:
                self.header, self.checksums = _read_header(file, path)
                self.seal = self.header.seal(self.checksums)
                self.spare_place = _spare_place(file)
                self.spare_length = int(file["spare"].size) if "spare" in file else 0
                self._sources = {
                    name: _sources(file, path, stamp_of(raw), self.header, name) for name in PARTS
                }
        except MvsaError:
            raise
        except Exception as error:  # damaged metadata surfaces as nearly any of them inside h5py
            raise damaged(path, error) from error

    @cached_property
    def rows(self) -> dict[str, int]:
        """The row of every post, by id."""
        return {post_id: row for row, post_id in enumerate(self.header.ids)}

    def place_of(self, name: str) -> int:
        """Where ``pooled`` or ``hidden`` begins in this file, in bytes.

        Raises:
            CacheError: The rows were left in parts.
        """
        (source,) = self._sources[name]
        return source.place

    def pooled(self, rows: NDArray[np.int64]) -> NDArray[np.floating[Any]]:
        """Pooled vectors of some rows ``[n, D]``, checked.

        Raises:
            CacheError: Bytes were changed on disk; names the posts.
        """
        return self._gather("pooled", rows, rows, np.ones_like(rows))

    def hidden(
        self, rows: NDArray[np.int64], into: NDArray[np.floating[Any]] | None = None
    ) -> tuple[NDArray[np.floating[Any]], NDArray[np.int64]]:
        """Hidden states of some rows end to end, and their bounds ``[n + 1]``, checked.

        For images the first axis counts posts, for text tokens.

        Args:
            rows: The rows.
            into: An array of the right shape and type to fill; memory that was used before is
                several times faster than fresh memory.

        Raises:
            CacheError: Bytes were changed on disk; names the posts.
        """
        offsets = self.header.offsets
        if offsets is None:
            starts, lengths = rows, np.ones_like(rows)
        else:
            starts, lengths = offsets[rows], offsets[rows + 1] - offsets[rows]
        return self._gather("hidden", rows, starts, lengths, into), bounds_of(lengths)

    def damaged_posts(
        self, rows_a_time: int = 256, within: NDArray[np.int64] | None = None
    ) -> list[str]:
        """Ids of all posts, or of those in some rows, whose bytes do not match their checksums.

        Raises:
            CacheError: A part that a row lies in is gone.
        """
        hit: set[str] = set()
        every = np.arange(len(self.header.ids)) if within is None else within
        for start in range(0, len(every), rows_a_time):
            rows = every[start : start + rows_a_time]
            for read in (self.pooled, self.hidden):
                try:
                    read(rows)
                except DamagedRowsError as error:
                    hit.update(error.posts)
        return [post_id for post_id in self.header.ids if post_id in hit]

    def _gather(
        self,
        name: str,
        rows: NDArray[np.int64],
        starts: NDArray[np.int64],
        lengths: NDArray[np.int64],
        into: NDArray[np.floating[Any]] | None = None,
    ) -> NDArray[np.floating[Any]]:
        """Reads ranges of first-axis entries end to end, neighbours in one read, all checked."""
        dtype = np.dtype(self.header.fingerprint.dtype.value)
        shape = self.header.entry_shape if name == "hidden" else (self.header.width,)
        whole = (int(lengths.sum()), *shape)
        out = np.empty(whole, dtype) if into is None else into
        if out.shape != whole or out.dtype != dtype or not out.flags.c_contiguous:
            raise ValueError(f"an array of shape {whole} and type {dtype} is needed")
        entry = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        wanted = Ranges(starts, lengths, entry, self.checksums[rows, PARTS.index(name)])
        hit = gather(self._sources[name], wanted, out.reshape(-1).view(np.uint8).data)
        if hit:
            raise DamagedRowsError(self.path, [self.header.ids[rows[place]] for place in hit])
        return out


class DamagedRowsError(CacheError):
    """Bytes of some posts were changed on disk.

    Attributes:
        posts: Their ids.
    """

    def __init__(self, path: Path, posts: list[str]) -> None:
        self.posts = posts
        super().__init__(
            "Cached features were changed on disk: their checksums no longer match",
            where=path,
            found=f"{len(posts):,} damaged posts: {name_some(posts)}",
            hint=f"mvsa cache repair {path} extracts just those again",
        )


def _read_header(file: h5py.File, path: Path) -> tuple[Header, NDArray[np.uint64]]:
    if _text(file.attrs.get("format", b"")) != FORMAT:
        raise damaged(path, "it does not say that it is a feature cache")
    # Before anything else: another schema may keep everything else elsewhere.
    schema = int(file.attrs["schema"])
    if schema != SCHEMA:
        raise CacheError(
            "This cache was written in another version of the file layout",
            where=path,
            expected=f"schema {SCHEMA}",
            found=f"schema {schema}",
            hint=f"mvsa cache remove {path}, then extract again",
        )
    fingerprint = Fingerprint.from_json(_text(file.attrs["fingerprint"]))
    image = fingerprint.modality is Modality.IMAGE
    referring = json.loads(_text(file["segments"][()])) if "segments" in file else None
    if referring is not None:
        width, tokens = referring["width"], referring["tokens"]
        layers = referring.get("layers", 1)
    else:
        shape = file["hidden"].shape
        width, tokens = int(file["pooled"].shape[1]), int(shape[1]) if image else 0
        layers = int(shape[-2]) if len(shape) > (3 if image else 2) else 1
    quarantine = zip(*(_texts(file[f"quarantine/{name}"]) for name in QUARANTINE), strict=True)
    header = Header(
        dataset=_text(file.attrs["dataset"]),
        fingerprint=fingerprint,
        ids=_texts(file["ids"]),
        digests=_texts(file["digests"]),
        offsets=None if image else file["offsets"][:],
        width=width,
        tokens=tokens,
        layers=layers,
        notes=json.loads(_text(file["notes"][()])),
        quarantine=tuple(Refusal(*row) for row in quarantine),
        segments=tuple(Segment(**row) for row in referring["runs"]) if referring else (),
    )
    checksums = file["checksums"][:]
    sealed = _text(file["seal"][0]) == header.seal(checksums)
    # Virtual data sets are never opened here: what they say lies in a heap without checksums.
    if not sealed or (referring is None and file["hidden"].shape != header.hidden_shape):
        raise damaged(path, "its header does not match its seal")
    return header, checksums


def _sources(
    file: h5py.File, path: Path, stamp: Stamp, header: Header, name: str
) -> tuple[Source, ...]:
    """Where the entries of ``pooled`` or ``hidden`` lie, in their order."""
    if not header.segments:
        return (Source(path, stamp, None, int(file[name].id.get_offset() or 0), 0),)
    vector = header.width * np.dtype(header.fingerprint.dtype.value).itemsize
    found, first = [], 0
    for segment in header.segments:
        if name == "pooled":
            place, count = segment.pooled + segment.row * vector, segment.rows
        else:
            state = vector * (header.tokens or 1) * header.layers
            place, count = segment.hidden + segment.entry * state, segment.entries
        part = parts_folder(path) / segment.name
        found.append(Source(part, None, segment.size, place, first))
        first += count
    return tuple(found)


def _spare_place(file: h5py.File) -> int | None:
    return int(file["spare"].id.get_offset() or 0) if "spare" in file else None


def _texts(values: h5py.Dataset) -> tuple[str, ...]:
    found = values[:].tolist()
    # All in one go, as there may be a million; no text that is filled up with NUL ends with one.
    texts = b"\0".join(found).decode().split("\0")
    return tuple(texts) if len(texts) == len(found) else tuple(map(_text, found))


def _text(value: bytes) -> str:
    return bytes(value).decode()
