"""Rows of a parquet table: only the requested columns, some rows at a time."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from mvsa_pipe.errors import DataError
from mvsa_pipe.posts.dataset_path import DatasetPath
from mvsa_pipe.posts.tables.cells import (
    Cell,
    CellError,
    Kind,
    RowPicture,
    match_columns,
    plain_cell,
)
from mvsa_pipe.posts.tables.parquet_pictures import RowPictures, open_parquet
from mvsa_pipe.posts.tables.row_faults import RowFaults

# Pictures and texts are compressed to a tenth or so. Cells that shrink more are a decompression
# bomb, or small.
MOST_PACKED, SMALL_BYTES = 100, 2**26


# More rows, or more characters in a column, than in any data set of posts.
_MOST_ROWS = 10_000_000
_MOST_CHARACTERS = 2**30
# Longest text of a post, and longest id, label or path.
_LONGEST = {Kind.TEXT: 2**20}
_LONGEST_NAME = 2**12
# Rows at a time: a batch may contain that many of the longest texts.
_BATCH_ROWS = 128
_BATCH_PICTURES = 16
# Largest whole number up to which each width of float is exact.
_EXACT = {16: 2**11, 32: 2**24, 64: 2**53}

_Row = tuple[int, Mapping[str, Cell]]


def read_parquet(
    place: DatasetPath, name: str, kinds: Mapping[str, Kind]
) -> tuple[tuple[str, ...], list[_Row], str | None]:
    """Columns, rows of the requested columns, and the column with pictures, if there is one.

    Args:
        place: The table's folder.
        name: Its name there.
        kinds: The requested columns and their uses.

    Raises:
        DataError: It is not a parquet file, is implausibly large, or has cells of a wrong kind.
    """
    import pyarrow as pa

    where = place.where(name)
    try:
        file = open_parquet(place.storage, place.prefix + name)
        columns = tuple(file.schema_arrow.names)
        found = match_columns(kinds, columns)
        _check_sizes(file, [columns[at] for at in found.values()], where)
        faults = RowFaults(where, "row")
        cells: dict[str, list[Cell]] = {}
        pictures = None
        for asked, at in found.items():
            kind = file.schema_arrow.field(at).type
            if kinds[asked] is Kind.PICTURE and _holds_pictures(kind):
                pictures = columns[at]
                cells[asked] = list(_pictures(file, columns[at], kind, place.prefix + name))
            else:
                cells[asked] = _column(file, columns[at], kind, kinds[asked], faults)
    except (pa.ArrowException, OSError, ValueError, ArithmeticError) as error:
        raise DataError("This parquet file cannot be read", where=where, found=error) from error
    faults.raise_any()
    rows: list[_Row] = [
        (number, {asked: column[number - 1] for asked, column in cells.items()})
        for number in range(1, file.metadata.num_rows + 1)
    ]
    return columns, rows, pictures


def _check_sizes(file: Any, columns: list[str], where: str) -> None:  # noqa: ANN401
    """Refuses metadata of a small file that no data set of posts has."""
    metadata = file.metadata
    if metadata.num_rows > _MOST_ROWS:
        raise DataError(
            "A table has more rows than a data set of posts",
            where=where,
            expected=f"at most {_MOST_ROWS:,}",
            found=f"{metadata.num_rows:,}",
        )
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for chunk in map(group.column, range(group.num_columns)):
            packed, size = chunk.total_compressed_size, chunk.total_uncompressed_size
            column = chunk.path_in_schema.partition(".")[0]
            if column in columns and size > max(SMALL_BYTES, MOST_PACKED * packed):
                raise DataError(
                    "A table's cells are compressed too much to be texts or pictures",
                    where=where,
                    expected=f"at most {MOST_PACKED} times their compressed size",
                    found=f"{size:,} bytes of column {column!r}, compressed to {packed:,}",
                    hint="do not trust this file; write the table again",
                )


def _holds_pictures(kind: Any) -> bool:  # noqa: ANN401
    """Whether a column has the type of pictures: bytes, or a struct of bytes and path."""
    import pyarrow as pa

    if pa.types.is_struct(kind):
        names = {kind.field(at).name: kind.field(at).type for at in range(kind.num_fields)}
        return "bytes" in names and names.keys() <= {"bytes", "path"} and _binary(names["bytes"])
    return _binary(kind)


def _binary(kind: Any) -> bool:  # noqa: ANN401
    import pyarrow as pa

    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _pictures(file: Any, column: str, kind: Any, table: str) -> Iterator[Cell]:  # noqa: ANN401
    """Names of the pictures in a column, or paths of those stored elsewhere."""
    if _all_hold_bytes(file, column):
        for number in range(1, file.metadata.num_rows + 1):
            yield RowPicture(RowPictures.name_of(table, number))
        return
    number = 0
    # Pictures are read later; this only checks whether there are any bytes.
    for batch in file.iter_batches(batch_size=_BATCH_PICTURES, columns=[column]):
        values = batch.column(0)
        is_struct = kind.num_fields > 0
        held = (values.field("bytes") if is_struct else values).is_valid().to_pylist()
        there = values.is_valid().to_pylist()
        has_path = is_struct and kind.get_field_index("path") >= 0
        paths = values.field("path").to_pylist() if has_path else [None] * len(values)
        for has_bytes, is_there, path in zip(held, there, paths, strict=True):
            number += 1
            if not is_there:
                yield None
            else:
                yield RowPicture(RowPictures.name_of(table, number)) if has_bytes else path


def _all_hold_bytes(file: Any, column: str) -> bool:  # noqa: ANN401
    """Whether every row has a picture's bytes, by the file's statistics."""
    groups = map(file.metadata.row_group, range(file.metadata.num_row_groups))
    chunks = [chunk for group in groups for chunk in map(group.column, range(group.num_columns))]
    found = [c.statistics for c in chunks if c.path_in_schema in (column, f"{column}.bytes")]
    return bool(found) and all(
        s is not None and s.has_null_count and not s.null_count for s in found
    )


def _column(
    file: Any,  # noqa: ANN401
    column: str,
    kind: Any,  # noqa: ANN401
    read_for: Kind,
    faults: RowFaults,
) -> list[Cell]:
    read = _reader_of(kind, read_for)
    longest = _LONGEST.get(read_for, _LONGEST_NAME)
    cells: list[Cell] = []
    size = 0
    for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=[column]):
        for value in batch.column(0).to_pylist():
            try:
                cell = read(value)
            except CellError as error:
                faults.add(len(cells) + 1, f"column {column!r} holds {error}")
                cell = None
            cells.append(cell)
            size += len(cell or "")
            if cell is not None and len(cell) > longest:
                fault = f"{len(cell):,} characters, where at most {longest:,} are plausible"
                faults.add(len(cells), f"column {column!r} holds {fault}")
                faults.raise_any()
        if size > _MOST_CHARACTERS:
            raise ValueError(f"column {column!r} holds more than {_MOST_CHARACTERS:,} characters")
    return cells


def _reader_of(kind: Any, read_for: Kind) -> Callable[[Any], str | None]:  # noqa: ANN401
    """The function that converts a value of a column's type to text."""
    import pyarrow as pa

    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    exact = _EXACT.get(kind.bit_width, 2**53) if pa.types.is_floating(kind) else 2**53
    return lambda value: plain_cell(value, read_for, exact)
