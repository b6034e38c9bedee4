"""Reads one feature file; every returned row matches its checksum and is finite.

Rows are ranges of bytes, read by ``preadv`` at the data set's offset. Adjacent rows are one read,
and a file that is cut short gives a short read, where a memory map would crash.
"""

from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from mvsa_pipe.backbones.from_record import backbone_from_record
from mvsa_pipe.backbones.options import BackboneOptions
from mvsa_pipe.cache.byte_reads import (
    Ranges,
    RowFile,
    Stamp,
    damaged,
    gather,
    open_file,
    open_stamp,
)
from mvsa_pipe.cache.content import PARTS, Header, bounds_of, parts_folder
from mvsa_pipe.cache.fingerprint import Fingerprint
from mvsa_pipe.cache.finite import not_finite
from mvsa_pipe.cache.header import read_fingerprint, read_header, read_notes
from mvsa_pipe.cache.plain_hdf5 import PlainFile
from mvsa_pipe.cache.structure_digest import ByteRange, Structure
from mvsa_pipe.disk import storage_errors
from mvsa_pipe.errors import CacheError, MvsaError, name_some
from mvsa_pipe.progress import OnUnits, ignore_units

# For fewer bytes the sizes of parts are not checked before memory is allocated.
_SURELY_THERE = 2**28


class FeatureFile:
    """A feature file opened for reading; every returned row was checked.

    Rows are located by the header, which is read once; if an extraction has replaced the file
    since, reading raises an error.

    Args:
        path: The file.

    Attributes:
        header: Everything in it except the features.
        checksums: Of each post's pooled vector and hidden states ``[N, 2]``.
        seal: Checksum over both.

    Raises:
        CacheError: It is missing, cut short, damaged, or has another schema.
        StorageError: Permission to read is missing.
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
                plain = PlainFile(raw, file)
                self.header, self.checksums = read_header(plain, path)
                self.seal = self.header.seal(self.checksums)
                self._structure = _structure(plain, self.header)
                self._sources = {
                    name: _sources(plain, path, open_stamp(raw), self.header, name)
                    for name in PARTS
                }
        except MvsaError:
            raise
        except Exception as error:  # h5py raises nearly anything for damaged metadata
            raise damaged(path, error) from error

    @cached_property
    def rows(self) -> dict[str, int]:
        """The row of every post, by id."""
        return {post_id: row for row, post_id in enumerate(self.header.ids)}

    def backbone_options(self) -> BackboneOptions:
        """The options of the backbone that computed the features.

        Raises:
            CacheError: Their record is missing or invalid.
        """
        return backbone_from_record(self.header.notes.get("backbone"), self.path)

    def has_whole_structure(self) -> bool:
        """Whether all bytes but the features are unchanged; true for files without a digest.

        Raises:
            StorageError: Permission to read is missing.
        """
        with open_file(self.path) as raw, storage_errors(self.path):
            return self._structure.is_whole(raw.fileno())

    def place_of(self, name: str) -> int:
        """Offset of ``pooled`` or ``hidden`` in this file, in bytes; no rows may be in parts."""
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
        """Hidden states of some rows, concatenated and checked, and their bounds ``[n + 1]``.

        For images the first axis counts posts, for text tokens.

        Args:
            rows: The rows.
            into: An array of the right shape and type to fill; reusing memory is several times
                faster than allocating it.

        Raises:
            CacheError: Bytes were changed on disk; names the posts.
        """
        offsets = self.header.offsets
        if offsets is None:
            starts, lengths = rows, np.ones_like(rows)
        else:
            starts, lengths = offsets[rows], offsets[rows + 1] - offsets[rows]
        return self._gather("hidden", rows, starts, lengths, into), bounds_of(lengths)

    def bytes_of(self, rows: NDArray[np.int64]) -> int:
        """Bytes of the features of some rows."""
        header = self.header
        if header.offsets is None:
            states = len(rows) * (header.tokens or 1)
        else:
            states = int((header.offsets[rows + 1] - header.offsets[rows]).sum())
        vectors = len(rows) + states * header.layers
        return vectors * header.width * np.dtype(header.fingerprint.dtype.value).itemsize

    def damaged_posts(
        self,
        rows_a_time: int = 256,
        within: NDArray[np.int64] | None = None,
        on_bytes: OnUnits = ignore_units,
    ) -> list[str]:
        """Ids of posts, in all or in some rows, whose features are damaged.

        Raises:
            CacheError: A part is missing.
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
            on_bytes(self.bytes_of(rows))
        return [post_id for post_id in self.header.ids if post_id in hit]

    def _gather(
        self,
        name: str,
        rows: NDArray[np.int64],
        starts: NDArray[np.int64],
        lengths: NDArray[np.int64],
        into: NDArray[np.floating[Any]] | None = None,
    ) -> NDArray[np.floating[Any]]:
        """Reads and checks ranges of entries, concatenated."""
        dtype = np.dtype(self.header.fingerprint.dtype.value)
        shape = self.header.entry_shape if name == "hidden" else (self.header.width,)
        whole = (int(lengths.sum()), *shape)
        entry = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        self._require_held(name, whole[0] * entry)
        out = np.empty(whole, dtype) if into is None else into
        if out.shape != whole or out.dtype != dtype or not out.flags.c_contiguous:
            raise ValueError(f"expected an array of shape {whole} and type {dtype}")
        wanted = Ranges(starts, lengths, entry, self.checksums[rows, PARTS.index(name)])
        hit = gather(self._sources[name], wanted, out.reshape(-1).view(np.uint8).data)
        if hit:
            raise DamagedRowsError(self.path, [self.header.ids[rows[place]] for place in hit])
        hit = not_finite(out, bounds_of(lengths))
        if hit:
            raise NotFiniteRowsError(self.path, [self.header.ids[rows[place]] for place in hit])
        return out

    def _require_held(self, name: str, wanted_bytes: int) -> None:
        """Checks the sizes of parts before memory is allocated for many bytes.

        Raises:
            CacheError: A part is missing, or has another size.
        """
        if not self.header.segments or wanted_bytes < _SURELY_THERE:
            return
        for source in self._sources[name]:
            source.open().close()


