"""Tables of any kind as rows of named cells: csv, tsv, jsonl, parquet."""

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mvsa_pipe.errors import DataError, name_some
from mvsa_pipe.posts.place import Place
from mvsa_pipe.posts.rows import RowFaults
from mvsa_pipe.posts.text import decode_text

SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
# The csv module's own limit is 128 kB a cell, which texts with raw HTML may pass.
_LONGEST_CELL = 2**24


@dataclass(frozen=True)
class Table:
    """The rows of a file.

    Attributes:
        where: How messages name the file.
        columns: Names of the columns, in the file's order.
        rows: Line number (parquet: row number) and cells by column; what is absent is ``None``.
        encoding: How the file's bytes were decoded.
    """

    where: str
    columns: tuple[str, ...]
    rows: tuple[tuple[int, Mapping[str, str | None]], ...]
    encoding: str

    def require(self, *columns: str) -> None:
        """Checks that columns are there.

        Raises:
            DataError: One is missing; the message names those present.
        """
        missing = [column for column in columns if column not in self.columns]
        if missing:
            word = "column is" if len(missing) == 1 else "columns are"
            raise DataError(
                f"{len(missing)} {word} missing",
                where=self.where,
                expected=name_some(missing),
                found=f"columns {name_some(self.columns, most=30)}",
                hint="rename the columns, or name them with --id-column, --text-column, "
                "--image-column, --label-column",
            )


def is_table(name: str) -> bool:
    """Whether a file's suffix says that it is a table."""
    return name.lower().endswith(SUFFIXES)


def read_table(place: Place, name: str) -> Table:
    """All rows of a table.

    Raises:
        DataError: The file is not what its suffix says, or has rows of a wrong width.
    """
    where = place.where(name)
    suffix = name[name.rindex(".") :].lower()
    data = place.read(name)
    if suffix == ".parquet":
        return _read_parquet(where, data)
    text, encoding = decode_text(data)
    faults = RowFaults(where)
    read = _read_jsonl if suffix == ".jsonl" else _read_csv
    columns, rows = read(text, faults, _DELIMITERS.get(suffix, ","))
    faults.raise_any()
    return Table(where, columns, rows, encoding)


def header(place: Place, name: str) -> tuple[str, ...]:
    """The columns of a csv, tsv or jsonl table; none if it cannot be told. Never an error."""
    text, _ = decode_text(place.read(name))
    if name.lower().endswith(".jsonl"):
        try:
            return tuple(json.loads(text.partition("\n")[0]))
        except (ValueError, TypeError):
            return ()
    delimiter = "\t" if name.lower().endswith(".tsv") else ","
    first = next((cells for _, cells in _csv_records(text, delimiter, None)), [])
    return tuple(cell.strip() for cell in first)


_Rows = tuple[tuple[int, Mapping[str, str | None]], ...]


def _csv_records(
    text: str, delimiter: str, faults: RowFaults | None
) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of each record that is not blank, up to the first that is broken."""
    csv.field_size_limit(_LONGEST_CELL)
    # Strict, so that a quote never closed is an error and does not swallow the rows after it.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = 1
    try:
        for cells in reader:
            if cells:
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        if faults is not None:
            faults.add(line, f"{error}; the rows from here on are unread")


def _read_csv(text: str, faults: RowFaults, delimiter: str) -> tuple[tuple[str, ...], _Rows]:
    records = _csv_records(text, delimiter, faults)
    line, head = next(records, (1, []))
    columns = tuple(cell.strip() for cell in head)
    if not columns:
        faults.add(line, "the file is empty, where a header is expected")
    repeated = sorted({column for column in columns if columns.count(column) > 1})
    if repeated:
        faults.add(line, f"the header names {', '.join(map(repr, repeated))} more than once")
    rows = []
    for line, cells in records:
        if len(cells) != len(columns):
            faults.add(line, f"{len(cells)} cells, where the header has {len(columns)}")
        else:
            rows.append((line, dict(zip(columns, cells, strict=True))))
    return columns, tuple(rows)


def _read_jsonl(text: str, faults: RowFaults, _: str) -> tuple[tuple[str, ...], _Rows]:
    columns: dict[str, None] = {}
    rows = []
    # Not splitlines: a JSON string may hold U+2028 as it is.
    for line, record in enumerate(text.split("\n"), start=1):
        if not record.strip():
            continue
        try:
            cells = json.loads(record)
        except ValueError as error:
            faults.add(line, f"no JSON ({error})")
            continue
        if not isinstance(cells, dict):
            faults.add(line, f"{type(cells).__name__}, where an object in braces is expected")
            continue
        columns |= dict.fromkeys(cells)
        rows.append((line, {column: _as_text(value) for column, value in cells.items()}))
    if not rows:
        faults.add(1, "the file is empty, where one JSON object a line is expected")
    return tuple(columns), tuple(rows)


def _read_parquet(where: str, data: bytes) -> Table:
    # Here, since importing pyarrow takes longer than reading most data sets.
    import pyarrow as pa
    from pyarrow import parquet

    try:
        table = parquet.read_table(pa.BufferReader(data))
        columns = tuple(table.column_names)
        records = table.to_pylist()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError("This parquet file cannot be read", where=where, found=error) from error
    rows = tuple(
        (number, {column: _as_text(value) for column, value in record.items()})
        for number, record in enumerate(records, start=1)
    )
    return Table(where, columns, rows, "utf-8")


def _as_text(value: object) -> str | None:
    return value if value is None or isinstance(value, str) else str(value)
