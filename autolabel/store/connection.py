"""Opening the database file, briefly, and saying who holds it when it cannot be opened.

DuckDB lets either one process write or several read, and nobody else in between, so nothing here keeps a file open
for longer than one `with` block. The invariant: a file that is not ours is refused before it is opened for writing,
and one process never opens a file twice.
"""

import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from autolabel.errors import SchemaTooNew, StoreError, StoreLocked
from autolabel.store.schema import MIGRATIONS, applied_migrations

logger = logging.getLogger(__name__)

MEMORY_LIMIT = "2GB"
RETRY_S = 0.05
NOTICE_S = 2.0
"""A wait longer than this is logged, once."""

Config = dict[str, str | bool | int | float | list[str]]
"""Settings of DuckDB."""

_HOLDER = re.compile(r"lock is held in (?P<program>.*?) ?\(PID (?P<pid>\d+)\)")


@dataclass
class _Guard:
    """One per file and process: DuckDB refuses a second connection to a file in another mode, so threads take turns."""

    lock: threading.RLock = field(default_factory=threading.RLock)
    connection: duckdb.DuckDBPyConnection | None = None
    ours: tuple[int, int] | None = None
    """Device and inode of the file last seen to be ours, so that only a new file is inspected before it is written."""


_guards: dict[Path, _Guard] = {}
_guards_lock = threading.Lock()


def _guard(path: Path) -> _Guard:
    with _guards_lock:
        return _guards.setdefault(path.resolve(), _Guard())


