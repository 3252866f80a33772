"""Options that several commands share, so that they read the same everywhere."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

DEFAULT_DB = Path("labels.duckdb")

Db = Annotated[Path, typer.Option("--db", envvar="AUTOLABEL_DB", help="Database file.", show_default=True)]
Seed = Annotated[int | None, typer.Option("--seed", help="Seed of every sample; wins over the settings file.")]
Device = Annotated[str | None, typer.Option("--device", help="auto, cpu, cuda, cuda:1, …; wins over the settings file.")]


class RowFormat(StrEnum):
    """How rows are printed."""

    table = "table"
    csv = "csv"
    json = "json"
    parquet = "parquet"
