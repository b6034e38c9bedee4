"""Reads one feature file; every row that leaves here was checked against its checksum.

Rows are ranges of bytes, read by ``preadv`` at the data set's offset: neighbours in one read, and
a file that was cut short gives a short read where a memory map would crash.
"""

import json
import os
from contextlib import ExitStack
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xxhash
from numpy.typing import NDArray

from mvsa_pipe.cache.fingerprint import SCHEMA, Fingerprint
from mvsa_pipe.cache.layout import (
    FORMAT,
    PARTS,
    QUARANTINE,
    Header,
    Refusal,
    Segment,
    parts_folder,
)
from mvsa_pipe.durable import storage_errors
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
        rows: The row of every post, by id.

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
            with _opened(path) as raw, h5py.File(raw, "r") as file:
                self._stamp = _stamp(raw)
                self.header, self.checksums, self._sources = _read_header(file, path)
                self.seal = self.header.seal(self.checksums)
        except MvsaError:
            raise
        except Exception as error:  # damaged metadata surfaces as nearly any of them inside h5py
            raise damaged(path, error) from error
        self.rows = {post_id: row for row, post_id in enumerate(self.header.ids)}

    def place_of(self, name: str) -> int:
        """Where ``pooled`` or ``hidden`` begins in this file, in bytes.

        Raises:
            CacheError: The rows were left in parts.
        """
        (source,) = self._sources
        return source.places[name]

    def pooled(self, rows: NDArray[np.int64]) -> NDArray[np.floating[Any]]:
        """Pooled vectors of some rows ``[n, D]``, checked.

        Raises:
            CacheError: Bytes were changed on disk; names the posts.
        """
        out = self._gather("pooled", rows, np.ones_like(rows), (self.header.width,))
        self._check(rows, 0, out, np.arange(len(rows) + 1))
        return out

    def hidden(
        self, rows: NDArray[np.int64]
    ) -> tuple[NDArray[np.floating[Any]], NDArray[np.int64]]:
        """Hidden states of some rows end to end, and their bounds ``[n + 1]``, checked.

        For images the first axis counts posts, for text tokens.

        Raises:
            CacheError: Bytes were changed on disk; names the posts.
        """
        offsets = self.header.offsets
        if offsets is None:
            starts, lengths = rows, np.ones_like(rows)
            shape: tuple[int, ...] = (self.header.tokens, self.header.width)
        else:
            starts, lengths = offsets[rows], offsets[rows + 1] - offsets[rows]
            shape = (self.header.width,)
        out = self._gather("hidden", starts, lengths, shape)
        bounds = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        self._check(rows, 1, out, bounds)
        return out, bounds

    def damaged_posts(self, rows_a_time: int = 256) -> list[str]:
        """Ids of all posts whose bytes no longer match their checksums."""
        hit: set[str] = set()
        for start in range(0, len(self.header.ids), rows_a_time):
            rows = np.arange(start, min(start + rows_a_time, len(self.header.ids)))
            for read in (self.pooled, self.hidden):
                try:
                    read(rows)
                except DamagedRowsError as error:
                    hit.update(error.posts)
        return [post_id for post_id in self.header.ids if post_id in hit]

    def _gather(
        self,
        name: str,
        starts: NDArray[np.int64],
        lengths: NDArray[np.int64],
        shape: tuple[int, ...],
    ) -> NDArray[np.floating[Any]]:
        """Reads ranges of first-axis entries end to end, neighbours in one read."""
        dtype = np.dtype(self.header.fingerprint.dtype.value)
        out = np.empty((int(lengths.sum()), *shape), dtype)
        entry = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        raw = out.reshape(-1).view(np.uint8).data
        self._require_unchanged()
        firsts = [source.first[name] for source in self._sources]
        of_source = np.searchsorted(firsts, starts, side="right") - 1
        together = (starts[1:] == starts[:-1] + lengths[:-1]) & (of_source[1:] == of_source[:-1])
        breaks = np.flatnonzero(~together) + 1
        position = 0
        with ExitStack() as stack:
            files: dict[int, FileIO] = {}
            for run in np.split(np.arange(len(starts)), breaks):
                if not len(run):
                    continue
                number = int(of_source[run[0]])
                source = self._sources[number]
                if number not in files:
                    files[number] = stack.enter_context(source.open())
                size = int(lengths[run].sum()) * entry
                place = source.places[name] + (int(starts[run[0]]) - source.first[name]) * entry
                _read_at(files[number].fileno(), source.path, place, raw[position:][:size])
                position += size
        return out

    def _require_unchanged(self) -> None:
        with _opened(self.path) as file:
            if _stamp(file) == self._stamp:
                return
        raise CacheError(
            "This cache was replaced by a newer one while it was being read",
            where=self.path,
            hint="run the same again",
        )

    def _check(
        self,
        rows: NDArray[np.int64],
        column: int,
        values: NDArray[np.floating[Any]],
        bounds: NDArray[np.int64],
    ) -> None:
        wanted = self.checksums[rows, column]
        hit = [
            self.header.ids[row]
            for i, row in enumerate(rows)
            if xxhash.xxh3_64_intdigest(values[bounds[i] : bounds[i + 1]].data) != wanted[i]
        ]
        if hit:
            raise DamagedRowsError(self.path, hit)


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


