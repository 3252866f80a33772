"""Rows and headings in a terminal, drawn by rich.

The invariant: text from the database is passed as `Text`, never as rich markup, and holds no control characters.
"""

import io
import json
import sys
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any, TextIO

import pyarrow as pa
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from autolabel.report.numbers import NONE, significant
from autolabel.report.tables import exact_json
from autolabel.report.text import visible

WIDTH_PER_COLUMN = 8
"""Columns of a terminal below which a column cannot be read; a wider result is shown a row at a time."""
UNBOUNDED = 4_000
"""Width used where the output goes to a file or another program: nothing is folded."""


def console(file: TextIO | None = None) -> Console:
    """A console on `file`, stdout when none is given: as wide as the terminal, or wide enough for everything where there is none."""
    file = file or sys.stdout
    return Console(file=file, width=None if file.isatty() else UNBOUNDED, highlight=False, markup=False, emoji=False)


def drawn(table: pa.Table) -> bytes:
    """Rows for reading as text, nothing folded."""
    text = io.StringIO()
    print_rows(console(text), table)
    return text.getvalue().encode()


def print_rows(out: Console, table: pa.Table) -> None:
    """Rows for reading: numbers rounded, NULL as a dash; a row at a time where the columns do not fit side by side."""
    names = [visible(name) for name in table.column_names]
    columns = [column.to_pylist() for column in table.columns]
    rows = [[cell(value) for value in row] for row in zip(*columns, strict=True)]
    if len(names) * WIDTH_PER_COLUMN <= out.width:
        numeric = [all(isinstance(value, int | float | Decimal | None) for value in column) for column in columns]
        out.print(grid(names, rows, right=[i for i, is_numeric in enumerate(numeric) if is_numeric]))
        return
    for number, row in enumerate(rows, start=1):
        out.print(Text(f"row {number}", style="bold"))
        out.print(pairs(zip(names, row, strict=True)))


def cell(value: Any) -> Text:
    """One value for reading."""
    if value is None:
        return Text(NONE, style="dim")
    if isinstance(value, float | Decimal):
        return Text(significant(float(value), 4))
    if isinstance(value, list | dict | tuple):
        return Text(visible(json.dumps(_rounded(json.loads(exact_json(value))), ensure_ascii=False)))
    return Text(visible(str(value)))


def grid(names: Sequence[str], rows: Iterable[Sequence[Text | str]], *, right: Sequence[int] = ()) -> Table:
    """A table with a header; the columns `right` hold numbers."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for i, name in enumerate(names):
        table.add_column(Text(name), justify="right" if i in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(part) if isinstance(part, str) else part for part in row))
    return table


def pairs(rows: Iterable[tuple[str, Text | str]]) -> Table:
    """Names with their values, one pair a line."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(Text(name), Text(value) if isinstance(value, str) else value)
    return table


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return value
