"""Rows of the database as bytes for other programs: CSV, JSON, JSON lines, Parquet.

The invariant: values are exact. Text is untouched, NULL is empty in CSV (an empty text is `""`) and null in JSON, and a number that JSON
readers would round is written as text.
"""

import base64
import io
import json
import math
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from autolabel.errors import ConfigError


def to_csv(table: pa.Table) -> bytes:
    """CSV with a header; lists and structures are JSON text."""
    buffer = io.BytesIO()
    columns = [_flat(column) for column in table.columns]
    pyarrow.csv.write_csv(pa.Table.from_arrays(columns, names=table.column_names), buffer)
    return buffer.getvalue()


def to_json(table: pa.Table) -> bytes:
    """One JSON array with an object per row, a row per line."""
    lines = _objects(table)
    return ("[\n" + ",\n".join(lines) + "\n]\n" if lines else "[]\n").encode()


def to_jsonl(table: pa.Table) -> bytes:
    """One JSON object per line."""
    return "".join(line + "\n" for line in _objects(table)).encode()


def to_parquet(table: pa.Table) -> bytes:
    """One Parquet file with the types of the columns."""
    _require_distinct_names(table)
    buffer = io.BytesIO()
    try:
        pyarrow.parquet.write_table(table, buffer)
    except pa.ArrowNotImplementedError as error:
        raise ConfigError(f"Parquet cannot hold these columns ({error}); cast them, as in CAST(x AS VARCHAR)") from error
    return buffer.getvalue()


def exact_json(value: Any) -> str:
    """A value of the database as JSON text on one line."""
    return json.dumps(_jsonable(value), ensure_ascii=False, allow_nan=False)


def _objects(table: pa.Table) -> list[str]:
    _require_distinct_names(table)
    return [exact_json(row) for row in table.to_pylist(maps_as_pydicts="strict")]


def _require_distinct_names(table: pa.Table) -> None:
    repeated = sorted({name for name in table.column_names if table.column_names.count(name) > 1})
    if repeated:
        raise ConfigError(f"the query returns more than one column named {repeated[0]!r}; give them different names with AS")


def _flat(column: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = column.type
    if pa.types.is_null(kind):
        return column.cast(pa.string())
    if pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_interval(kind):
        values = column.to_pylist(maps_as_pydicts="strict") if pa.types.is_nested(kind) else column.to_pylist()
        texts = [value if isinstance(value := _jsonable(item), str | None) else exact_json(item) for item in values]
        return pa.chunked_array([pa.array(texts, pa.string())])
    return column


def _jsonable(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_jsonable(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Decimal):
        return _exact_number(value)
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def _exact_number(value: Decimal) -> int | float | str:
    if value == value.to_integral_value():
        return int(value)
    return float(value) if Decimal(repr(float(value))) == value else str(value)
