"""Printing rows in the format that was asked for."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autolabel.cli.options import RowFormat

if TYPE_CHECKING:
    import pyarrow as pa

Format = Annotated[RowFormat, typer.Option("--format", help="table rounds numbers; the others are exact.")]
Out = Annotated[Path | None, typer.Option("--out", help="Write to this file instead of stdout.")]


def print_table(table: "pa.Table", row_format: RowFormat, out: Path | None) -> None:
    """Write rows to the file `out`, or to stdout when there is none."""
    from autolabel.report import output, tables

    match row_format:
        case RowFormat.csv:
            output.deliver(tables.to_csv(table), out)
        case RowFormat.json:
            output.deliver(tables.to_json(table), out)
        case RowFormat.parquet:
            output.deliver(tables.to_parquet(table), out)
        case RowFormat.table:
            from autolabel.report import terminal

            if out is None:
                terminal.print_rows(terminal.console(), table)
            else:
                output.deliver(terminal.drawn(table), out)
