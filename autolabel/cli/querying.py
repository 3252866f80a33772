"""`autolabel query`: SQL over the database, read-only and fenced in."""

from typing import Annotated

import typer

from autolabel.cli.options import DEFAULT_DB, Db, RowFormat
from autolabel.cli.rows import Format, Out, print_table


def query(
    sql: Annotated[str, typer.Argument(help='One statement that reads, e.g. "SELECT * FROM feature_labels LIMIT 5".')],
    db: Db = DEFAULT_DB,
    row_format: Format = RowFormat.table,
    out: Out = None,
    timeout: Annotated[float, typer.Option("--timeout", min=0.001, help="Seconds after which the query is stopped.")] = 30.0,
    max_rows: Annotated[int, typer.Option("--max-rows", min=1, help="Rows returned at most.")] = 10_000,
    memory_limit: Annotated[str, typer.Option("--memory-limit", help="Memory the query may use, e.g. 1GB.")] = "1GB",
) -> None:
    """Run SQL over the database: read-only, no files, no network, with limits on time, rows and memory.

    `autolabel db schema` lists tables, views and columns; `feature_labels` is the view to start from.
    """
    from autolabel.report import output
    from autolabel.store import sandbox

    if row_format is RowFormat.parquet:
        output.require_destination(out, "a Parquet file", "rows.parquet")
    result = sandbox.query(db, sql, timeout_s=timeout, max_rows=max_rows, memory_limit=memory_limit)
    print_table(result.table, row_format, out)
    if result.truncated:
        typer.echo(f"autolabel: only the first {max_rows:,} rows are shown; there are more, pass --max-rows to see them", err=True)
