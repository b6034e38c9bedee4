"""The HDF5 structure of a feature file, made in memory before anything is written to disk.

On a full disk, HDF5 prints tracebacks and can crash when the process ends. Here it therefore never
writes to disk: the file's structure is made in memory, without space for the features, and copied
by plain writes, which fail cleanly.
"""

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from mvsa_pipe.cache.content import FORMAT, PARTS, QUARANTINE, SEAL_LENGTH, Header, Segment
from mvsa_pipe.cache.structure_digest import STRUCTURE_LENGTH

# From this version on, HDF5's own structures have checksums.
_LIBRARY_BOUNDS = ("v110", "v110")

_PAGE = 2**16


class SparseFileBuffer(io.RawIOBase):
    """A file in memory that keeps only the pages that were written."""

    def __init__(self) -> None:
        self._pages: dict[int, bytearray] = {}
        self._at = 0
        self.size = 0

    def seekable(self) -> bool:
        """Always true."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Moves to a position, also beyond the end."""
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}[whence]
        return self._at

    def tell(self) -> int:
        """The position."""
        return self._at

    def truncate(self, size: int | None = None) -> int:
        """Sets the length; bytes beyond the old end are zero."""
        self.size = self._at if size is None else size
        return self.size

    def write(self, data: Any) -> int:  # noqa: ANN401  # any buffer
        """Writes at the position."""
        raw = memoryview(data).cast("B")
        for page, start, stop, done in self._pieces(len(raw)):
            held = self._pages.setdefault(page, bytearray(_PAGE))
            held[start:stop] = raw[done : done + stop - start]
        self._at += len(raw)
        if raw:
            self.size = max(self.size, self._at)
        return len(raw)

    def readinto(self, into: Any) -> int:  # noqa: ANN401  # any writable buffer
        """Reads at the position, up to the end."""
        raw = memoryview(into).cast("B")
        count = max(0, min(len(raw), self.size - self._at))
        for page, start, stop, done in self._pieces(count):
            held = self._pages.get(page)
            raw[done : done + stop - start] = held[start:stop] if held else bytes(stop - start)
        self._at += count
        return count

    def _pieces(self, count: int) -> Iterator[tuple[int, int, int, int]]:
        """Page, first and last byte in it, and number of bytes before it."""
        done = 0
        while done < count:
            page, start = divmod(self._at + done, _PAGE)
            stop = min(_PAGE, start + count - done)
            yield page, start, stop, done
            done += stop - start

    def written(self) -> Iterator[tuple[int, memoryview]]:
        """Position and bytes of every page that was written."""
        for page, held in sorted(self._pages.items()):
            yield page * _PAGE, memoryview(held)[: self.size - page * _PAGE]


def lay_out(header: Header, parts: str = "") -> tuple[SparseFileBuffer, dict[str, int]]:
    """Makes a file's structure; returns it with the offsets in bytes of data that is written later.

    Args:
        header: The content of the file.
        parts: Name of the folder of its parts, if it has segments.
    """
    image = SparseFileBuffer()
    with h5py.File(image, "w", libver=_LIBRARY_BOUNDS) as file:
        file.attrs["schema"] = header.fingerprint.schema
        file.attrs["format"] = _text(FORMAT)
        file.attrs["dataset"] = _text(header.dataset)
        file.attrs["fingerprint"] = _text(header.fingerprint.to_json())
        file["notes"] = _text(json.dumps(header.notes, ensure_ascii=False))
        file["ids"] = _texts(header.ids)
        file["digests"] = _texts(header.digests)
        h5py.h5g.create(file.id, b"quarantine", gcpl=_timeless(h5py.h5p.GROUP_CREATE))
        for name in QUARANTINE:
            file[f"quarantine/{name}"] = _texts([getattr(row, name) for row in header.quarantine])
        if header.offsets is not None:
            file["offsets"] = header.offsets
        count = len(header.ids)
        places = {
            "checksums": _allocate(file, "checksums", (count, len(PARTS)), "u8"),
            "seal": _allocate(file, "seal", (1,), f"S{SEAL_LENGTH}"),
            "structure": _allocate(file, "structure", (1,), f"S{STRUCTURE_LENGTH}"),
        }
        dtype = header.fingerprint.dtype.value
        shapes = {"pooled": (count, header.width), "hidden": header.hidden_shape}
        for name, shape in shapes.items():
            if header.segments and 0 not in shape:
                _refer(
                    file, name, shape, dtype, [(s, f"{parts}/{s.name}") for s in header.segments]
                )
            else:
                places[name] = _allocate(file, name, shape, dtype)
        if header.segments:
            # With the widths, as virtual data sets are never opened: their description has no
            # checksum, and HDF5 may loop endlessly over a damaged one.
            runs = [asdict(segment) for segment in header.segments]
            about = {"width": header.width, "tokens": header.tokens, "runs": runs}
            if header.layers > 1:
                about["layers"] = header.layers
            file["segments"] = _text(json.dumps(about))
    return image, places


def _refer(
    file: h5py.File,
    name: str,
    shape: tuple[int, ...],
    dtype: str,
    segments: Sequence[tuple[Segment, str]],
) -> None:
    """Makes a virtual data set of the rows in parts, for readers that only use HDF5."""
    layout = h5py.VirtualLayout(shape, dtype)
    at = 0
    for segment, path in segments:
        first, count, total = segment.entry, segment.entries, segment.part_entries
        if name == "pooled":
            first, count, total = segment.row, segment.rows, segment.part_rows
        source = h5py.VirtualSource(path, name, (total, *shape[1:]), dtype)
        layout[at : at + count] = source[first : first + count]
        at += count
    file.create_virtual_dataset(name, layout)


def _allocate(file: h5py.File, name: str, shape: tuple[int, ...], dtype: str) -> int:
    plan = _timeless(h5py.h5p.DATASET_CREATE)
    plan.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    plan.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    return int(file.create_dataset(name, shape, dtype, dcpl=plan).id.get_offset() or 0)


def _timeless(kind: h5py.h5p.PropClassID) -> Any:  # noqa: ANN401  # h5py is untyped
    """Creation properties without time stamps, so that equal features give equal files."""
    plan = h5py.h5p.create(kind)
    plan.set_obj_track_times(False)
    return plan


def _text(value: str) -> NDArray[np.bytes_]:
    """A string of fixed length; HDF5 stores variable ones in a heap without checksums."""
    encoded = value.encode()
    return np.array(encoded, h5py.string_dtype("utf-8", max(1, len(encoded))))


def _texts(values: Sequence[str]) -> NDArray[np.bytes_]:
    encoded = [value.encode() for value in values]
    return np.array(encoded, h5py.string_dtype("utf-8", max([1, *map(len, encoded)])))
