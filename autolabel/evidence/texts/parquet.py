"""Parquet: the text and id columns alone, a few rows at a time."""

from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq

from autolabel.config import TextSource
from autolabel.errors import DataError
from autolabel.evidence.texts.addresses import client_errors
from autolabel.evidence.texts.columns import lacks_column
from autolabel.evidence.texts.records import MAX_RECORD_BYTES, Rows, TextFile, listed
from autolabel.evidence.texts.streams import compression, is_arrows, unreadable

UNIT = "row"
SUFFIXES = (".parquet", ".pq")
_BATCH_ROWS = 8
"""Few, because a small file can hold a long text once for all rows that share it; one takes 10 µs more per row, more save 1 µs."""
_BUFFER_BYTES = 1024**2
"""With it, pages of a row group are read one after the other; without it, a whole row group would be in memory."""


def rows(file: TextFile, source: TextSource, columns: Collection[str] | None) -> Rows:
    """Every row with its number in the file; without `columns`, those of text and whole numbers.

    Raises:
        DataError: the file is truncated or no Parquet file, or lacks a column.
    """
    with _opened(file) as table:
        schema = table.schema_arrow
        names = _textual(schema, source, file) if columns is None else _checked(schema, columns, source, file)
        number = 0
        for batch in table.iter_batches(batch_size=_batch_rows(table.metadata, names), columns=names):
            values = [batch.column(name) for name in names]
            for row in range(batch.num_rows):
                number += 1
                yield number, {name: _value(value[row], file, number) for name, value in zip(names, values, strict=True)}


@contextmanager
def _opened(file: TextFile) -> Iterator[pq.ParquetFile]:
    if compression(file.name):
        raise DataError(f"'{file.path}' is a compressed Parquet file, which cannot be read in pieces; decompress it")
    try:
        with file.open() as raw:
            yield pq.ParquetFile(raw, buffer_size=_BUFFER_BYTES, pre_buffer=False)
    except UnicodeDecodeError as error:
        raise DataError(
            f"'{file.path}' has a column whose name is not UTF-8 (byte {error.start} of it); rename the column"
        ) from None
    except client_errors(pa.ArrowException, OSError, ValueError) as error:
        if not is_arrows(error):
            raise unreadable(file, error) from None
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"'{file.path}' is truncated or no Parquet file ({why}); fetch it again") from None


def _batch_rows(about: pq.FileMetaData, names: Collection[str]) -> int:
    """One where a column is big enough to hold a text above the limit, so that it is refused before there are copies of it."""
    chunks = (group.column(i) for group in map(about.row_group, range(about.num_row_groups)) for i in range(group.num_columns))
    sizes = (chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema in names)
    return 1 if max(sizes, default=0) > MAX_RECORD_BYTES else _BATCH_ROWS


def _is_text(kind: pa.DataType) -> bool:
    inner = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(inner) or pa.types.is_large_string(inner) or pa.types.is_string_view(inner))


def _textual(schema: pa.Schema, source: TextSource, file: TextFile) -> list[str]:
    names = [field.name for field in schema if _is_text(field.type) or pa.types.is_integer(field.type)]
    if source.text_column is None and not any(_is_text(field.type) for field in schema):
        raise DataError(f"'{file.path}' has no column that holds text (it holds {_typed(schema)}); set text_column")
    return [name for name, times in Counter(names).items() if times == 1]


def _checked(schema: pa.Schema, columns: Collection[str], source: TextSource, file: TextFile) -> list[str]:
    for column, setting in zip(columns, ("text_column", "id_column"), strict=False):
        places = schema.get_all_field_indices(column)
        if len(places) > 1:
            raise DataError(f"'{file.path}' has the column '{column}' more than once; rename one")
        if not places and (setting == "text_column" or source.id_column == column):
            raise lacks_column(file, "", column, setting, schema.names)
        if setting == "text_column" and not _is_text(schema.field(column).type):
            raise DataError(
                f"'{file.path}' column '{column}' holds {schema.field(column).type}, expected text; set text_column "
                f"(it holds {_typed(schema)})"
            )
    return [column for column in columns if column in schema.names]


def _typed(schema: pa.Schema) -> str:
    return listed(f"{field.name}: {field.type}" for field in schema)


def _value(value: pa.Scalar, file: TextFile, number: int) -> object:
    try:
        return value.as_py()
    except UnicodeDecodeError as error:
        raise DataError(f"'{file.path}' row {number} is not UTF-8 (byte {error.start} of the text); convert the file") from None
