"""The journal beside the database: rows wait there, safe from a crash, until the database can be written.

The invariants: a row is on its way to disk before `append` returns and synced within 100 ms; a file of waiting rows
is deleted only after all of its rows are in the database; rows leave in the order in which they came.
"""

import json
import logging
import os
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from autolabel.errors import StoreError

logger = logging.getLogger(__name__)

SYNC_S = 0.05

Entry = tuple[str, dict[str, Any]]
"""A table and a storable row of it."""


class Journal:
    """`FILE.journal`, being written, and `FILE.journal.draining`, being moved into the database."""

    def __init__(self, database: Path) -> None:
        self.path = database.with_name(database.name + ".journal")
        self.draining = database.with_name(database.name + ".journal.draining")
        self._lock = threading.Lock()
        self._descriptor: int | None = None
        self._unsynced = threading.Event()
        self._closed = False
        self._failure: OSError | None = None
        self._syncer = threading.Thread(target=self._sync_soon, name="journal-sync", daemon=True)
        self._syncer.start()

    def append(self, entries: Iterable[Entry]) -> None:
        """Add rows with one write, so that a killed process leaves all of them or a torn last line."""
        lines = b"".join(json.dumps({"table": table, "row": row}, allow_nan=False).encode() + b"\n" for table, row in entries)
        with self._lock:
            descriptor = self._open()
            size = os.fstat(descriptor).st_size
            try:
                if self._failure is not None:
                    raise self._failure
                _write_whole(descriptor, lines)
            except OSError as error:
                os.ftruncate(descriptor, size)
                raise StoreError(f"{self.path} cannot be written ({error}); make room on the disk and start again") from error
        self._unsynced.set()

    def set_aside(self) -> bool:
        """Make the waiting rows the ones to drain, unless a former batch still is; whether there is anything to drain."""
        with self._lock:
            if self.draining.exists():
                return True
            if not self.path.exists() or self.path.stat().st_size == 0:
                return False
            self._release()
            self.path.replace(self.draining)
            return True

    def entries(self) -> list[Entry]:
        """The rows set aside. A torn last line, left by a crash, is dropped with a warning.

        Raises:
            StoreError: another line is damaged.
        """
        lines = self.draining.read_bytes().split(b"\n")
        torn = lines.pop()
        if torn:
            logger.warning("%s: its last line was cut off by a crash and is dropped", self.draining)
        return [self._entry(number, line) for number, line in enumerate(lines, start=1)]

    def drained(self) -> None:
        """The rows set aside are in the database."""
        self.draining.unlink()

    def waiting(self) -> bool:
        """Whether any row is not in the database yet."""
        return self.draining.exists() or (self.path.exists() and self.path.stat().st_size > 0)

    def close(self) -> None:
        """Sync and stop; an empty journal is removed."""
        self._closed = True
        self._unsynced.set()
        self._syncer.join()
        with self._lock:
            self._release()
            if self.path.exists() and self.path.stat().st_size == 0:
                self.path.unlink()

    def _entry(self, number: int, line: bytes) -> Entry:
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
            self._descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            _sync_folder(self.path.parent)
        return self._descriptor

    def _release(self) -> None:
        if self._descriptor is not None:
            os.fsync(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = None

    def _sync_soon(self) -> None:
        while not self._closed:
            self._unsynced.wait()
            self._unsynced.clear()
            with self._lock:
                duplicate = os.dup(self._descriptor) if self._descriptor is not None else None
            if duplicate is None:
                continue
            try:
                os.fsync(duplicate)  # outside the lock: appending never waits for the disk
            except OSError as error:
                self._failure = error
            finally:
                os.close(duplicate)
            time.sleep(SYNC_S)


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
