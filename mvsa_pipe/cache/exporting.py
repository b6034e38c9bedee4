"""Writes a cache's features in formats of other tools: npy, safetensors, parquet."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from safetensors.numpy import save_file

from mvsa_pipe.cache.formats import ExportFormat
from mvsa_pipe.cache.joining import Place, blocks
from mvsa_pipe.cache.layout import Header, Rows
from mvsa_pipe.cache.reading import FeatureFile
from mvsa_pipe.durable import leftovers, replacing, storage_errors
from mvsa_pipe.errors import StorageError


def export(file: FeatureFile, target: Path, form: ExportFormat) -> None:
    """Writes every post's features, checked, whole or not at all.

    Args:
        file: The cache.
        target: The file, or for ``npy`` the folder, that must not exist.
        form: The format.

    Raises:
        CacheError: The cache is damaged.
        StorageError: The target exists, or the disk refuses.
    """
    if target.exists():
        raise StorageError(
            "Something lies where the export shall go", where=target, hint="name another --to PATH"
        )
    writers: dict[ExportFormat, Callable[[FeatureFile, Path], None]] = {
        ExportFormat.NPY: _npy,
        ExportFormat.SAFETENSORS: _safetensors,
        ExportFormat.PARQUET: _parquet,
    }
    try:
        with replacing(target) as temporary:
            writers[form](file, temporary)
    except BaseException:
        for left in leftovers(target):
            shutil.rmtree(left, ignore_errors=True)
        raise


def _blocks(file: FeatureFile) -> Iterator[Rows]:
    return blocks([Place(file, row) for row in range(len(file.header.ids))])


def _about(header: Header) -> dict[str, str]:
    return {
        "dataset": header.dataset,
        "fingerprint": header.fingerprint.to_json(),
        "hidden_shape": json.dumps(header.hidden_shape),
    }


def _npy(file: FeatureFile, target: Path) -> None:
    header = file.header
    dtype = np.dtype(header.fingerprint.dtype.value)
    with storage_errors(target):
        target.mkdir(parents=True)
        shape = (len(header.ids), header.width)
        pooled = open_memmap(target / "pooled.npy", "w+", dtype, shape)
        hidden = open_memmap(target / "hidden.npy", "w+", dtype, header.hidden_shape)
        row = entry = 0
        for block in _blocks(file):
            pooled[row : row + len(block.ids)] = block.pooled
            hidden[entry : entry + len(block.hidden)] = block.hidden
            row, entry = row + len(block.ids), entry + len(block.hidden)
        pooled.flush()
        hidden.flush()
        if header.offsets is not None:
            np.save(target / "offsets.npy", header.offsets)
        (target / "ids.json").write_text(json.dumps(header.ids, ensure_ascii=False), "utf-8")
        (target / "about.json").write_text(json.dumps(_about(header), indent=2), "utf-8")


def _safetensors(file: FeatureFile, target: Path) -> None:
    rows = np.arange(len(file.header.ids))
    tensors: dict[str, NDArray[Any]] = {"pooled": file.pooled(rows), "hidden": file.hidden(rows)[0]}
    if file.header.offsets is not None:
        tensors["offsets"] = file.header.offsets
    about = _about(file.header) | {"ids": json.dumps(file.header.ids, ensure_ascii=False)}
    save_file(tensors, target, metadata=about)


def _parquet(file: FeatureFile, target: Path) -> None:
    header = file.header
    number = pa.float16() if header.fingerprint.dtype.value == "float16" else pa.float32()
    vector = pa.list_(number, header.width)
    schema = pa.schema(
        [("id", pa.string()), ("pooled", vector), ("hidden", pa.list_(vector))],
        metadata=_about(header),
    )
    with pq.ParquetWriter(target, schema) as writer:
        for block in _blocks(file):
            bounds = block.bounds() * (header.tokens or 1)
            columns = [
                pa.array(block.ids, pa.string()),
                _vectors(block.pooled, vector),
                pa.ListArray.from_arrays(
                    pa.array(bounds, pa.int32()), _vectors(block.hidden, vector)
                ),
            ]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))


def _vectors(values: NDArray[Any], kind: pa.DataType) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), type=kind)
