"""Rate limits that are really enforced, and headers that tell the truth about them.

A limit is a bucket that fills at a steady rate, as OpenAI's are: the headers name the limit per minute, what is left in the bucket, and
the time until it is full again.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.servers.connection import Response, failure
from tests.servers.tokens import most_tokens, prompt_tokens


@dataclass
class Bucket:
    """Fills at `rate` a second up to `capacity`; times are seconds on any clock that only goes forward."""

    rate: float
    capacity: float
    _level: float = field(init=False)
    _at: float = 0.0

    def __post_init__(self) -> None:
        self._level = self.capacity

    def level(self, now: float) -> float:
        return min(self.capacity, self._level + (now - self._at) * self.rate)

    def wait_s(self, amount: float, now: float) -> float:
        """How long it takes until so much can be taken, or until the bucket is full; 0 when it can be now."""
        return max(0.0, (min(amount, self.capacity) - self.level(now)) / self.rate)

    def take(self, amount: float, now: float) -> None:
        """Take it even if the full bucket holds less; the rest is owed."""
        self._level, self._at = self.level(now) - amount, now

    def headers(self, name: str, now: float) -> dict[str, str]:
        level = self.level(now)
        return {
            f"x-ratelimit-limit-{name}": str(round(self.rate * 60)),
            f"x-ratelimit-remaining-{name}": str(max(0, math.floor(level))),
            f"x-ratelimit-reset-{name}": duration((self.capacity - level) / self.rate),
        }


def duration(seconds: float) -> str:
    """Seconds as OpenAI writes them: `12ms`, `1.5s`, `2m3s`."""
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    minutes, rest = divmod(round(seconds, 3), 60)
    return f"{int(minutes)}m{rest:g}s" if minutes else f"{rest:g}s"


class Limits:
    """The limits of requests and tokens, each absent or enforced."""

    def __init__(self, requests_per_second: float | None, tokens_per_second: float | None) -> None:
        self._buckets: dict[str, Bucket] = {}
        if requests_per_second is not None:
            self._buckets["requests"] = Bucket(requests_per_second, max(1.0, requests_per_second))
        if tokens_per_second is not None:
            self._buckets["tokens"] = Bucket(tokens_per_second, tokens_per_second)

    def refusal(self, body: Mapping[str, Any], now: float) -> Response | None:
        """Take a request with its prompt and the longest reply that it allows, or refuse it with the time to wait."""
        if not self._buckets:
            return None
        amounts = {"requests": 1, "tokens": prompt_tokens(body["messages"]) + (most_tokens(body) or 0)}
        waits = {name: bucket.wait_s(amounts[name], now) for name, bucket in self._buckets.items()}
        name = max(waits, key=lambda name: waits[name])
        if waits[name] > 0:
            wait_s = f"{math.ceil(waits[name] * 1000) / 1000:.3f}"
            message = f"Rate limit reached for {name}. Please try again in {wait_s}s."
            return failure(429, message, name, code="rate_limit_exceeded", retry_after=wait_s)
        for name, bucket in self._buckets.items():
            bucket.take(amounts[name], now)
        return None

    def headers(self, now: float) -> dict[str, str]:
        return {name: value for kind, bucket in self._buckets.items() for name, value in bucket.headers(kind, now).items()}
