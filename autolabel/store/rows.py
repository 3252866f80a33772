"""Turning rows into Arrow tables of a table's own types, and putting them in without repeating any.

The invariants: NaN becomes NULL here and nowhere else, and a row whose key is stored already, or came earlier in the
same batch, is dropped, so the same rows can be inserted any number of times.
"""

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain
from typing import Any, NoReturn

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from autolabel.store.schema import TABLE_KEYS

Row = Mapping[str, Any]
Entry = tuple[str, dict[str, Any]]
"""A table and a storable row of it."""


class TableTypes:
    """The columns of every table, as Arrow types, with those that hold JSON and those that may not be NULL."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.schemas: dict[str, pa.Schema] = {
            table: connection.sql(f"SELECT * FROM {table} LIMIT 0").to_arrow_table().schema for table in TABLE_KEYS
        }
        self._names = {table: frozenset(schema.names) for table, schema in self.schemas.items()}
        self._json: dict[str, set[str]] = defaultdict(set)
        self._required: dict[str, set[str]] = defaultdict(set)
        columns = "SELECT table_name, column_name, data_type = 'JSON', is_nullable FROM duckdb_columns()"
        for table, name, is_json, is_nullable in connection.execute(columns).fetchall():
            if is_json:
                self._json[table].add(name)
            if not is_nullable:
                self._required[table].add(name)

    def of(self, table: str) -> pa.Schema:
        """The columns of one table."""
        if table not in self.schemas:
            raise ValueError(f"no table {table!r}; expected one of {', '.join(self.schemas)}")
        return self.schemas[table]

    def names(self, table: str) -> frozenset[str]:
        """The names of the columns of one table."""
        self.of(table)
        return self._names[table]

    def _require(self, table: str, names: Iterable[str]) -> None:
        unknown = sorted(set(names) - self.names(table))
        if unknown:
            known = ", ".join(self.of(table).names)
            raise ValueError(f"table {table!r} has no column {', '.join(map(repr, unknown))}; expected some of {known}")

    def lacking(self, table: str, row: Row) -> list[str]:
        """The columns that may not be NULL and that `row` does not fill."""
        return sorted(name for name in self._required[table] if row.get(name) is None)

    def storable(self, table: str, row: Row) -> dict[str, Any]:
        """`row` as values that JSON can hold; a JSON column takes any JSON value, or a string that is JSON text already.

        Raises:
            ValueError: the table has no such column, or a string is no JSON text.
        """
        self._require(table, row)
        texts = {name: _json_of(table, name, row[name]) for name in self._json[table] if name in row}
        return {name: texts[name] if name in texts else plain(value) for name, value in row.items()}

    def arrow_of_rows(self, table: str, rows: Sequence[Row]) -> pa.Table:
        """Storable rows as one Arrow table with every column of the table; a column a row lacks is NULL."""
        self._require(table, {name for row in rows for name in row})
        schema = self.of(table)
        columns = [pa.array([_typed(row.get(field.name), field.type) for row in rows], type=field.type) for field in schema]
        return pa.Table.from_arrays(columns, schema=schema)

    def arrow_of_arrow(self, table: str, data: pa.Table) -> pa.Table:
        """Any Arrow table with some of the table's columns, cast to their types; NaN becomes NULL."""
        self._require(table, data.column_names)
        missing = [name for name in TABLE_KEYS[table] if name not in data.column_names]
        if missing:
            raise ValueError(f"rows for table {table!r} lack {', '.join(missing)}, which tell them apart")
        fields = [self.of(table).field(name) for name in data.column_names]
        return pa.Table.from_arrays([_without_nan(data[field.name].cast(field.type)) for field in fields], schema=pa.schema(fields))


def by_table(entries: Iterable[Entry]) -> dict[str, list[dict[str, Any]]]:
    """The rows of each table, in order."""
    grouped: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for table, row in entries:
        grouped[table].append(row)
    return dict(grouped)


def plain(value: Any) -> Any:
    """`value` as JSON can hold it: NaN and infinities are None, times naive UTC text, lone surrogates replaced."""
    if value is None or type(value) in (int, bool) or (type(value) is str and value.isascii()):
        return value
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, datetime):
        return (value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value).isoformat()
    if isinstance(value, Mapping):
        return {plain(str(key)): plain(item) for key, item in value.items()}
    if isinstance(value, Sequence | set | frozenset):
        return [plain(item) for item in value]
    return value


def json_text(value: Any) -> str | None:
    """The text kept in a JSON column.

    Raises:
        ValueError: a string that is no JSON text.
    """
    if value is None:
        return None
    if isinstance(value, str):
        json.loads(value, parse_constant=_refuse)
        text = value
    else:
        try:
            text = _dumped(value)  # ten times as fast as making every part of it plain first
        except (TypeError, ValueError):
            text = _dumped(plain(value))
    return plain(text)  # type: ignore[no-any-return]


def insert_new(connection: duckdb.DuckDBPyConnection, table: str, data: pa.Table) -> None:
    """Insert the rows of `data` whose key the table does not hold yet, the first of equal keys."""
    keys = ", ".join(TABLE_KEYS[table])
    connection.register("incoming", data)
    distinct = connection.execute(f"SELECT count(*) FROM (SELECT DISTINCT {keys} FROM incoming)").fetchone()
    source = "incoming"
    if distinct is not None and distinct[0] < data.num_rows:
        numbered = "(SELECT *, row_number() OVER () AS arrival FROM incoming)"
        first = f"QUALIFY row_number() OVER (PARTITION BY {keys} ORDER BY arrival) = 1"
        source = f"(SELECT * EXCLUDE (arrival) FROM {numbered} {first})"
    connection.execute(f"INSERT INTO {table} BY NAME SELECT * FROM {source} AS new ANTI JOIN {table} USING ({keys})")
    connection.unregister("incoming")


def insert_batches(connection: duckdb.DuckDBPyConnection, table: str, data: Iterable[pa.Table]) -> None:
    """Insert rows that are known to be new as one stream, in flat memory; all tables have the columns of the first."""
    tables = iter(data)
    first = next(tables, None)
    if first is None:
        return
    batches = (batch for piece in chain([first], tables) for batch in piece.to_batches())
    connection.register("incoming", pa.RecordBatchReader.from_batches(first.schema, batches))
    try:
        connection.execute(f"INSERT INTO {table} BY NAME SELECT * FROM incoming")
    finally:
        connection.unregister("incoming")


def _json_of(table: str, name: str, value: Any) -> str | None:
    try:
        return json_text(value)
    except ValueError as error:
        raise ValueError(f"a row of {table!r}: column {name!r} is not JSON: {error}") from error


def _dumped(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON value")


def _typed(value: Any, kind: pa.DataType) -> Any:
    return datetime.fromisoformat(value) if pa.types.is_timestamp(kind) and isinstance(value, str) else value


def _without_nan(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if not pa.types.is_floating(column.type):
        return column
    return pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
