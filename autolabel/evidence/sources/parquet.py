"""Parquet files that are read a few rows at a time: columns of the expected types, nothing missing, sorted by context_id.

The invariant: what `read_rows` yields has exactly the types asked for (text as dictionaries), without a single NULL, and ids that never
fall.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from autolabel.errors import DataError
from autolabel.evidence.sources.base import MAX_CONTEXT_TOKENS
from autolabel.evidence.sources.parquet_text import is_text, text_paths

FORMAT_KEY, FORMAT_VERSION = b"autolabel_format", b"1"
CONTEXT_COLUMNS = {"context_id": pa.int64(), "document_id": pa.string(), "tokens": pa.list_(pa.string())}
ACTIVATION_COLUMNS = {
    "context_id": pa.int64(),
    "feature_index": pa.int64(),
    "positions": pa.list_(pa.int64()),
    "values": pa.list_(pa.float32()),
}
_SQL_TYPES = {
    "context_id": "BIGINT",
    "document_id": "VARCHAR",
    "tokens": "VARCHAR[]",
    "feature_index": "INTEGER",
    "positions": "INTEGER[]",
    "values": "FLOAT[]",
}
_BUFFER_BYTES = 1 << 20
_MOST_VALUES = 1 << 24
"""Lists of a row group may hold so many values, whatever its rows: a few bytes can stand for very many that are alike."""


def open_parquet(path: Path, columns: Mapping[str, pa.DataType]) -> pq.ParquetFile:
    """Open a file and check that it has these columns, in the expected types or wider and narrower ones of the same kind.

    Raises:
        DataError: it is missing, truncated or no Parquet, was written by a later version, or a column is missing or of another type.
    """
    try:
        file = _opened(path)
        schema, metadata = file.schema_arrow, file.metadata.metadata or {}
    except FileNotFoundError:
        raise DataError(
            f"there is no '{path}'; docs/activation-files.md says which files [source] kind = \"activations\" needs"
        ) from None
    except UnicodeDecodeError:
        raise DataError(f"'{path}' has a column whose name is not UTF-8; rename it when you write the file") from None
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"'{path}' cannot be read ({_short(error)}); it is truncated or no Parquet file, write it again") from None
    version = metadata.get(FORMAT_KEY, FORMAT_VERSION)
    if version != FORMAT_VERSION:
        raise DataError(
            f"'{path}' has autolabel_format = {version.decode(errors='replace')}, this version reads 1; update autolabel"
        )
    for name, wanted in columns.items():
        if schema.names.count(name) != 1:
            raise DataError(f"'{path}' has no column '{name}' ({_SQL_TYPES[name]}); it has {', '.join(schema.names) or 'none'}")
        found = schema.field(name).type
        if not _fits(found, wanted):
            raise DataError(
                f"'{path}': column '{name}' has type {found}, expected {_SQL_TYPES[name]}; cast it when you write the file"
            )
    return _opened(path, text_paths(path, file, columns))


def _opened(path: Path, dictionaries: Sequence[str] = ()) -> pq.ParquetFile:
    """Some columns are read as dictionaries; pre-buffered bytes would stay until the end."""
    return pq.ParquetFile(path, buffer_size=_BUFFER_BYTES, pre_buffer=False, read_dictionary=list(dictionaries))


def require_short_lists(path: Path, file: pq.ParquetFile, name: str) -> None:
    """Refuse a file whose lists would fill the memory before they could be looked at one by one.

    Raises:
        DataError: a row group holds more values than its rows may have.
    """
    for group, (n_rows, n_values) in enumerate(_list_sizes(file, name)):
        if n_values > max(_MOST_VALUES, n_rows * MAX_CONTEXT_TOKENS):
            raise DataError(
                f"'{path}': the lists of '{name}' in row group {group} hold {n_values} values in {n_rows} rows, at most "
                f"{MAX_CONTEXT_TOKENS} in each are possible; write contexts of fewer tokens"
            )


def longest_lists(file: pq.ParquetFile, name: str) -> int:
    """The mean length of a column's lists in the row group where it is largest."""
    return max((n_values // max(n_rows, 1) for n_rows, n_values in _list_sizes(file, name)), default=0)


def _list_sizes(file: pq.ParquetFile, name: str) -> Iterator[tuple[int, int]]:
    """Rows and values of a column of lists in each row group."""
    for part in map(file.metadata.row_group, range(file.num_row_groups)):
        chunks = map(part.column, range(part.num_columns))
        yield part.num_rows, sum(chunk.num_values for chunk in chunks if chunk.path_in_schema.startswith(f"{name}."))


def read_rows(
    path: Path, file: pq.ParquetFile, columns: Mapping[str, pa.DataType], rows: int, first_group: int = 0
) -> Iterator[pa.RecordBatch]:
    """Yield at most `rows` rows at a time, from a row group on.

    Raises:
        DataError: a page is damaged, a number does not fit, something is NULL, or the ids are not sorted.
    """
    groups = range(first_group, file.num_row_groups)  # one at a time: dictionaries of two cannot be put into one batch
    previous: int | None = None
    try:
        for batch in chain.from_iterable(file.iter_batches(rows, row_groups=[group], columns=list(columns)) for group in groups):
            if len(batch) == 0:
                continue
            batch = pa.RecordBatch.from_arrays([_column(path, batch, name, columns[name]) for name in columns], list(columns))
            ids = batch.column("context_id").to_numpy()
            _require_order(path, ids, previous, strictly="tokens" in columns)
            previous = int(ids[-1])
            yield batch
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"'{path}' cannot be read ({_short(error)}); the file is damaged, write it again") from None


def first_group_with(file: pq.ParquetFile, context_id: int) -> int:
    """The first row group that may hold ids from `context_id` on, by the file's statistics."""
    n_groups: int = file.num_row_groups
    for group in range(n_groups):
        bounds = _bounds(file, group, "context_id")
        if bounds is None or bounds[1] >= context_id:
            return group
    return n_groups


def largest(path: Path, file: pq.ParquetFile, name: str) -> int | None:
    """The largest value of a column of integers, from the file's statistics where it has them; None when the file is empty."""
    bounds = [_bounds(file, group, name) for group in range(file.num_row_groups)]
    if bounds and None not in bounds:
        return max(known[1] for known in bounds if known is not None)
    found = [int(batch.column(name).to_numpy().max()) for batch in read_rows(path, file, _only(name), 1 << 16)]
    return max(found, default=None)


def require_sorted_groups(path: Path, file: pq.ParquetFile) -> None:
    """Refuse at once, by the file's statistics, what `read_rows` would only find out on the way.

    Raises:
        DataError: row groups are not in the order of their ids.
    """
    known = [bounds for group in range(file.num_row_groups) if (bounds := _bounds(file, group, "context_id"))]
    for earlier, later in pairwise(known):
        if later[0] < earlier[1]:
            raise _unsorted(path, earlier[1], later[0])


def _only(name: str) -> dict[str, pa.DataType]:
    return {"context_id": pa.int64(), name: ACTIVATION_COLUMNS[name]}


def _bounds(file: pq.ParquetFile, group: int, name: str) -> tuple[int, int] | None:
    part = file.metadata.row_group(group)
    chunks = (part.column(index) for index in range(part.num_columns))
    statistics = next((chunk.statistics for chunk in chunks if chunk.path_in_schema == name), None)
    if statistics is None or not statistics.has_min_max:
        return None
    return int(statistics.min), int(statistics.max)


def _fits(found: pa.DataType, wanted: pa.DataType) -> bool:
    if pa.types.is_dictionary(found):
        return _fits(found.value_type, wanted)
    if pa.types.is_list(wanted):
        is_list = pa.types.is_list(found) or pa.types.is_large_list(found) or pa.types.is_fixed_size_list(found)
        return is_list and _fits(found.value_type, wanted.value_type)
    if pa.types.is_string(wanted):
        return bool(pa.types.is_string(found) or pa.types.is_large_string(found) or pa.types.is_string_view(found))
    return bool((pa.types.is_integer if pa.types.is_integer(wanted) else pa.types.is_floating)(found))


def _column(path: Path, batch: pa.RecordBatch, name: str, wanted: pa.DataType) -> pa.Array:
    """A column in the type wanted, text as a dictionary; refuses NULLs, naming the context."""
    ids, column = batch.column("context_id"), batch.column(name)
    if column.null_count:
        row = column.is_null().index(True).as_py()
        raise DataError(f"'{path}', context_id {ids[row]}: column '{name}' is NULL; leave the row out or fill it in")
    if pa.types.is_list(wanted) and column.flatten().null_count:
        row = next(row for row, values in enumerate(column) if any(value.is_valid is False for value in values))
        raise DataError(f"'{path}', context_id {ids[row]}: column '{name}' has a NULL in its list; leave it out or fill it in")
    if is_text(wanted):
        return _in_plain_list(column) if pa.types.is_list(wanted) else column
    try:
        return column.cast(wanted)
    except pa.ArrowInvalid as error:
        raise DataError(f"'{path}': column '{name}' is no {_SQL_TYPES[name]} ({_short(error)}); write smaller numbers") from None


def _in_plain_list(column: pa.Array) -> pa.ListArray:
    """A list of any kind without NULLs as the plain kind."""
    ends = np.cumsum(pc.list_value_length(column).to_numpy(zero_copy_only=False))
    return pa.ListArray.from_arrays(pa.array(np.concatenate([[0], ends]), pa.int32()), column.flatten())


def _require_order(path: Path, ids: np.ndarray[Any, np.dtype[np.int64]], previous: int | None, strictly: bool) -> None:
    before = ids[:-1] if previous is None else np.concatenate([[previous], ids[:-1]])
    after = ids[1:] if previous is None else ids
    wrong = np.flatnonzero(after <= before if strictly else after < before)
    if len(wrong) and after[wrong[0]] == before[wrong[0]]:
        raise DataError(
            f"'{path}' has context_id {after[wrong[0]]} twice; number the contexts, each has one row with all its tokens"
        )
    if len(wrong):
        raise _unsorted(path, int(before[wrong[0]]), int(after[wrong[0]]))


def _unsorted(path: Path, before: int, after: int) -> DataError:
    sql = f"COPY (SELECT * FROM '{path.name}' ORDER BY context_id) TO 'sorted.parquet' (FORMAT parquet)"
    return DataError(
        f"'{path}' is not sorted by context_id: {after} comes after {before}; sort it with DuckDB, {sql}, and rename the file"
    )


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
