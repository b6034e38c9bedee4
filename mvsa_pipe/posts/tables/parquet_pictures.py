"""Pictures whose bytes are in the rows of a parquet table, the format of the Hugging Face hub."""

import io
import re
import threading
from collections import OrderedDict
from collections.abc import Collection, Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

from mvsa_pipe.errors import DataError
from mvsa_pipe.posts.storage.base import (
    PICTURE_BYTES,
    TABLE_BYTES,
    FolderStorage,
    Storage,
    require_picture_size,
)

# Rows that are decoded together, and number of such blocks that are kept: several threads read
# pictures of neighbouring rows, and a row group may contain all pictures.
_BLOCK_ROWS, _BLOCKS_KEPT = 16, 16


def open_parquet(storage: Storage, name: str) -> Any:  # noqa: ANN401  # pyarrow is untyped
    """Opens a parquet file; in a folder it is read in place.

    Raises:
        DataError: There is no such file.
    """
    # Here, as importing pyarrow takes longer than reading most data sets.
    from pyarrow import parquet

    if isinstance(storage, FolderStorage):
        storage.stamp(name)  # raises an error if the file is missing
        return parquet.ParquetFile(Path(storage.where(name)))
    return parquet.ParquetFile(io.BytesIO(storage.read(name, TABLE_BYTES)))


class RowPictures(Storage):
    """The files of a storage, and the pictures in one column of a parquet table in it.

    A picture is named by the table and its row, counted from 1: ``train.parquet#row-17``.

    Args:
        base: The storage of the table.
        table: The table's name in it.
        column: The column with the pictures.
    """

    def __init__(self, base: Storage, table: str, column: str) -> None:
        super().__init__(base.root)
        self._base, self._table, self._column = base, table, column
        self._lock = threading.Lock()
        self._file: Any = None
        self._ends: list[int] = []
        self._blocks: OrderedDict[tuple[int, int], list[bytes | None]] = OrderedDict()
        self._next: tuple[int, int] = (-1, 0)
        self._batches: Iterator[Any] = iter(())

    def __reduce__(self) -> tuple[type["RowPictures"], tuple[Storage, str, str]]:
        """Pickles without the open table, which another process opens again."""
        return (RowPictures, (self._base, self._table, self._column))

    @staticmethod
    def name_of(table: str, row: int) -> str:
        """The name of the picture in a row, counted from 1."""
        return f"{table}#row-{row}"

    def _row(self, name: str) -> int | None:
        head = f"{self._table}#row-"
        digits = name.removeprefix(head)
        return (
            int(digits) if name.startswith(head) and re.fullmatch(r"[0-9]{1,9}", digits) else None
        )

    def names(self) -> Collection[str]:
        """Relative paths of all files, without pictures in rows."""
        return self._base.names()

    def has(self, name: str) -> bool:
        """Whether there is a file of that name, or a row."""
        row = self._row(name)
        if row is None:
            return self._base.has(name)
        with self._lock:
            return 1 <= row <= self._rows()

    def size(self, name: str) -> int:
        """Bytes in one file or picture."""
        return self._base.size(name) if self._row(name) is None else len(self.read(name))

    def stamp(self, name: str) -> tuple[int, ...]:
        """The table's stamp, for a picture in it."""
        row = self._row(name)
        return self._base.stamp(name) if row is None else (*self._base.stamp(self._table), row)

    def read(self, name: str, most: int = PICTURE_BYTES) -> bytes:
        """The bytes of one file or picture."""
        row = self._row(name)
        if row is None:
            return self._base.read(name, most)
        import pyarrow as pa

        try:
            with self._lock:
                data = self._picture(row - 1)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise DataError(
                "A picture cannot be read", where=self.where(name), found=error
            ) from error
        if data is None:
            raise DataError("This row contains no picture", where=self.where(name))
        return require_picture_size(data, most, self.where(name))

    def _rows(self) -> int:
        if self._file is None:
            self._file = open_parquet(self._base, self._table)
            metadata = self._file.metadata
            counts = [metadata.row_group(at).num_rows for at in range(metadata.num_row_groups)]
            self._ends = list(accumulate(counts))
        return self._ends[-1] if self._ends else 0

    def _picture(self, row: int) -> bytes | None:
        if not 0 <= row < self._rows():
            return None
        group = next(at for at, end in enumerate(self._ends) if row < end)
        within = row - (self._ends[group - 1] if group else 0)
        block, offset = divmod(within, _BLOCK_ROWS)
        if (group, block) not in self._blocks:
            self._read_to(group, block)
        self._blocks.move_to_end((group, block))
        return self._blocks[group, block][offset]

    def _read_to(self, group: int, block: int) -> None:
        """Reads blocks up to the wanted one, continuing after the last read block if possible."""
        if self._next[0] != group or self._next[1] > block:
            self._batches = self._file.iter_batches(
                batch_size=_BLOCK_ROWS,
                row_groups=[group],
                columns=[self._column],
                use_threads=False,
            )
            self._next = group, 0
        while self._next[1] <= block:
            batch = next(self._batches)
            values = batch.column(0).to_pylist()
            self._blocks[self._next] = [
                value.get("bytes") if isinstance(value, dict) else value for value in values
            ]
            self._next = group, self._next[1] + 1
            while len(self._blocks) > _BLOCKS_KEPT:
                self._blocks.popitem(last=False)
