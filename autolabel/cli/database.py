"""`autolabel db`: is the file consistent, what does it hold, bring it up to date, compare it with another."""

from pathlib import Path
from typing import Annotated

import typer

from autolabel.cli.options import DEFAULT_DB, Db

app = typer.Typer(help="Look after the database file.", no_args_is_help=True)


@app.command()
def check(db: Db = DEFAULT_DB) -> None:
    """Look for rows that cannot be right; exit 1 when there are any."""
    from autolabel.store.connection import Database
    from autolabel.store.maintenance import check as problems

    _report(problems(Database(db)), f"{db}: nothing wrong")


@app.command()
def schema(
    db: Annotated[Path | None, typer.Option("--db", help="Describe this file; without it, a new database.")] = None,
) -> None:
    """Print tables, views and columns with what they mean, their units and directions."""
    from autolabel.store.maintenance import schema as described

    typer.echo(described(db))


@app.command()
def migrate(db: Db = DEFAULT_DB) -> None:
    """Bring the file to the newest schema; a file that does not exist is created."""
    from autolabel.store.migrations import migrate as bring_up_to_date

    applied = bring_up_to_date(db)
    typer.echo(f"{db}: applied {', '.join(applied)}" if applied else f"{db}: up to date")


@app.command()
def diff(
    first: Annotated[Path, typer.Argument(help="A database file.")],
    second: Annotated[Path, typer.Argument(help="Another.")],
) -> None:
    """Compare what two databases know, times and ids of runs aside; exit 1 when they differ."""
    from autolabel.store.maintenance import diff as differences

    _report(differences(first, second), "no differences")


def _report(lines: list[str], when_none: str) -> None:
    for line in lines:
        typer.echo(line)
    if lines:
        raise typer.Exit(1)
    typer.echo(when_none, err=True)