def damaged(path: Path, cause: object) -> CacheError:
    """The error for a file that cannot be read as a feature file."""
    return CacheError(
        "This cache file is damaged, cut short, or no feature cache",
        where=path,
        found=str(cause).splitlines()[0] if str(cause) else repr(cause),
        hint=f"mvsa cache remove {path}, then extract again",
    )


@dataclass(frozen=True)
class _Source:
    """Where some neighbouring rows lie: in the file itself, or in one of its parts.

    Attributes:
        path: The file.
        size: Its bytes, if it is a part.
        places: Where the first of the rows begins, in bytes, for pooled and hidden.
        first: The first entry of the cache that lies here, for pooled and hidden.
    """

    path: Path
    size: int | None
    places: dict[str, int]
    first: dict[str, int]

    def open(self) -> FileIO:
        """Opens it.

        Raises:
            CacheError: The part is gone, or is not the one that the cache means.
            StorageError: It may not be read.
        """
        if self.size is not None and not self.path.is_file():
            raise damaged(self.path, "a part of the cache is gone")
        file = _opened(self.path)
        if self.size not in (None, os.fstat(file.fileno()).st_size):
            file.close()
            raise damaged(self.path, "a part of the cache is of another size")
        return file


def _read_at(descriptor: int, path: Path, position: int, into: memoryview) -> None:
    while into:
        count = os.preadv(descriptor, [into], position)
        if not count:
            raise damaged(path, "the file is cut short")
        into, position = into[count:], position + count


def _opened(path: Path) -> FileIO:
    with storage_errors(path):
        return FileIO(path)


def _stamp(file: FileIO) -> tuple[int, int, int]:
    """Which file this is: what is renamed into its place has another stamp."""
    status = os.fstat(file.fileno())
    return (status.st_dev, status.st_ino, status.st_size)


def _read_header(
    file: h5py.File, path: Path
) -> tuple[Header, NDArray[np.uint64], tuple[_Source, ...]]:
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
    hidden = file["hidden"]
    quarantine = zip(*(_texts(file[f"quarantine/{name}"]) for name in QUARANTINE), strict=True)
    segments = json.loads(_text(file["segments"][()])) if "segments" in file else []
    header = Header(
        dataset=_text(file.attrs["dataset"]),
        fingerprint=fingerprint,
        ids=_texts(file["ids"]),
        digests=_texts(file["digests"]),
        offsets=None if image else file["offsets"][:],
        width=int(file["pooled"].shape[1]),
        tokens=int(hidden.shape[1]) if image else 0,
        notes=json.loads(_text(file["notes"][()])),
        quarantine=tuple(Refusal(*row) for row in quarantine),
        segments=tuple(Segment(**row) for row in segments),
    )
    checksums = file["checksums"][:]
    sealed = _text(file["seal"][0]) == header.seal(checksums)
    if not sealed or hidden.shape != header.hidden_shape:
        raise damaged(path, "its header does not match its seal")
    return header, checksums, _sources(file, path, header)


def _sources(file: h5py.File, path: Path, header: Header) -> tuple[_Source, ...]:
    if not header.segments:
        places = {name: int(file[name].id.get_offset() or 0) for name in PARTS}
        return (_Source(path, None, places, dict.fromkeys(PARTS, 0)),)
    found, row, entry = [], 0, 0
    vector = header.width * np.dtype(header.fingerprint.dtype.value).itemsize
    state = vector * (header.tokens or 1)
    for segment in header.segments:
        places = {
            "pooled": segment.pooled + segment.row * vector,
            "hidden": segment.hidden + segment.entry * state,
        }
        first = {"pooled": row, "hidden": entry}
        found.append(_Source(parts_folder(path) / segment.name, segment.size, places, first))
        row, entry = row + segment.rows, entry + segment.entries
    return tuple(found)


def _texts(values: h5py.Dataset) -> tuple[str, ...]:
    return tuple(map(_text, values[:].tolist()))


def _text(value: bytes) -> str:
    return bytes(value).decode()
