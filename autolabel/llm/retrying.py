"""The one place where a request is tried again.

The invariant is that what is not a request's own fault (a server that asks for fewer requests, or that cannot be reached) is not counted
against it as a failure of its own is: one bad request ends soon, and an outage costs no request its life.
"""

from collections.abc import Awaitable, Callable

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, wait_random_exponential

from autolabel.llm.failures import AttemptFailed, Kind

MAX_SENDS = 6
"""How often one request is sent while it fails for reasons of its own: errors, time-outs, broken connections, garbled answers."""
MAX_TIMEOUTS = 3
"""Time-outs cost the most time, so fewer of them are enough."""
MAX_OVERLOADED = 15
"""While a server is away, or restarts, for two or three minutes."""
MAX_PUT_OFF = 40
"""How often a request is sent again because a server asked for fewer requests, or could not be reached at all."""
_BACKOFF = wait_random_exponential(multiplier=0.5, max=30)


def retrying(sleep: Callable[[float], Awaitable[None]]) -> AsyncRetrying:
    """Tries one request again while its failures are transient, then raises the last one."""
    return AsyncRetrying(
        sleep=sleep,
        stop=_Patience().is_over,
        wait=_wait_s,
        retry=retry_if_exception(lambda error: isinstance(error, AttemptFailed) and error.is_transient),
        reraise=True,
    )


class _Patience:
    """Counts the failed attempts of one request."""

    def __init__(self) -> None:
        self._own = 0
        self._timeouts = 0
        self._overloaded = 0
        self._put_off = 0

    def is_over(self, state: RetryCallState) -> bool:
        """Whether the request has been sent often enough; asked once after each failed attempt."""
        kind = _failure(state).kind
        if kind in (Kind.RATE_LIMITED, Kind.UNREACHABLE):
            self._put_off += 1
        elif kind is Kind.OVERLOADED:
            self._overloaded += 1
        else:
            self._own += 1
            self._timeouts += kind is Kind.TIMED_OUT
        counted = ((self._own, MAX_SENDS), (self._timeouts, MAX_TIMEOUTS), (self._overloaded, MAX_OVERLOADED))
        return self._put_off >= MAX_PUT_OFF or any(n >= most for n, most in counted)


def _wait_s(state: RetryCallState) -> float:
    """Seconds before the next attempt; a pause that the server asked for is kept by its throttle, for everybody."""
    failed = _failure(state)
    return 0.0 if failed.kind is Kind.RATE_LIMITED and failed.retry_after_s else _BACKOFF(state)


def _failure(state: RetryCallState) -> AttemptFailed:
    error = state.outcome.exception() if state.outcome is not None else None
    if not isinstance(error, AttemptFailed):
        raise TypeError(f"only failed attempts are tried again, not {error!r}")
    return error
