"""How often a request is sent again, and how long it waits in between."""

from collections.abc import Sequence
from itertools import cycle, islice

import pytest

from autolabel.errors import BudgetExceeded
from autolabel.llm.failures import AttemptFailed, Kind
from autolabel.llm.retrying import MAX_OVERLOADED, MAX_PUT_OFF, MAX_SENDS, MAX_TIMEOUTS, retrying


def failed(kind: Kind, retry_after_s: float | None = None) -> AttemptFailed:
    return AttemptFailed(kind, kind.name, retry_after_s=retry_after_s)


class Attempts:
    """Fails in the given ways, then succeeds."""

    def __init__(self, failures: Sequence[Exception]) -> None:
        self.failures = list(failures)
        self.n_sent = 0
        self.waits: list[float] = []

    async def send(self) -> str:
        self.n_sent += 1
        if self.failures:
            raise self.failures.pop(0)
        return "done"

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)


@pytest.mark.parametrize(
    ("kinds", "most"),
    [
        ([Kind.FAILED], MAX_SENDS),
        ([Kind.OVERLOADED], MAX_OVERLOADED),
        ([Kind.GARBLED], MAX_SENDS),
        ([Kind.CUT_OFF, Kind.FAILED], MAX_SENDS),
        ([Kind.TIMED_OUT], MAX_TIMEOUTS),
        ([Kind.TIMED_OUT, Kind.GARBLED], 2 * MAX_TIMEOUTS - 1),
        ([Kind.RATE_LIMITED], MAX_PUT_OFF),
        ([Kind.UNREACHABLE, Kind.RATE_LIMITED], MAX_PUT_OFF),
        ([Kind.RATE_LIMITED, Kind.FAILED], 2 * MAX_SENDS),
        ([Kind.REJECTED], 1),
        ([Kind.OVERLOADED, Kind.REJECTED], 2),
    ],
)
async def test_a_request_is_sent_so_often_and_the_last_failure_is_raised(kinds: list[Kind], most: int) -> None:
    failures = [failed(kind) for kind in islice(cycle(kinds), 100)]
    attempts = Attempts(failures)
    with pytest.raises(AttemptFailed) as caught:
        await retrying(attempts.sleep)(attempts.send)
    assert caught.value is failures[most - 1]
    assert (attempts.n_sent, len(attempts.waits)) == (most, most - 1)
    assert all(0 <= wait_s <= 30 for wait_s in attempts.waits)


async def test_a_success_ends_it_and_the_next_request_begins_anew() -> None:
    for _ in range(3):
        attempts = Attempts([failed(Kind.OVERLOADED)] * (MAX_SENDS - 1))
        assert await retrying(attempts.sleep)(attempts.send) == "done"


async def test_waits_differ_and_grow_and_one_that_the_server_asked_for_is_left_to_the_throttle() -> None:
    attempts = Attempts([failed(Kind.RATE_LIMITED, 0.0)] * 30 + [failed(Kind.RATE_LIMITED, 7.0)] * 5)
    assert await retrying(attempts.sleep)(attempts.send) == "done"
    assert len(set(attempts.waits[:30])) == 30
    assert sum(attempts.waits[:4]) < sum(attempts.waits[10:14])
    assert attempts.waits[30:] == [0.0] * 5


@pytest.mark.parametrize("error", [BudgetExceeded("no"), ValueError("no")])
async def test_no_other_error_is_tried_again(error: Exception) -> None:
    attempts = Attempts([error])
    with pytest.raises(type(error)):
        await retrying(attempts.sleep)(attempts.send)
    assert (attempts.n_sent, attempts.waits) == (1, [])
