"""Where a run keeps what it makes.

The invariants: a row that was appended survives a crash and reaches the database once; a reader that holds the
database file open delays that, but never the run; one run at a time writes to a database.
"""

import logging
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import pyarrow as pa

from autolabel._version import __version__
from autolabel.errors import StoreLocked
from autolabel.store.connection import Database
from autolabel.store.draining import Drain, insert_entries
from autolabel.store.in_flight import InFlight, in_flight_path, left_in_flight
from autolabel.store.journal import Journal, Place
from autolabel.store.ledger import unusable_replies
from autolabel.store.migrations import migrate
from autolabel.store.rehearsal import Rehearsal
from autolabel.store.reply_cache import ReplyCache
from autolabel.store.rows import Row, insert_batches, insert_new
from autolabel.store.run_lock import RunLock
from autolabel.store.stamping import Stamps, now_utc

logger = logging.getLogger(__name__)

BULK_WAIT_S = 600.0
CLOSE_WAIT_S = 30.0

Answered = tuple[Row | None, Row]
"""The row of `llm_calls` with an accepted reply, if there is one, and the row of `llm_attempts`."""


class RunStore:
    """The database of one run, open from `open` to `close`; a `CallStore`; safe to use from several threads."""

    def __init__(self, path: Path, run_id: str, lock: RunLock, wait_s: float) -> None:
        self.run_id = run_id
        self.database = Database(path)
        self._lock = lock
        self._rehearsal = Rehearsal()
        self._types = self._rehearsal.types
        self._stamps = Stamps(run_id, self._types)
        self._journal = Journal(self.database.path)
        self._replies = ReplyCache(self.database, self._journal)
        self._drain = Drain(self.database, self._journal, self._types, self._replies)
        self._in_flight = InFlight(self.database.path)
        self._unusable: dict[str, tuple[str, str]] = {}
        try:
            self.drain(wait_s)
            self._take_over(wait_s)
        except BaseException:
            self._journal.close()
            self._rehearsal.close()
            raise
        self._drain.start()

    @classmethod
    def open(cls, path: Path, run_id: str, *, wait_s: float = 30.0) -> Self:
        """Lock the database for this run, create or migrate it, and bring in what a killed run left beside it.

        A reader may hold the file meanwhile if there is nothing of all this to do.

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

    # The run

    def start_run(self, command: str, config: Mapping[str, Any], config_hash: str, seed: int, job_hash: str | None = None) -> None:
        """Say that this run has begun, and learn which replies earlier runs of the same job could not use."""
        row = {
            "run_id": self.run_id,
            "command": command,
            "config": config,
            "config_hash": config_hash,
            "job_hash": job_hash,
            "seed": seed,
            "code_version": __version__,
            "status": "running",
            "started_utc": now_utc(),
        }
        self._write([("runs", row)])
        if job_hash is not None:
            self._unusable = unusable_replies(self.database, job_hash, self.run_id)

    def finish_run(self, status: Literal["done", "failed", "interrupted", "out_of_budget"], message: str | None = None) -> None:
        """Say how this run ended."""
        row = {"run_id": self.run_id, "status": status, "message": message, "finished_utc": now_utc()}
        self._journal.append([("runs", self._types.storable("runs", row))])

    # What a run makes

    def append(self, table: str, rows: Sequence[Row]) -> None:
        """Keep rows; returns once they are safe from a crash of this process, without waiting for the database.

        `run_id` and `created_utc` are filled in where a row lacks them.

        Raises:
            ValueError: a row that the table would refuse.
        """
        self._keep([(table, row) for row in rows])

    def keep(self, rows: Sequence[tuple[str, Row]]) -> None:
        """Keep rows of several tables, as `append` does, with one write; returns once they are on the disk."""
        self._keep(rows, sync=True)

    def insert_arrow(self, table: str, data: pa.Table, *, wait_s: float = BULK_WAIT_S) -> None:
        """Put many rows of one table straight into the database; see `insert_many`."""
        self.insert_many({table: data}, wait_s=wait_s)

    def insert_many(self, tables: Mapping[str, pa.Table | Sequence[Row]], *, wait_s: float = BULK_WAIT_S) -> None:
        """Put many rows of several tables (Arrow, or a few rows) into the database, all or none; rows stored already are left out.

        Raises:
            StoreLocked: another process holds the file for longer than `wait_s`.
            StoreError: a row that its table refuses.
        """
        stamped = {table: self._stamps.table(table, data) for table, data in tables.items()}
        with self.database.write(wait_s) as connection:
            for table, data in stamped.items():
                insert_new(connection, table, data)

    def insert_evidence(
        self, rows: Mapping[str, Row], batches: Mapping[str, Iterable[pa.RecordBatch]], *, wait_s: float = BULK_WAIT_S
    ) -> None:
        """Put a whole evidence set into the database, all or none, in flat memory; nothing, when it is there already.

        Args:
            rows: the single rows of `saes`, `corpora` and `evidence_sets`.
            batches: the many rows of the other tables, some at a time; each set's rows come from one collection, so none is there yet.
            wait_s: how long to wait for the file.

        Raises:
            StoreLocked: another process holds the file for longer than `wait_s`.
            StoreError: a row that its table refuses.
        """
        evidence_set_id = rows["evidence_sets"]["evidence_set_id"]
        with self.database.write(wait_s) as connection:
            held = connection.execute("SELECT 1 FROM evidence_sets WHERE evidence_set_id = ?", [evidence_set_id]).fetchone()
            if held is not None:
                return
            for table, row in rows.items():
                insert_new(connection, table, self._stamps.table(table, [row]))
            for table, found in batches.items():
                insert_batches(connection, table, (self._stamps.table(table, pa.table(batch)) for batch in found))

    # LLM calls: the `CallStore` protocol

    def holds(self, request_hash: str) -> bool:
        """Whether this request may have been answered before; opens no file."""
        return self._replies.holds(request_hash)

    def get(self, request_hash: str) -> Mapping[str, Any] | None:
        """The accepted reply to a request, from this run or any before it."""
        return self._replies.get_many([request_hash]).get(request_hash)

    def get_many(self, request_hashes: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        """The accepted replies to those of these requests that have one."""
        return self._replies.get_many(request_hashes)

    def unusable(self, request_hash: str) -> tuple[str, str] | None:
        """Status and message of the refused or truncated reply that an unfinished run of the same job was given, or None."""
        return self._unusable.get(request_hash)

    def forget_unusable(self) -> None:
        """Let what earlier runs were refused be asked for again."""
        self._unusable = {}

    def record(self, call: Row | None, attempt: Row) -> None:
        """Keep an attempt at an LLM call and, when it was accepted, its reply; returns once both are on the disk."""
        self.record_many([(call, attempt)])

    def record_many(self, answered: Sequence[Answered]) -> None:
        """`record` for several at once, with one write; a call's `body`, where it has one, is kept as the request's.

        Raises:
            ValueError: a row that its table would refuse; then none is kept.
        """
        given: list[tuple[str, Row]] = []
        for call, attempt in answered:
            given.append(("llm_attempts", {"attempt_id": uuid.uuid4().hex} | dict(attempt)))
            if call is not None:
                given.append(("llm_calls", {name: value for name, value in call.items() if name != "body"}))
                if call.get("body") is not None:
                    given.append(("llm_requests", {"request_hash": call["request_hash"], "body": call["body"]}))
        places = self._write(given, sync=True)
        for (table, row), place in zip(given, places, strict=True):
            if table == "llm_calls":
                self._replies.recorded(row["request_hash"], place)

    def sending(self, attempt: Row) -> int:
        """Note that an attempt is being sent, charged as reserved, so that a crash leaves it in the ledger; a ticket for `sent`.

        Raises:
            ValueError: the row lacks what the ledger needs; the `attempt_id` is the one it will be recorded by.
        """
        row = self._stamps.row("llm_attempts", attempt)
        lacking = self._types.lacking("llm_attempts", row)
        if lacking:
            raise ValueError(f"an attempt being sent lacks {', '.join(lacking)}")
        return self._in_flight.sending(self._types.storable("llm_attempts", row))

    def sent(self, ticket: int) -> None:
        """The attempt's outcome is recorded."""
        self._in_flight.sent(ticket)

    # From the journal to the database

    def drain(self, wait_s: float = BULK_WAIT_S) -> None:
        """Bring every row kept so far into the database.

        Raises:
            StoreLocked: another process holds the file for longer than `wait_s`; the rows stay in the journal.
            StoreError: the journal is damaged, or the database refused a row.
        """
        self._drain.drain(wait_s)

    def close(self, wait_s: float = CLOSE_WAIT_S) -> None:
        """Drain and let go of everything. What cannot be drained stays in the journal for the next run, and a warning says so."""
        self._drain.stop()
        try:
            self.drain(wait_s)
        except StoreLocked as error:
            logger.warning("%s; what this run made waits in %s until the next run", error, self._journal.path)
        finally:
            self._journal.close()
            self._in_flight.close()
            self._rehearsal.close()
            self._lock.release()

    def _keep(self, rows: Sequence[tuple[str, Row]], *, sync: bool = False) -> None:
        if any(table == "runs" for table, _ in rows):
            raise ValueError("rows of 'runs' are written by start_run and finish_run")
        self._write(rows, sync=sync)

    def _write(self, given: Sequence[tuple[str, Row]], *, sync: bool = False) -> list[Place]:
        entries = [(table, self._types.storable(table, self._stamps.row(table, row))) for table, row in given]
        self._rehearsal.check(entries)
        return self._journal.append(entries, sync=sync)

    def _take_over(self, wait_s: float) -> None:
        """Close the books of runs that died (this run holds the lock, so none is running) and learn what was answered."""
        lost = [("llm_attempts", row) for row in left_in_flight(self.database.path) if self._fits(row)]
        with self.database.read(wait_s) as connection:
            died = connection.execute("SELECT run_id FROM runs WHERE status = 'running'").fetchall()
            self._replies.load(connection)
        if died or lost:
            with self.database.write(wait_s) as connection:
                connection.execute(
                    "UPDATE runs SET status = 'interrupted', message = 'the process ended without saying why' WHERE status = 'running'"
                )
                insert_entries(connection, self._types, lost)
        in_flight_path(self.database.path).unlink(missing_ok=True)

    def _fits(self, row: dict[str, Any]) -> bool:
        try:
            self._rehearsal.check([("llm_attempts", row)])
        except ValueError as error:
            logger.warning("a request that was in flight when its run died is missing from the ledger: %s", error)
            return False
        return True
