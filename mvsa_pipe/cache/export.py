"""Writes a cache's features in formats of other tools: npy, safetensors, parquet."""

import json
import math
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib.format import write_array_header_1_0
from numpy.typing import NDArray

from mvsa_pipe.cache import ExportFormat
from mvsa_pipe.cache.content import Header, Rows
from mvsa_pipe.cache.reading import FeatureFile
from mvsa_pipe.cache.row_joining import RowLocation, blocks, bytes_of
from mvsa_pipe.disk import storage_errors
from mvsa_pipe.durable import leftovers, replacing
from mvsa_pipe.errors import StorageError
from mvsa_pipe.layers import Keep
from mvsa_pipe.progress import BYTES, NO_PROGRESS, Progress


def export(
    file: FeatureFile, target: Path, form: ExportFormat, progress: Progress = NO_PROGRESS
) -> None:
    """Writes the checked features of every post, completely or not at all.

    Args:
        file: The cache.
        target: The file, or for ``npy`` the folder; it must not exist.
        form: The format.
        progress: Shown the bytes that are written.

    Raises:
        CacheError: The cache is damaged.
        StorageError: The target exists, or writing fails.
    """
    with storage_errors(target):
        there = target.exists()
    if there:
        raise StorageError(
            "The target of this export already exists", where=target, hint="name another --to PATH"
        )
    writers: dict[ExportFormat, Callable[[FeatureFile, Path, Iterator[Rows]], None]] = {
        ExportFormat.NPY: _npy,
        ExportFormat.SAFETENSORS: _safetensors,
        ExportFormat.PARQUET: _parquet,
    }
    places = [RowLocation(file, row) for row in range(len(file.header.ids))]
    progress.start(f"exporting {file.path.name}", bytes_of(places), BYTES)
    try:
        with replacing(target) as temporary:
            writers[form](file, temporary, blocks(places, on_bytes=progress.advance))
    except BaseException:
        for left in leftovers(target):
            shutil.rmtree(left, ignore_errors=True)
        raise


def _about(header: Header) -> dict[str, str]:
    return {
        "dataset": header.dataset,
        "fingerprint": header.fingerprint.to_json(),
        "hidden_shape": json.dumps(header.hidden_shape),
    }


def _npy(file: FeatureFile, target: Path, rows: Iterator[Rows]) -> None:
    header = file.header
    target.mkdir()
    with ExitStack() as stack:
        outs = {}
        for name, shape in _shapes(header).items():
            outs[name] = stack.enter_context((target / f"{name}.npy").open("wb"))
            about = {"descr": _dtype(header).str, "fortran_order": False, "shape": shape}
            write_array_header_1_0(outs[name], about)
        _fill(rows, outs)
    offsets = _offsets(header)
    if offsets is not None:
        np.save(target / "offsets.npy", offsets)
    (target / "ids.json").write_text(json.dumps(header.ids, ensure_ascii=False), "utf-8")
    (target / "about.json").write_text(json.dumps(_about(header), indent=2), "utf-8")


def _safetensors(file: FeatureFile, target: Path, rows: Iterator[Rows]) -> None:
    """Written without the library, which needs all features in memory and hides a full disk."""
    header, offsets = file.header, _offsets(file.header)
    kind, size = ("F16", 2) if _dtype(header).itemsize == 2 else ("F32", 4)
    tensors = {name: (kind, shape, size) for name, shape in _shapes(header).items()}
    if offsets is not None:  # first, as its numbers are the widest
        tensors = {"offsets": ("I64", offsets.shape, 8), **tensors}
    about = _about(header) | {"ids": json.dumps(header.ids, ensure_ascii=False)}
    fields: dict[str, Any] = {"__metadata__": about}
    end, starts = 0, {}
    for name, (kind, shape, size) in tensors.items():
        starts[name], end = end, end + math.prod(shape) * size
        fields[name] = {"dtype": kind, "shape": shape, "data_offsets": [starts[name], end]}
    head = json.dumps(fields).encode()
    head += b" " * (-len(head) % 8)
    with target.open("wb") as first:
        first.write(len(head).to_bytes(8, "little") + head)
        if offsets is not None:
            first.write(offsets.astype("<i8").tobytes())
    with ExitStack() as stack:
        outs = {}
        for name in _shapes(header):
            outs[name] = stack.enter_context(target.open("r+b"))
            outs[name].seek(8 + len(head) + starts[name])
        _fill(rows, outs)


def _fill(rows: Iterator[Rows], outs: Mapping[str, BinaryIO]) -> None:
    """Writes features to open files, by name; a memory map would crash on a full disk."""
    for block in rows:
        for name, out in outs.items():
            out.write(np.ascontiguousarray(getattr(block, name)).data)


def _shapes(header: Header) -> dict[str, tuple[int, ...]]:
    """Shapes of the features that the cache keeps, by name."""
    pooled = {"pooled": (len(header.ids), header.width)}
    return pooled | ({"hidden": header.hidden_shape} if _has_states(header) else {})


def _offsets(header: Header) -> NDArray[np.int64] | None:
    return header.offsets if _has_states(header) else None


def _has_states(header: Header) -> bool:
    return header.fingerprint.keep is Keep.ALL


def _dtype(header: Header) -> np.dtype[Any]:
    return np.dtype(header.fingerprint.dtype.value)


def _parquet(file: FeatureFile, target: Path, rows: Iterator[Rows]) -> None:
    import pyarrow as pa  # here, as importing it takes longer than most commands
    import pyarrow.parquet as pq

    header = file.header
    number = pa.float16() if header.fingerprint.dtype.value == "float16" else pa.float32()
    vector = pa.list_(number, header.width)
    columns = [("id", pa.string()), ("pooled", vector)]
    if _has_states(header):
        columns.append(("hidden", pa.list_(vector)))
    schema = pa.schema(columns, metadata=_about(header))
    entry_vectors = header.entry_bytes // (header.width * _dtype(header).itemsize)

    def vectors(values: NDArray[Any]) -> Any:  # noqa: ANN401  # pyarrow is untyped
        return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), type=vector)

    with pq.ParquetWriter(target, schema) as writer:
        for block in rows:
            arrays = [pa.array(block.ids, pa.string()), vectors(block.pooled)]
            if _has_states(header):
                bounds = pa.array(block.bounds() * entry_vectors, pa.int32())
                arrays.append(pa.ListArray.from_arrays(bounds, vectors(block.hidden)))
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
