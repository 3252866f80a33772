"""What the server did, request by request: the truth against which a client's own ledger is held.

Every chat request, alone or in a batch, is one entry when it ends, however it ends.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any, TextIO

FLUSH_AFTER_S = 0.5


@dataclass(slots=True)
class Call:
    """A chat request on its way through the server."""

    n: int
    body_hash: str
    seen: int
    """How often the same body had arrived before."""
    arrived: float
    """Seconds since the server's start."""
    in_flight: int
    """Requests being served at its arrival, itself included; 0 in a batch."""
    path: str = "chat"
    custom_id: str | None = None
    fault: str | None = None
    prompt_tokens: int = 0
    """Charged, as soon as the model has worked on the request; 0 for requests that were turned away."""
    completion_tokens: int = 0


@dataclass
class Tally:
    """Totals over a log."""

    requests: int = 0
    by_status: Counter[int | str] = field(default_factory=Counter)
    """HTTP status, or `hang`, `reset`, or `gone` where the client left before the answer."""
    by_fault: Counter[str] = field(default_factory=Counter)
    charged_tokens: int = 0
    """Of all requests that the model has worked on, also those whose answer never arrived."""
    delivered_tokens: int = 0
    peak_in_flight: int = 0
    usable: Counter[str] = field(default_factory=Counter)
    """Hash of a body → answers that were delivered whole and were usable."""
    bodies: set[str] = field(default_factory=set)

    @property
    def distinct_bodies(self) -> int:
        return len(self.bodies)

    @property
    def paid_twice(self) -> int:
        """Usable answers delivered for a body that had one already."""
        return self.usable.total() - len(self.usable)

    def add(self, entry: Mapping[str, Any]) -> None:
        self.requests += 1
        self.by_status[entry["status"]] += 1
        tokens = entry["prompt_tokens"] + entry["completion_tokens"]
        self.charged_tokens += tokens
        self.delivered_tokens += tokens if entry["delivered"] else 0
        self.peak_in_flight = max(self.peak_in_flight, entry["in_flight"])
        self.bodies.add(entry["body_hash"])
        if entry["fault"] is not None:
            self.by_fault[entry["fault"]] += 1
        elif entry["status"] == 200 and entry["delivered"]:
            self.usable[entry["body_hash"]] += 1


def summarise(log: Path | Iterable[Mapping[str, Any]]) -> Tally:
    """The totals over a log, or over several joined together."""
    tally = Tally()
    for entry in map(json.loads, log.read_text().splitlines()) if isinstance(log, Path) else log:
        tally.add(entry)
    return tally


class Ledger:
    """Counts requests in and out, and writes each down when it ends."""

    def __init__(self, path: Path | None, keep: bool) -> None:
        self.tally = Tally()
        self.entries: list[dict[str, Any]] = []
        self.in_flight = 0
        self.started = monotonic()
        self._keep = keep
        self._file: TextIO | None = path.open("a", encoding="utf-8") if path else None
        self._flush: asyncio.TimerHandle | None = None
        self._seen: Counter[str] = Counter()
        self._arrived = 0

    def since_start(self) -> float:
        return monotonic() - self.started

    def arrive(self, body_hash: str, custom_id: str | None = None) -> Call:
        """Note a request's arrival; one with a custom id is an item of a batch, which is not in flight."""
        self._arrived += 1
        self.in_flight += custom_id is None
        seen = self._seen[body_hash]
        self._seen[body_hash] = seen + 1
        if custom_id is None:
            return Call(self._arrived, body_hash, seen, self.since_start(), self.in_flight)
        return Call(self._arrived, body_hash, seen, self.since_start(), 0, "batch", custom_id)

    def end(self, call: Call, status: int | str, delivered: bool = False) -> None:
        """Write down how a request ended."""
        self.in_flight -= call.custom_id is None
        entry = {
            "n": call.n,
            "body_hash": call.body_hash,
            "seen": call.seen,
            "arrived": round(call.arrived, 4),
            "ended": round(self.since_start(), 4),
            "status": status,
            "fault": call.fault,
            "delivered": delivered,
            "prompt_tokens": call.prompt_tokens,
            "completion_tokens": call.completion_tokens,
            "in_flight": call.in_flight,
            "path": call.path,
            "custom_id": call.custom_id,
        }
        self.tally.add(entry)
        if self._keep:
            self.entries.append(entry)
        if self._file is not None:
            self._file.write(json.dumps(entry) + "\n")
            if self._flush is None:
                self._flush = asyncio.get_running_loop().call_later(FLUSH_AFTER_S, self._write_out)

    def close(self) -> None:
        """Write out what is buffered and close the file."""
        if self._file is not None:
            self._write_out()
            self._file.close()

    def _write_out(self) -> None:
        if self._flush is not None:
            self._flush.cancel()
            self._flush = None
        if self._file is not None:
            self._file.flush()