def read_identity(path: Path) -> tuple[Fingerprint, object] | None:
    """Fingerprint and record of the backbone in a damaged file, if they can be read."""
    try:
        with open_file(path) as raw, h5py.File(raw, "r") as file:
            plain = PlainFile(raw, file)
            fingerprint = read_fingerprint(plain)
            record = None
            with suppress(Exception):
                record = read_notes(plain).get("backbone")
            return fingerprint, record
    except Exception:  # noqa: BLE001  # h5py raises nearly anything for damaged metadata
        return None


class DamagedRowsError(CacheError):
    """Bytes of some posts were changed on disk.

    Attributes:
        posts: Their ids.
    """

    _what = "Cached features were changed on disk: their checksums no longer match"

    def __init__(self, path: Path, posts: list[str]) -> None:
        self.posts = posts
        super().__init__(
            self._what,
            where=path,
            found=f"{len(posts):,} damaged posts: {name_some(posts)}",
            hint=f"mvsa cache repair {path} extracts just those again",
        )


class NotFiniteRowsError(DamagedRowsError):
    """Features of some posts are NaN or infinite; a head would still predict a class."""

    _what = "Cached features are not all finite numbers: some are NaN or infinite"


def _sources(
    file: PlainFile, path: Path, stamp: Stamp, header: Header, name: str
) -> tuple[RowFile, ...]:
    """Locations of the entries of ``pooled`` or ``hidden``, in their order."""
    if not header.segments:
        place = file.array(name, header.fingerprint.dtype.value).id.get_offset()
        return (RowFile(path, stamp, None, int(place or 0), 0),)
    vector = header.width * np.dtype(header.fingerprint.dtype.value).itemsize
    found, first = [], 0
    for segment in header.segments:
        if name == "pooled":
            start, size, row, count = segment.pooled, vector, segment.row, segment.rows
        else:
            size = header.entry_bytes
            start, row, count = segment.hidden, segment.entry, segment.entries
        place = start + row * size
        if place + count * size > segment.size:
            raise ValueError(f"rows of {segment.name} are beyond its end")
        found.append(RowFile(parts_folder(path) / segment.name, None, segment.size, place, first))
        first += count
    return tuple(found)


def _structure(file: PlainFile, header: Header) -> Structure:
    """Locations of the features and of the digest of everything else."""
    names = () if header.segments else PARTS
    features = tuple(_run(file.array(name, header.fingerprint.dtype.value)) for name in names)
    if "structure" in file:
        return Structure(features, _run(file.data_set("structure", "S")))
    old = _run(file.data_set("spare", "u")) if "spare" in file else None
    return Structure(features, old, old=True)


def _run(found: h5py.Dataset) -> ByteRange:
    return int(found.id.get_offset() or 0), int(found.nbytes)