class Database:
    """One database file. Nothing is open outside the `with` blocks."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)

    @contextmanager
    def read(self, wait_s: float = 10.0, *, migrating: bool = False) -> Iterator[duckdb.DuckDBPyConnection]:
        """A read-only connection; inside another block of this thread, that block's connection.

        `migrating` admits a file that holds nothing or has an older schema.

        Raises:
            StoreLocked: another process still writes after `wait_s` seconds.
            StoreError: no such file, not one of ours, or of an older schema.
        """
        guard = _guard(self.path)
        with guard.lock:
            if guard.connection is not None:
                yield guard.connection
                return
            require_file(self.path)
            connection = open_file(self.path, read_only=True, wait_s=wait_s)
            try:
                (require_ours if migrating else require_current)(self.path, connection)
                with self._entered(guard, connection):
                    yield connection
            finally:
                connection.close()

    @contextmanager
    def write(self, wait_s: float = 10.0, *, migrating: bool = False) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection in one transaction: committed when the block ends, rolled back when it raises.

        `migrating` admits a file that does not exist yet, holds nothing, or has an older schema. While it waits, other threads
        of this process may read.

        Raises:
            StoreLocked: another process still holds the file after `wait_s` seconds.
            StoreError: not one of ours, or DuckDB refused what the block did.
        """
        guard = _guard(self.path)
        connection = _patiently(lambda: self._take(guard, migrating=migrating), wait_s)
        try:
            with self._entered(guard, connection):
                connection.begin()
                yield connection
                connection.commit()
        finally:
            connection.close()  # an unfinished transaction is rolled back by closing
            guard.lock.release()

    @contextmanager
    def exclusively(self) -> Iterator[None]:
        """Keep this process's other threads off the file, for code that opens it with settings of its own."""
        guard = _guard(self.path)
        with guard.lock:
            if guard.connection is not None:
                raise RuntimeError("a query of its own cannot begin inside another block on the same file")
            yield

    @contextmanager
    def _entered(self, guard: _Guard, connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
        guard.connection = connection
        try:
            yield
        except duckdb.Error as error:
            raise StoreError(f"{self.path}: {one_line(error)}") from error
        finally:
            guard.connection = None

    def _take(self, guard: _Guard, *, migrating: bool) -> duckdb.DuckDBPyConnection:
        """Open the file for writing, without waiting; this thread then has the guard's lock."""
        guard.lock.acquire()
        try:
            if guard.connection is not None:
                raise RuntimeError("a write cannot begin inside another block on the same file")
            if not migrating:
                require_file(self.path)
            self._inspect(guard, migrating=migrating)
            return open_file(self.path, read_only=False, wait_s=0.0)
        except BaseException:
            guard.lock.release()
            raise

    def _inspect(self, guard: _Guard, *, migrating: bool) -> None:
        """Look at the file read-only before it is opened for writing, which would already change a stranger's file."""
        if not self.path.exists():
            return
        status = self.path.stat()
        identity = (status.st_dev, status.st_ino)
        if guard.ours == identity and not migrating:
            return
        connection = open_file(self.path, read_only=True, wait_s=0.0)
        try:
            known = require_ours(self.path, connection)
            if not migrating:
                require_current(self.path, connection)
        finally:
            connection.close()
        guard.ours = identity if known else None


def open_file(path: Path, *, read_only: bool, wait_s: float, config: Config | None = None) -> duckdb.DuckDBPyConnection:
    """Open a file, trying again while another process holds it, for at most `wait_s` seconds."""

    def opened() -> duckdb.DuckDBPyConnection:
        try:
            return duckdb.connect(str(path), read_only=read_only, config=config or {"memory_limit": MEMORY_LIMIT})
        except duckdb.Error as error:
            message = str(error)
            if "Could not set lock" in message:
                raise StoreLocked(_held(path, message)) from error
            raise StoreError(_cannot_open(path, error)) from error

    return _patiently(opened, wait_s)


def _patiently(opened: Callable[[], duckdb.DuckDBPyConnection], wait_s: float) -> duckdb.DuckDBPyConnection:
    """Try again while another process holds the file, for at most `wait_s` seconds."""
    started = time.monotonic()
    noticed = False
    while True:
        try:
            return opened()
        except StoreLocked as locked:
            waited = time.monotonic() - started
            if waited >= wait_s:
                raise
            if waited >= NOTICE_S and not noticed:
                logger.info("waiting: %s", locked)
                noticed = True
        time.sleep(RETRY_S)


def require_file(path: Path) -> None:
    """Refuse a path where there is no file."""
    if not path.exists():
        raise StoreError(
            f"{path} does not exist; `autolabel run CONFIG.toml --db {path}` creates it, or pass --db with the file you mean"
        )


def require_ours(path: Path, connection: duckdb.DuckDBPyConnection) -> list[str]:
    """The migrations of a file that is ours (none for an empty one)."""
    applied = applied_migrations(connection)
    if applied is None:
        raise StoreError(
            f"{path} is a DuckDB database, but not one of autolabel's; it was left as it is. Pass --db with another file"
        )
    unknown = [name for name in applied if name not in {migration.name for migration in MIGRATIONS}]
    if unknown:
        raise SchemaTooNew(
            f"{path} was written by a later version of autolabel (migration {', '.join(unknown)} is unknown here); "
            "upgrade autolabel"
        )
    return applied


def require_current(path: Path, connection: duckdb.DuckDBPyConnection) -> None:
    """Refuse a file that has not been through every migration."""
    applied = require_ours(path, connection)
    missing = [migration.name for migration in MIGRATIONS if migration.name not in applied]
    if missing:
        raise StoreError(
            f"{path} has an older schema (without {', '.join(missing)}); `autolabel db migrate --db {path}` brings it up to date"
        )


def one_line(error: Exception) -> str:
    """DuckDB's message without the source excerpt and advice that follow it, on one line."""
    return " ".join(str(error).split("\n\nLINE")[0].split("\n\nDatabase is")[0].split())


def _held(path: Path, message: str) -> str:
    match = _HOLDER.search(message)
    holder = f"PID {match['pid']} ({Path(match['program']).name})" if match else "another process"
    return f"{path} is in use by {holder}; DuckDB lets one process write or several read. Wait for it, or pass --db with a copy"


def _cannot_open(path: Path, error: duckdb.Error) -> str:
    if "not a valid DuckDB database" in str(error):
        return f"{path} is not a DuckDB database; it was left as it is. Pass --db with another file"
    return f"{path} cannot be opened: {one_line(error)}"
