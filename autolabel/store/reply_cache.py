"""Finding a reply that was paid for before, whether it is in the database already or still on its way there.

The invariant: from the moment a reply is recorded, `get` returns it. A run holds the only lock that lets anybody add
replies, so a request that was not stored when the run began and was not recorded since is known to be new without
opening the file.
"""

import json
import threading
from collections.abc import Iterable, Mapping
from typing import Any

import duckdb

from autolabel.store.connection import Database
from autolabel.store.rows import json_text


class ReplyCache:
    """The replies of one database, as a run sees them."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._on_the_way: dict[str, Mapping[str, Any]] = {}
        self._prefetched: dict[str, Mapping[str, Any]] = {}
        self._stored: set[str] = set()

    def load(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Learn which requests were answered before this run."""
        rows = connection.execute("SELECT request_hash FROM llm_calls").fetchall()
        with self._lock:
            self._stored.update(request_hash for (request_hash,) in rows)

    def recorded(self, request_hash: str, reply: Mapping[str, Any]) -> None:
        """A reply is in the journal; the first one for a request stays."""
        with self._lock:
            if request_hash not in self._stored:
                self._on_the_way.setdefault(request_hash, json.loads(json_text(reply) or "null"))

    def drained(self, request_hashes: Iterable[str]) -> None:
        """These replies are in the database now."""
        with self._lock:
            for request_hash in request_hashes:
                self._stored.add(request_hash)
                self._on_the_way.pop(request_hash, None)

    def prefetch(self, request_hashes: Iterable[str]) -> None:
        """Load the stored ones of these with one read, in place of those loaded before."""
        with self._lock:
            wanted = [request_hash for request_hash in request_hashes if request_hash in self._stored]
        found = self._load(wanted) if wanted else {}
        with self._lock:
            self._prefetched = found

    def get(self, request_hash: str) -> Mapping[str, Any] | None:
        """The reply, or None when the request was never answered."""
        with self._lock:
            for replies in (self._on_the_way, self._prefetched):
                if request_hash in replies:
                    return replies[request_hash]
            if request_hash not in self._stored:
                return None
        return self._load([request_hash]).get(request_hash)

    def _load(self, request_hashes: list[str]) -> dict[str, Mapping[str, Any]]:
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT request_hash, reply FROM llm_calls WHERE request_hash IN (SELECT unnest($wanted))",
                {"wanted": request_hashes},
            ).fetchall()
        return {request_hash: json.loads(reply) for request_hash, reply in rows}
