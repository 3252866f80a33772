"""Trying rows on empty copies of the tables, so that a row that could never reach the database fails where it is made.

The invariant: rows that were tried can be inserted whatever the database holds by then. Of tables with rows by the million,
all alike, one row of a kind stands for the others: their constraints look at which values are NULL and at a few words, and
nothing else (NaN never gets so far).
"""

import threading
from collections.abc import Sequence

import duckdb
import pyarrow as pa

from autolabel.store.connection import one_line
from autolabel.store.rows import Entry, Row, TableTypes, by_table
from autolabel.store.schema import TABLE_KEYS, create_tables

WORDS: dict[str, frozenset[str]] = {
    "llm_calls": frozenset({"kind"}),
    "llm_attempts": frozenset({"status", "via"}),
    "llm_requests": frozenset(),
}
"""Tables of which one row of a kind is tried, with the columns whose CHECK lists the words they may hold."""

REFUSALS = (duckdb.Error, pa.ArrowException, OverflowError, ValueError)

Kind = tuple[object, ...]


class Rehearsal:
    """An in-memory database that holds no rows; safe to use from several threads."""

    def __init__(self) -> None:
        self._connection = duckdb.connect(":memory:", config={"memory_limit": "512MB", "threads": 1})
        create_tables(self._connection)
        self._lock = threading.Lock()
        self._tried: set[Kind] = set()
        self.types = TableTypes(self._connection)

    def check(self, entries: Sequence[Entry]) -> None:
        """Let storable rows through.

        Raises:
            ValueError: a row that its table would refuse; the message says which.
        """
        try:
            self._try(entries)
        except REFUSALS as error:
            raise self._refusal(entries, error) from error

    def close(self) -> None:
        """Let go of the memory."""
        self._connection.close()

    def _refusal(self, entries: Sequence[Entry], error: Exception) -> ValueError:
        """Which row is refused on its own, and why."""
        for table, row in entries:
            try:
                self._try([(table, row)])
            except REFUSALS as own:
                key = ", ".join(f"{name} {row.get(name)!r}" for name in TABLE_KEYS[table])
                return ValueError(f"a row of {table!r} ({key}) cannot be stored: {one_line(own)}")
        return ValueError(f"{len(entries)} rows cannot be stored together: {one_line(error)}")

    def _try(self, entries: Sequence[Entry]) -> None:
        untried: dict[str, pa.Table] = {}
        kinds: set[Kind] = set()
        for table, rows in by_table(entries).items():
            data = self.types.arrow_of_rows(table, _distinct(table, rows))
            kinds_here = {self._kind(table, row) for row in rows} if table in WORDS else None
            if kinds_here is None or not kinds_here <= self._tried:
                untried[table] = data
                kinds |= kinds_here or set()
        if untried:
            self._insert(untried)
            self._tried |= kinds

    def _kind(self, table: str, row: Row) -> Kind:
        words = WORDS[table]
        return (table, *(row.get(name) if name in words else row.get(name) is None for name in self.types.names(table)))

    def _insert(self, tables: dict[str, pa.Table]) -> None:
        with self._lock:
            self._connection.begin()
            try:
                for table, data in tables.items():
                    self._connection.from_arrow(data).insert_into(table)
            finally:
                self._connection.rollback()


def _distinct(table: str, rows: Sequence[Row]) -> list[Row]:
    """The first row of each key, as only that one will be inserted."""
    first: dict[tuple[object, ...], Row] = {}
    for row in rows:
        first.setdefault(tuple(row.get(name) for name in TABLE_KEYS[table]), row)
    return list(first.values())
