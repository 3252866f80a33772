"""Moving rows from the journal into the database, in a thread of its own and whenever asked to.

The invariant: a row reaches the database once, however often its piece of the journal is begun again; whoever holds the file open
delays this and nothing else, and is named once.
"""

import logging
import threading
import time
from collections.abc import Sequence

import duckdb
import pyarrow as pa

from autolabel.errors import StoreError, StoreLocked
from autolabel.store.connection import Database
from autolabel.store.journal import BREATH_S, Journal
from autolabel.store.reply_cache import ReplyCache
from autolabel.store.rows import Entry, Row, TableTypes, by_table, insert_new

logger = logging.getLogger(__name__)

DRAIN_EVERY_S = 2.0
LONGEST_PAUSE_S = 60.0
PAUSE_PER_WORK = 20
"""A drain that took a second is followed by a pause of so many."""
TURN_S = 0.01
"""Pause between two pieces, so that a thread which waits to read gets its turn."""
ROWS_A_BREATH = 500

FINISH_RUN = "UPDATE runs SET status = $status, message = $message, finished_utc = $finished_utc WHERE run_id = $run_id"


class Drain:
    """The way from a journal to its database."""

    def __init__(self, database: Database, journal: Journal, types: TableTypes, replies: ReplyCache) -> None:
        self._database = database
        self._journal = journal
        self._types = types
        self._replies = replies
        self._lock = threading.Lock()
        self._failure: StoreError | None = None
        self._blocked = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="journal-drain", daemon=True)

    def start(self) -> None:
        """Begin to drain now and then."""
        self._thread.start()

    def stop(self) -> None:
        """Return when the thread has ended."""
        self._stopping.set()
        self._thread.join()

    def drain(self, wait_s: float) -> None:
        """Bring every row kept so far into the database; see `RunStore.drain`."""
        with self._lock:
            if self._failure is not None:
                raise self._failure
            while self._journal.set_aside():
                while not self._drain_piece(wait_s):
                    time.sleep(TURN_S)
                self._blocked = False

    def _drain_piece(self, wait_s: float) -> bool:
        """Bring in one piece; whether it was the last of its file."""
        with self._database.write(wait_s) as connection:
            piece = self._journal.next_piece()
            try:
                insert_entries(connection, self._types, piece.entries)
            except (ValueError, pa.ArrowException) as error:  # rows of another version, or edited by hand
                raise StoreError(f"{self._journal.draining}: a row does not fit its table: {error}") from error
        finished = self._journal.drained(piece)
        if finished is None:
            return False
        self._replies.drained(finished)
        return True

    def _work(self) -> None:
        pause = DRAIN_EVERY_S
        while not self._stopping.wait(pause):
            started = time.monotonic()
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
            pause = pause_after(time.monotonic() - started)


def pause_after(work_s: float) -> float:
    """How long to wait after a drain that took so long, seconds: the larger the database, the seldomer it is written."""
    return max(DRAIN_EVERY_S, min(PAUSE_PER_WORK * work_s, LONGEST_PAUSE_S))


def insert_entries(connection: duckdb.DuckDBPyConnection, types: TableTypes, entries: Sequence[Entry]) -> None:
    """Insert the rows that are not there yet; a row of `runs` without a command says how that run ended."""
    tables = by_table(entries)
    starts = [row for row in tables.get("runs", ()) if "command" in row]
    ends = [row for row in tables.get("runs", ()) if "command" not in row]
    for table, rows in (tables | {"runs": starts}).items():
        if rows:
            insert_new(connection, table, _arrow(types, table, rows))
    for row in ends:
        connection.execute(FINISH_RUN, row)


def _arrow(types: TableTypes, table: str, rows: Sequence[Row]) -> pa.Table:
    parts = []
    for start in range(0, len(rows), ROWS_A_BREATH):
        parts.append(types.arrow_of_rows(table, rows[start : start + ROWS_A_BREATH]))
        time.sleep(BREATH_S)
    return pa.concat_tables(parts)
