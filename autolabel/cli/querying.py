"""`autolabel query`: SQL over the database, read-only and fenced in."""

from pathlib import Path
from typing import Annotated

import typer

from autolabel.cli.options import DEFAULT_DB, Db, RowFormat


def query(
    sql: Annotated[str, typer.Argument(help='One statement that reads, e.g. "SELECT * FROM feature_labels LIMIT 5".')],
    db: Db = DEFAULT_DB,
    row_format: Annotated[
        RowFormat, typer.Option("--format", help="table rounds numbers; the others are exact.")
    ] = RowFormat.table,
    out: Annotated[Path | None, typer.Option("--out", help="Write to this file instead of stdout.")] = None,
    timeout: Annotated[float, typer.Option("--timeout", min=0.001, help="Seconds after which the query is stopped.")] = 30.0,
    max_rows: Annotated[int, typer.Option("--max-rows", min=1, help="Rows returned at most.")] = 10_000,
    memory_limit: Annotated[str, typer.Option("--memory-limit", help="Memory the query may use, e.g. 1GB.")] = "1GB",
) -> None:
    """Run SQL over the database: read-only, no files, no network, with limits on time, rows and memory.

    `autolabel db schema` lists tables, views and columns; `feature_labels` is the view to start from.
    """
    from autolabel.report import output, tables
    from autolabel.store import sandbox

    if row_format is RowFormat.parquet:
        output.require_destination(out, "a Parquet file", "rows.parquet")
    result = sandbox.query(db, sql, timeout_s=timeout, max_rows=max_rows, memory_limit=memory_limit)
    match row_format:
        case RowFormat.csv:
            output.deliver(tables.to_csv(result.table), out)
        case RowFormat.json:
            output.deliver(tables.to_json(result.table), out)
        case RowFormat.parquet:
            output.deliver(tables.to_parquet(result.table), out)
        case RowFormat.table:
            from autolabel.report import terminal

            if out is None:
                terminal.print_rows(terminal.console(), result.table)
            else:
                output.deliver(terminal.drawn(result.table), out)
    if result.truncated:
        typer.echo(f"autolabel: only the first {max_rows:,} rows are shown; there are more, pass --max-rows to see them", err=True)
