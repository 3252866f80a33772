"""The journal beside the database: rows wait there, safe from a crash, until the database can be written.

The invariants: a row is on its way to disk before `append` returns and synced within 100 ms, or before `append` returns where
that is asked for; a file of waiting rows is deleted only after all of its rows are in the database; rows leave in the order in
which they came; a row that waits can be read back.
"""

import json
import logging
import os
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

from autolabel.errors import StoreError
from autolabel.store.rows import Entry

logger = logging.getLogger(__name__)

SYNC_S = 0.05
PIECE_BYTES = 16 * 2**20
"""How much of a file is drained at once."""
READ_BYTES = 16 * 2**10
LINES_A_BREATH = 50
BREATH_S = 0.0005
"""Python runs one thread at a time and lets another wait for 5 ms, so whoever works through many lines pauses often."""


class Place(NamedTuple):
    """Where a row lies: in which of the journal's files, counted from the first of this process, and at which byte."""

    file_number: int
    offset: int


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows of the file being drained, up to byte `end` and line `n_lines` of it."""

    entries: list[Entry]
    end: int
    n_lines: int
    is_last: bool


class Journal:
    """`FILE.journal`, being written, and `FILE.journal.draining`, being moved into the database."""

    def __init__(self, database: Path) -> None:
        self.path = database.with_name(database.name + ".journal")
        self.draining = database.with_name(database.name + ".journal.draining")
        self._lock = threading.Lock()
        self._number = 1
        self._descriptor: int | None = None
        self._draining_number = 0
        self._draining_descriptor: int | None = None
        self._drained = (0, 0)
        self._unsynced = threading.Event()
        self._closed = False
        self._failure: OSError | None = None
        self._syncer = threading.Thread(target=self._sync_soon, name="journal-sync", daemon=True)
        self._syncer.start()

    # Writing and reading back

    def append(self, entries: Iterable[Entry], *, sync: bool = False) -> list[Place]:
        """Add rows with one write, so that a killed process leaves all of them or a torn last line; where each row lies.

        Raises:
            StoreError: the disk does not take them.
        """
        lines = [json.dumps({"table": table, "row": row}, allow_nan=False).encode() + b"\n" for table, row in entries]
        if not lines:
            return []
        with self._lock:
            descriptor = self._open()
            size = os.fstat(descriptor).st_size
            try:
                if self._failure is not None:
                    raise self._failure
                _write_whole(descriptor, b"".join(lines))
            except OSError as error:
                os.ftruncate(descriptor, size)
                raise self._cannot_write(error) from error
            number = self._number
            duplicate = os.dup(descriptor) if sync else None
        if duplicate is None:
            self._unsynced.set()
        else:
            self._sync(duplicate)
            if self._failure is not None:
                raise self._cannot_write(self._failure) from self._failure
        return [Place(number, offset) for offset in accumulate(map(len, lines[:-1]), initial=size)]

    def read(self, place: Place) -> dict[str, Any] | None:
        """The row at a place, or None when its file has been drained."""
        with self._lock:
            known = {self._number: self._descriptor, self._draining_number: self._draining_descriptor}
            descriptor = known.get(place.file_number)
            if descriptor is None:
                return None
            duplicate = os.dup(descriptor)
        try:
            line = b""
            while b"\n" not in line and (more := os.pread(duplicate, READ_BYTES, place.offset + len(line))):
                line += more
        finally:
            os.close(duplicate)
        row: dict[str, Any] = json.loads(line.partition(b"\n")[0])["row"]
        return row

    # Draining

    def set_aside(self) -> bool:
        """Make the waiting rows the ones to drain, unless former ones still are; whether there is anything to drain."""
        with self._lock:
            if self.draining.exists():
                return True
            if not self.path.exists() or self.path.stat().st_size == 0:
                return False
            if self._descriptor is not None:
                os.fsync(self._descriptor)
            self.path.replace(self.draining)
            self._draining_number, self._draining_descriptor = self._number, self._descriptor
            self._number, self._descriptor = self._number + 1, None
            return True

    def next_piece(self) -> Piece:
        """The first rows set aside that are not yet in the database. A torn last line, left by a crash, is dropped with a warning.

        Raises:
            StoreError: another line is damaged.
        """
        start, n_before = self._drained
        with self.draining.open("rb") as file:
            file.seek(start)
            lines = file.readlines(PIECE_BYTES)
            is_last = not file.read(1)
        end, n_lines = start + sum(map(len, lines)), n_before + len(lines)
        if lines and not lines[-1].endswith(b"\n"):
            logger.warning("%s: its last line was cut off by a crash and is dropped", self.draining)
            lines.pop()
        return Piece([self._entry(number, line) for number, line in enumerate(lines, start=n_before + 1)], end, n_lines, is_last)

    def drained(self, piece: Piece) -> int | None:
        """The rows of a piece are in the database; the number of the file when they were its last."""
        if not piece.is_last:
            self._drained = (piece.end, piece.n_lines)
            return None
        with self._lock:
            self.draining.unlink()
            self._drained = (0, 0)
            _close(self._draining_descriptor)
            self._draining_descriptor = None
            return self._draining_number

    def close(self) -> None:
        """Sync and stop; an empty journal is removed."""
        self._closed = True
        self._unsynced.set()
        self._syncer.join()
        with self._lock:
            if self._descriptor is not None:
                os.fsync(self._descriptor)
            _close(self._descriptor)
            _close(self._draining_descriptor)
            self._descriptor = self._draining_descriptor = None
            if self.path.exists() and self.path.stat().st_size == 0:
                self.path.unlink()

    def _entry(self, number: int, line: bytes) -> Entry:
        if number % LINES_A_BREATH == 0:
            time.sleep(BREATH_S)
        try:
            value = json.loads(line)
            table, row = value["table"], value["row"]
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"{self.draining}: line {number} is damaged ({error}); remove that line to lose that one row and start again"
            ) from error
        return table, row

    def _open(self) -> int:
        if self._descriptor is None:
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
            _sync_folder(self.path.parent)
        return self._descriptor

    def _sync(self, duplicate: int) -> None:
        """Sync and close a descriptor, outside the lock: appending never waits for another's disk."""
        try:
            os.fsync(duplicate)
        except OSError as error:
            self._failure = error
        finally:
            os.close(duplicate)

    def _sync_soon(self) -> None:
        while not self._closed:
            self._unsynced.wait()
            self._unsynced.clear()
            with self._lock:
                duplicate = os.dup(self._descriptor) if self._descriptor is not None else None
            if duplicate is not None:
                self._sync(duplicate)
                time.sleep(SYNC_S)

    def _cannot_write(self, error: OSError) -> StoreError:
        return StoreError(f"{self.path} cannot be written ({error}); make room on the disk and start again")


def _close(descriptor: int | None) -> None:
    if descriptor is not None:
        os.close(descriptor)


def _write_whole(descriptor: int, data: bytes) -> None:
    written = os.write(descriptor, data)
    if written != len(data):
        raise OSError(f"only {written} of {len(data)} bytes were written")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
