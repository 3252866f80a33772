"""How hard one server may be asked: requests in flight, per minute, and pauses it asked for.

The invariants: never more in flight than configured, never more per minute than configured or than the server says is left, and after a
rate limit fewer than before. Requests in flight rise by one for each answer until the server first pushes back, and by one per round
after that; each push-back halves them, once per round.
"""

import re
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import monotonic

START = 4
"""Requests in flight to begin with."""
LONGEST_PAUSE_S = 60.0
"""A longer wait than this is asked for again."""
_MINUTE_S = 60.0
_SPREAD_S = 6.0
"""A tenth of the requests per tenth of a minute, so that a minute's worth is not sent in its first second."""
_SECONDS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_PART = r"(\d+(?:\.\d+)?)(ms|us|µs|ns|[dhms])"


@dataclass(slots=True)
class Pass:
    """One request that was let through."""

    number: int
    """How many were let through before it, and their tokens: what the server counts before this one."""
    tokens_before: int
    tokens: int
    started: float
    entries: "tuple[_Entry, ...]" = ()
    """Its tokens in the windows."""


@dataclass(slots=True)
class _Entry:
    """Units sent at a time."""

    at: float
    units: int
    has_left: bool = False


class Window:
    """At most `limit` units within any `period_s` seconds; a single larger item passes when nothing else is in the window."""

    def __init__(self, limit: float, period_s: float) -> None:
        self._limit = limit
        self._period_s = period_s
        self._items: deque[_Entry] = deque()
        self._total = 0

    def wait_s(self, units: int, now: float) -> float:
        """Seconds until `units` fit; 0 when they fit now."""
        while self._items and self._items[0].at <= now - self._period_s:
            self._items[0].has_left = True
            self._total -= self._items.popleft().units
        excess = self._total + units - self._limit
        if excess <= 0:
            return 0.0
        free_at = now
        for entry in self._items:
            free_at = entry.at + self._period_s
            excess -= entry.units
            if excess <= 0:
                break
        return free_at - now

    def add(self, units: int, now: float) -> _Entry:
        """Count units as sent."""
        self._items.append(_Entry(now, units))
        self._total += units
        return self._items[-1]

    def correct(self, entry: _Entry, units: int) -> None:
        """It turned out to be so many units."""
        if not entry.has_left:
            self._total += units - entry.units
        entry.units = units


@dataclass(slots=True)
class _Allowance:
    """What a server says is left of a limit, and when it is full again."""

    left: float = float("inf")
    resets_at: float = 0.0

    def wait_s(self, units: int, now: float) -> float:
        return max(0.0, self.resets_at - now) if self.left < units else 0.0


class Throttle:
    """The limits of one server."""

    def __init__(
        self,
        most: int,
        *,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.most = most
        self.limit = float(min(START, most))
        """Requests that may be in flight now; at least 1."""
        self.in_flight = 0
        self._clock = clock
        self._climbing = True
        self._halved_at = float("-inf")
        self._paused_until = float("-inf")
        self._heeded = -1
        self._numbered = 0
        self._last_place = -1
        """Number of the request that last filled the limit: it and all that were in flight with it saw the limit used."""
        self._tokens = 0
        self._request_windows = _windows(requests_per_minute, (_MINUTE_S, _SPREAD_S))
        # Reservations are several times what requests take, so that a tenth of a minute's tokens may be less than one of them.
        self._token_windows = _windows(tokens_per_minute, (_MINUTE_S,))
        self._requests_left = _Allowance()
        self._tokens_left = _Allowance()

    @property
    def free(self) -> int:
        """How many more requests may be in flight."""
        return int(self.limit) - self.in_flight

    def wait_s(self, tokens: int) -> float:
        """Seconds until a request of about so many tokens may be sent, places in flight aside."""
        now = self._clock()
        return max(
            self._paused_until - now,
            0.0,
            self._requests_left.wait_s(1, now),
            self._tokens_left.wait_s(tokens, now),
            *(window.wait_s(1, now) for window in self._request_windows),
            *(window.wait_s(tokens, now) for window in self._token_windows),
        )

    def enter(self, tokens: int) -> Pass:
        """Let a request through."""
        now = self._clock()
        taken = Pass(self._numbered, self._tokens, tokens, now)
        self.in_flight += 1
        self._numbered += 1
        self._tokens += tokens
        if self.free <= 0:
            self._last_place = taken.number
        self._requests_left.left -= 1
        self._tokens_left.left -= tokens
        for window in self._request_windows:
            window.add(1, now)
        taken.entries = tuple(window.add(tokens, now) for window in self._token_windows)
        return taken

    def correct(self, taken: Pass, tokens: int) -> None:
        """A request turned out to take so many tokens."""
        for window, entry in zip(self._token_windows, taken.entries, strict=True):
            window.correct(entry, tokens)

    def leave(self) -> None:
        """A request is no longer in flight."""
        self.in_flight -= 1

    def answered(self, taken: Pass) -> None:
        """The server answered as it should: a little more may be in flight, unless that request never saw the limit used."""
        if taken.number <= self._last_place:
            self.limit = min(self.limit + (1.0 if self._climbing else 1.0 / self.limit), float(self.most))

    def pushed_back(self, taken: Pass, pause_s: float | None = None) -> None:
        """The server said that it is too much, or failed under the load; wait as long as it asks."""
        now = self._clock()
        if taken.started >= self._halved_at:  # what was sent before the last halving says nothing new
            self.limit = max(1.0, self.limit / 2)
            self._climbing = False
            self._halved_at = now
        if pause_s is not None:
            self._paused_until = max(self._paused_until, now + min(pause_s, LONGEST_PAUSE_S))

    def heed(self, taken: Pass, headers: Mapping[str, str]) -> None:
        """Take in what the server states of its limits (`x-ratelimit-remaining-*`, `x-ratelimit-reset-*`), as it was when it admitted
        this request: what was sent after it is not counted there yet. A slow answer to an early request says nothing new."""
        if taken.number < self._heeded:
            return
        self._heeded = taken.number
        now = self._clock()
        later = (self._numbered - taken.number - 1, self._tokens - taken.tokens_before - taken.tokens)
        for unit, allowance, sent in zip(("requests", "tokens"), (self._requests_left, self._tokens_left), later, strict=True):
            left = _number(headers.get(f"x-ratelimit-remaining-{unit}"))
            if left is None:
                continue
            resets = duration_s(headers.get(f"x-ratelimit-reset-{unit}"))
            allowance.left = left - sent
            allowance.resets_at = now + min(_MINUTE_S if resets is None else resets, LONGEST_PAUSE_S)


def duration_s(text: str | None) -> float | None:
    """Seconds in a header's duration: `20ms`, `1.5s`, `6m0s`, `1h2m3s`, or a bare number of seconds; None for anything else."""
    if not text:
        return None
    number = _number(text)
    if number is not None:
        return number
    if not re.fullmatch(f"(?:{_PART})+", text.strip()):
        return None
    return sum(float(amount) * _SECONDS[unit] for amount, unit in re.findall(_PART, text))


def _windows(per_minute: int | None, periods_s: tuple[float, ...]) -> list[Window]:
    return [] if per_minute is None else [Window(per_minute * period_s / _MINUTE_S, period_s) for period_s in periods_s]


def _number(text: str | None) -> float | None:
    return float(text) if text and re.fullmatch(r"\s*\d+(\.\d+)?\s*", text) else None
