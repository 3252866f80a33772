"""Bringing a database file to the newest schema.

The invariant: a change and its record are one transaction, so a file has been through a migration wholly or not at
all; a file that did not exist before a migration that failed does not exist after it; a file that lacks nothing is
not opened for writing.
"""

from pathlib import Path

from autolabel._version import __version__
from autolabel.errors import StoreLocked
from autolabel.store import schema
from autolabel.store.connection import Database
from autolabel.store.schema import applied_migrations, apply_migration, create_views, has_newest_views


def migrate(path: Path, *, wait_s: float = 10.0) -> list[str]:
    """Create the file or bring it and its views up to date; the names of the migrations that were applied.

    Raises:
        SchemaTooNew: it has been through a migration unknown here.
        StoreLocked: another process holds it.
        StoreError: it is not one of ours, or a migration failed; the file is then as it was.
    """
    database = Database(path)
    if _is_up_to_date(database, wait_s):
        return []
    is_new = not database.path.exists()
    database.path.parent.mkdir(parents=True, exist_ok=True)
    applied: list[str] = []
    try:
        while not _apply_next(database, wait_s, applied):
            pass
    except StoreLocked:
        raise  # somebody else is making the file
    except BaseException:
        if is_new and not applied:
            database.path.unlink(missing_ok=True)
        raise
    return applied


def _is_up_to_date(database: Database, wait_s: float) -> bool:
    """Whether the file has been through every migration and has the newest views: looked at beside any other reader."""
    if not database.path.exists():
        return False
    with database.read(wait_s, migrating=True) as connection:
        done = applied_migrations(connection) or []
        return all(migration.name in done for migration in schema.MIGRATIONS) and has_newest_views(connection)


def _apply_next(database: Database, wait_s: float, applied: list[str]) -> bool:
    """Apply the first pending migration, if any, and say whether it was the last; the views come with the last."""
    with database.write(wait_s, migrating=True) as connection:
        done = applied_migrations(connection) or []
        pending = [migration for migration in schema.MIGRATIONS if migration.name not in done]
        if pending:
            apply_migration(connection, pending[0], __version__)
        if len(pending) <= 1:
            create_views(connection)
    applied.extend(migration.name for migration in pending[:1])
    return len(pending) <= 1
