"""Running SQL that somebody else wrote, against the database and nothing else.

The invariant: whatever the text, it can read this one file and cannot write, reach another file or the network,
unlock its own settings, run for longer than its time limit, or return more rows than asked for.
"""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from autolabel.errors import ConfigError, StoreError
from autolabel.store.connection import Config, Database, one_line, open_file, require_current, require_file

BATCH_ROWS = 2_048
OPEN_WAIT_S = 10.0

_READS = (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN)


@dataclass(frozen=True, slots=True)
class QueryResult:
    """The rows of a query; `truncated` when there were more than the limit."""

    table: pa.Table
    truncated: bool


def query(
    path: Path,
    sql: str,
    *,
    params: Mapping[str, Any] | None = None,
    timeout_s: float = 30.0,
    max_rows: int = 10_000,
    memory_limit: str = "1GB",
) -> QueryResult:
    """Run one reading statement with named parameters (`$name`).

    Raises:
        ConfigError: the statement cannot be run, is not a single reading one, or ran out of time or memory.
        StoreError: the file cannot be used.
    """
    require_file(path)
    with Database(path).exclusively(), _locked_down(path, memory_limit) as connection:
        _require_one_read(connection, sql)
        with _time_limit(connection, timeout_s):
            try:
                return _first_rows(connection, sql, params, max_rows)
            except duckdb.InterruptException as error:
                raise ConfigError(
                    f"the query ran for longer than {timeout_s:g} s; narrow it, or pass a longer time limit"
                ) from error
            except duckdb.Error as error:
                raise ConfigError(f"the query cannot be run: {one_line(error)}") from error


def require_one_expression(where: str) -> None:
    """Refuse a condition that is anything but one SQL expression.

    Parsed as the one argument of a function, so that a parenthesis closed early, a second statement or a comment that
    would eat what follows shows in the syntax tree.
    """
    with duckdb.connect(":memory:") as connection:
        row = connection.execute("SELECT json_serialize_sql($sql)", {"sql": f"SELECT list_value(\n{where}\n)"}).fetchone()
    tree: dict[str, Any] = json.loads(row[0]) if row else {"error": True}
    if tree["error"]:
        raise ConfigError(f"the condition {where!r} cannot be parsed: {tree.get('error_message', 'unknown error')}")
    if not _is_one_argument(tree["statements"]):
        raise ConfigError(f'the condition {where!r} is more than one expression; expected something like "label_score > 0.5"')


def _is_one_argument(statements: list[dict[str, Any]]) -> bool:
    node = statements[0]["node"] if len(statements) == 1 else {}
    if node.get("type") != "SELECT_NODE" or len(node["select_list"]) != 1:
        return False
    call = node["select_list"][0]
    bare = node["from_table"]["type"] == "EMPTY" and not node["modifiers"] and not node["where_clause"] and not node["qualify"]
    is_ours = call["type"] == "FUNCTION" and call["function_name"] == "list_value" and not call["filter"] and not call["distinct"]
    return bool(bare and is_ours and len(call["arguments"]) == 1 and not call["order_bys"]["orders"])


@contextmanager
def _locked_down(path: Path, memory_limit: str) -> Iterator[duckdb.DuckDBPyConnection]:
    settings: Config = {
        "enable_external_access": "false",
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "allow_community_extensions": "false",
        "python_enable_replacements": "false",
        "temp_directory": "",
        "max_temp_directory_size": "0B",
        "memory_limit": memory_limit,
        "threads": 2,
        "lock_configuration": "true",
    }
    connection = open_file(path, read_only=True, wait_s=OPEN_WAIT_S, config=settings)
    try:
        require_current(path, connection)
        yield connection
    finally:
        connection.close()


def _require_one_read(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    try:
        statements = connection.extract_statements(sql)
    except duckdb.Error as error:
        raise ConfigError(f"the query cannot be parsed: {one_line(error)}") from error
    if len(statements) != 1:
        raise ConfigError(f"the query holds {len(statements)} statements; expected one")
    if statements[0].type not in _READS:
        raise ConfigError(
            f"the query is a {statements[0].type.name} statement; expected one that reads: SELECT, DESCRIBE, SHOW or EXPLAIN"
        )


@contextmanager
def _time_limit(connection: duckdb.DuckDBPyConnection, timeout_s: float) -> Iterator[None]:
    timer = threading.Timer(timeout_s, connection.interrupt)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _first_rows(connection: duckdb.DuckDBPyConnection, sql: str, params: Mapping[str, Any] | None, max_rows: int) -> QueryResult:
    """Fetch batches until there is one row too many; a relation streams, where an executed statement would hold every row."""
    reader = connection.sql(sql, params=dict(params) if params else None).to_arrow_reader(BATCH_ROWS)
    if reader is None:
        raise StoreError("DuckDB returned no rows for a reading statement")
    batches: list[pa.RecordBatch] = []
    n_rows = 0
    for batch in reader:
        batches.append(batch)
        n_rows += batch.num_rows
        if n_rows > max_rows:
            break
    table = pa.Table.from_batches(batches, schema=reader.schema)
    return QueryResult(table.slice(0, max_rows), truncated=n_rows > max_rows)
