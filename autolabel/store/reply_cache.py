"""Finding a reply that was paid for before, whether it is in the database already or still on its way there.

The invariant: from the moment a reply is recorded, it is found. A run holds the only lock that lets anybody add replies, so a
request that was not stored when the run began and was not recorded since is known to be new without opening a file. Memory holds
8 bytes for a reply in the database and 16 for one in the journal, never the reply itself.
"""

import json
import threading
from collections.abc import Iterable, Mapping
from typing import Any

import duckdb
import numpy as np

from autolabel.store.connection import Database
from autolabel.store.fingerprints import Places, SortedRuns, fingerprint
from autolabel.store.journal import Journal, Place

Reply = Mapping[str, Any]


class ReplyCache:
    """The replies of one database and its journal, as a run sees them; safe to use from several threads."""

    def __init__(self, database: Database, journal: Journal) -> None:
        self._database = database
        self._journal = journal
        self._lock = threading.Lock()
        self._stored = SortedRuns()
        self._waiting: dict[int, Places] = {}
        """By the number of the journal's file."""
        self._last_drained = -1

    def load(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Learn which requests were answered before this run."""
        keys = connection.execute("SELECT md5_number_lower(request_hash) AS key FROM llm_calls").fetchnumpy()["key"]
        with self._lock:
            self._stored.add(np.asarray(keys, np.uint64))

    def recorded(self, request_hash: str, place: Place) -> None:
        """A reply is in the journal; the first one for a request stays."""
        key = fingerprint(request_hash)
        with self._lock:
            if place.file_number <= self._last_drained:
                self._stored.add(np.array([key], np.uint64))
            else:
                self._waiting.setdefault(place.file_number, Places()).add(key, place.offset)

    def drained(self, file_number: int) -> None:
        """What that file of the journal held is in the database now."""
        with self._lock:
            self._last_drained = file_number
            places = self._waiting.pop(file_number, None)
            if places is not None:
                self._stored.add(places.keys())

    def holds(self, request_hash: str) -> bool:
        """Whether the request may have been answered; see `CallStore`."""
        is_stored, places = self._find(request_hash)
        return is_stored or bool(places)

    def get_many(self, request_hashes: Iterable[str]) -> dict[str, Reply]:
        """The replies to those of the requests that were answered."""
        known = {request_hash: self._find(request_hash) for request_hash in request_hashes}
        found = self._load([request_hash for request_hash, (is_stored, _) in known.items() if is_stored])
        drained_since = []
        for request_hash, (_, places) in known.items():
            for place in places:
                if request_hash in found:
                    break
                row = self._journal.read(place)
                if row is None:
                    drained_since.append(request_hash)
                elif row["request_hash"] == request_hash:
                    found[request_hash] = json.loads(row["reply"])
        return found | self._load([request_hash for request_hash in drained_since if request_hash not in found])

    def _find(self, request_hash: str) -> tuple[bool, list[Place]]:
        """Whether the database may hold the reply, and where the journal may, earliest first."""
        key = fingerprint(request_hash)
        with self._lock:
            is_stored = self._stored.find(key) is not None
            offsets = [(number, places.find(key)) for number, places in self._waiting.items()]
        return is_stored, sorted(Place(number, offset) for number, offset in offsets if offset is not None)

    def _load(self, request_hashes: list[str]) -> dict[str, Reply]:
        if not request_hashes:
            return {}
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT request_hash, reply FROM llm_calls WHERE request_hash IN (SELECT unnest($wanted))",
                {"wanted": request_hashes},
            ).fetchall()
        return {request_hash: json.loads(reply) for request_hash, reply in rows}
