"""Where a run keeps what it makes.

The invariants: a row that was appended survives a crash and reaches the database once; a reader that holds the
database file open delays that, but never the run; one run at a time writes to a database.
"""

import logging
import threading
import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import duckdb
import pyarrow as pa

from autolabel._version import __version__
from autolabel.errors import StoreError, StoreLocked
from autolabel.store.connection import Database, one_line
from autolabel.store.journal import Entry, Journal
from autolabel.store.migrations import migrate
from autolabel.store.reply_cache import ReplyCache
from autolabel.store.rows import Row, TableTypes, insert_new
from autolabel.store.run_lock import RunLock
from autolabel.store.schema import create_tables

logger = logging.getLogger(__name__)

DRAIN_EVERY_S = 2.0
BULK_WAIT_S = 600.0
CLOSE_WAIT_S = 30.0


class RunStore:
    """The database of one run, open from `open` to `close`; safe to use from several threads."""

    def __init__(self, path: Path, run_id: str, lock: RunLock, wait_s: float) -> None:
        self.run_id = run_id
        self.database = Database(path)
        self._lock = lock
        self._rehearsal = duckdb.connect(":memory:", config={"memory_limit": "512MB", "threads": 1})
        create_tables(self._rehearsal)
        self._rehearsal_lock = threading.Lock()
        self._types = TableTypes(self._rehearsal)
        self._journal = Journal(self.database.path)
        self._replies = ReplyCache(self.database)
        self._drain_lock = threading.Lock()
        self._failure: StoreError | None = None
        self._blocked = False
        self._stopping = threading.Event()
        self._drainer = threading.Thread(target=self._drain_often, name="journal-drain", daemon=True)
        try:
            self.drain(wait_s)
            self._take_over(wait_s)
        except BaseException:
            self._journal.close()
            self._rehearsal.close()
            raise
        self._drainer.start()

    @classmethod
    def open(cls, path: Path, run_id: str, *, wait_s: float = 30.0) -> Self:
        """Lock the database for this run, create or migrate it, and bring in what a killed run left in its journal.

        Raises:
            StoreLocked: another run has the database, or another process holds its file for longer than `wait_s`.
            StoreError: the file or the journal cannot be used.
        """
        lock = RunLock(Path(path))
        lock.acquire()
        try:
            migrate(Path(path), wait_s=wait_s)
            return cls(Path(path), run_id, lock, wait_s)
        except BaseException:
            lock.release()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # What a run makes

    def append(self, table: str, rows: Sequence[Row]) -> None:
        """Keep rows; returns once they are safe from a crash of this process, without waiting for the database.

        `run_id` and `created_utc` are filled in where a row lacks them.

        Raises:
            ValueError: a row that the table would refuse.
        """
        if table == "runs":
            raise ValueError("rows of 'runs' are written by start_run and finish_run")
        self._keep([(table, row) for row in rows])

    def record(self, call: Row | None, attempt: Row) -> None:
        """Keep an attempt at an LLM call and, when it was accepted, its reply, with one write (the `CallStore` protocol)."""
        entries: list[tuple[str, Row]] = [("llm_attempts", {"attempt_id": uuid.uuid4().hex} | dict(attempt))]
        if call is not None:
            entries.append(("llm_calls", call))
        self._keep(entries)
        if call is not None:
            self._replies.recorded(call["request_hash"], call["reply"])

    def get(self, request_hash: str) -> Mapping[str, Any] | None:
        """The accepted reply to a request, from this run or any before it (the `CallStore` protocol)."""
        return self._replies.get(request_hash)

    def prefetch(self, request_hashes: Iterable[str]) -> None:
        """Load the stored replies to these requests with one read, in place of those prefetched before."""
        self._replies.prefetch(request_hashes)

    def insert_arrow(self, table: str, data: pa.Table, *, wait_s: float = BULK_WAIT_S) -> None:
        """Put many rows of one table straight into the database; see `insert_many`."""
        self.insert_many({table: data}, wait_s=wait_s)

    def insert_many(self, tables: Mapping[str, pa.Table | Sequence[Row]], *, wait_s: float = BULK_WAIT_S) -> None:
        """Put many rows of several tables (Arrow, or a few rows) into the database, all or none; rows stored already are left out.

        Raises:
            StoreLocked: another process holds the file for longer than `wait_s`.
            StoreError: a row that its table refuses.
        """
        stamped = {table: self._stamped_table(table, data) for table, data in tables.items()}
        with self.database.write(wait_s) as connection:
            for table, data in stamped.items():
                insert_new(connection, table, data)

    def start_run(self, command: str, config: Mapping[str, Any], config_hash: str, seed: int, *, wait_s: float = 30.0) -> None:
        """Say that this run has begun."""
        row = self._types.storable(
            "runs",
            {
                "run_id": self.run_id,
                "command": command,
                "config": config,
                "config_hash": config_hash,
                "seed": seed,
                "code_version": __version__,
                "status": "running",
                "started_utc": _now(),
            },
        )
        with self.database.write(wait_s) as connection:
            insert_new(connection, "runs", self._types.arrow_of_rows("runs", [row]))

    def finish_run(self, status: Literal["done", "failed", "interrupted"], message: str | None = None) -> None:
        """Say how this run ended; through the journal, so that a reader who holds the file cannot make it forgotten."""
        row = {"run_id": self.run_id, "status": status, "message": message, "finished_utc": _now()}
        self._journal.append([("runs", self._types.storable("runs", row))])

    # From the journal to the database

    def drain(self, wait_s: float = BULK_WAIT_S) -> None:
        """Bring every row kept so far into the database.

        Raises:
            StoreLocked: another process holds the file for longer than `wait_s`; the rows stay in the journal.
            StoreError: the journal is damaged, or the database refused a row.
        """
        with self._drain_lock:
            if self._failure is not None:
                raise self._failure
            while self._journal.set_aside():
                entries = self._journal.entries()
                try:
                    with self.database.write(wait_s) as connection:
                        self._insert(connection, entries)
                except (ValueError, pa.ArrowException) as error:  # rows of another version, or edited by hand
                    raise StoreError(f"{self._journal.draining}: a row does not fit its table: {error}") from error
                self._journal.drained()
                self._blocked = False
                self._replies.drained(row["request_hash"] for table, row in entries if table == "llm_calls")

    def close(self, wait_s: float = CLOSE_WAIT_S) -> None:
        """Drain and let go of everything. What cannot be drained stays in the journal for the next run, and a warning says so."""
        self._stopping.set()
        self._drainer.join()
        try:
            self.drain(wait_s)
        except StoreLocked as error:
            logger.warning("%s; what this run made waits in %s until the next run", error, self._journal.path)
        finally:
            self._journal.close()
            self._rehearsal.close()
            self._lock.release()

    def _keep(self, given: Sequence[tuple[str, Row]]) -> None:
        entries = [(table, self._types.storable(table, self._stamped(table, row))) for table, row in given]
        self._rehearse(entries)
        self._journal.append(entries)

    def _rehearse(self, entries: Sequence[Entry]) -> None:
        """Insert into an empty copy of the tables, so that a row that could never be drained fails where it was made."""
        with self._rehearsal_lock:
            self._rehearsal.begin()
            try:
                self._insert(self._rehearsal, entries)
            except (duckdb.Error, pa.ArrowException) as error:
                raise ValueError(f"a row cannot be stored: {one_line(error)}") from error
            finally:
                self._rehearsal.rollback()

    def _insert(self, connection: duckdb.DuckDBPyConnection, entries: Sequence[Entry]) -> None:
        grouped: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for table, row in entries:
            grouped[table].append(row)
        for row in grouped.pop("runs", []):
            connection.execute(
                "UPDATE runs SET status = $status, message = $message, finished_utc = $finished_utc WHERE run_id = $run_id",
                row,
            )
        for table, rows in grouped.items():
            insert_new(connection, table, self._types.arrow_of_rows(table, rows))

    def _drain_often(self) -> None:
        while not self._stopping.wait(DRAIN_EVERY_S):
            try:
                self.drain(wait_s=0.0)
            except StoreLocked as error:
                if not self._blocked:
                    logger.warning("%s; until then what this run makes waits in %s", error, self._journal.path)
                self._blocked = True
            except StoreError as error:
                logger.error("%s", error)
                self._failure = error
                return

    def _take_over(self, wait_s: float) -> None:
        """Close the books of runs that died (this run holds the lock, so none is running) and learn what was answered."""
        with self.database.write(wait_s) as connection:
            connection.execute(
                "UPDATE runs SET status = 'interrupted', message = 'the process ended without saying why' WHERE status = 'running'"
            )
            self._replies.load(connection)

    def _stamped(self, table: str, row: Row) -> Row:
        return {name: value for name, value in self._stamps().items() if name in self._types.of(table).names} | dict(row)

    def _stamped_table(self, table: str, data: pa.Table | Sequence[Row]) -> pa.Table:
        if isinstance(data, pa.Table):
            return self._types.arrow_of_arrow(table, self._stamped_arrow(table, data))
        return self._types.arrow_of_rows(table, [self._types.storable(table, self._stamped(table, row)) for row in data])

    def _stamped_arrow(self, table: str, data: pa.Table) -> pa.Table:
        for name, value in self._stamps().items():
            if name in self._types.of(table).names and name not in data.column_names:
                data = data.append_column(name, pa.array([value] * data.num_rows, type=self._types.of(table).field(name).type))
        return data

    def _stamps(self) -> dict[str, Any]:
        return {"run_id": self.run_id, "created_utc": _now()}


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)
