"""A note of every request under way, so that a killed process leaves a trace of the calls that it paid for and never saw answered.

The invariant: while a request is in flight, its row of the ledger lies in a slot of `FILE.inflight`; a slot is used again only after
it was cleared. Notes survive the death of the process, not that of the machine: nothing here waits for the disk.
"""

import json
import logging
import os
import struct
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from autolabel.errors import StoreError
from autolabel.store.rows import Row

logger = logging.getLogger(__name__)

SLOT_BYTES = 4_096
"""A page, so that a kill leaves a slot whole."""
_HEAD = struct.Struct("<II")
"""Length and checksum of the text that follows; zeros in a slot that is free."""
_FREE = bytes(_HEAD.size)

LOST: dict[str, Any] = {
    "status": "failed",
    "error": "the process ended while this request was in flight",
    "http_status": None,
    "prompt_tokens": None,
    "cached_tokens": None,
    "completion_tokens": None,
    "reasoning_tokens": None,
    "latency_ms": None,
}
"""What is known of a request whose answer nobody saw; what was reserved for it counts as spent."""


class InFlight:
    """The notes of one run; safe to use from several threads."""

    def __init__(self, database: Path) -> None:
        self.path = in_flight_path(database)
        self._lock = threading.Lock()
        self._descriptor: int | None = None
        self._n_slots = 0
        self._free: list[int] = []
        self._taken: set[int] = set()

    def sending(self, row: Row) -> int:
        """Note a storable row of the ledger; the number of its slot.

        Raises:
            ValueError: the row does not fit into a slot.
            StoreError: the file cannot be written.
        """
        text = json.dumps(row, allow_nan=False).encode()
        if len(text) > SLOT_BYTES - _HEAD.size:
            raise ValueError(f"the row of a request in flight has {len(text)} bytes; expected at most {SLOT_BYTES - _HEAD.size}")
        slot = self._take()
        self._write(slot, _HEAD.pack(len(text), zlib.crc32(text)) + text)
        return slot

    def sent(self, slot: int) -> None:
        """Clear a slot.

        Raises:
            ValueError: no request is noted there.
        """
        with self._lock:
            if slot not in self._taken:
                raise ValueError(f"no request in flight has the ticket {slot}")
            self._taken.remove(slot)
        self._write(slot, _FREE)
        with self._lock:
            self._free.append(slot)

    def close(self) -> None:
        """Remove the file, unless a request is still in flight: the next run then knows of it."""
        with self._lock:
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None
                if not self._taken:
                    self.path.unlink()

    def _take(self) -> int:
        with self._lock:
            if self._free:
                slot = self._free.pop()
            else:
                slot = self._n_slots
                self._n_slots += 1
            self._taken.add(slot)
            return slot

    def _write(self, slot: int, data: bytes) -> None:
        try:
            os.pwrite(self._file(), data, slot * SLOT_BYTES)
        except OSError as error:
            raise StoreError(f"{self.path} cannot be written ({error}); make room on the disk and start again") from error

    def _file(self) -> int:
        with self._lock:
            if self._descriptor is None:
                self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
            return self._descriptor


def in_flight_path(database: Path) -> Path:
    """Where the notes for a database lie."""
    return database.with_name(database.name + ".inflight")


def left_in_flight(database: Path) -> Iterator[dict[str, Any]]:
    """The ledger's rows of requests that were in flight when a process died; what cannot be read is passed over with a warning."""
    path = in_flight_path(database)
    if not path.exists():
        return
    with path.open("rb") as file:
        for number, slot in enumerate(iter(lambda: file.read(SLOT_BYTES), b""), start=1):
            if slot[: _HEAD.size] == _FREE:
                continue
            row = _row(slot)
            if row is None:
                logger.warning("%s: slot %d is damaged; the request noted there is missing from the ledger", path, number)
            else:
                yield row | LOST


def _row(slot: bytes) -> dict[str, Any] | None:
    if len(slot) < _HEAD.size:
        return None
    length, checksum = _HEAD.unpack_from(slot)
    text = slot[_HEAD.size : _HEAD.size + length]
    if len(text) != length or zlib.crc32(text) != checksum:
        return None
    row = json.loads(text)
    return row if isinstance(row, dict) else None
