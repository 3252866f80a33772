"""A `CallStore` as an event loop uses it.

The invariant is that the loop never waits for a disk or a database: what is asked for while a write or a read is under way goes, all
together, into the next one.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from autolabel.records import CallStore

T = TypeVar("T")
R = TypeVar("R")
Row = Mapping[str, Any]


class Together(Generic[T, R]):
    """Runs a blocking function in a thread, each time on all the items that gathered while it was last at work."""

    def __init__(self, work: Callable[[list[T]], R]) -> None:
        self._work = work
        self._waiting: list[T] = []
        self._outcome: asyncio.Future[R] | None = None
        self._worker: asyncio.Task[None] | None = None

    async def do(self, item: T) -> R:
        """What the function returns for the items of which this is one."""
        if self._outcome is None:
            self._outcome = asyncio.get_running_loop().create_future()
        outcome = self._outcome
        self._waiting.append(item)
        if self._worker is None:
            self._worker = asyncio.create_task(self._work_off())
        return await asyncio.shield(outcome)

    async def _work_off(self) -> None:
        while self._outcome is not None:
            items, outcome = self._waiting, self._outcome
            self._waiting, self._outcome = [], None
            try:
                result = await asyncio.to_thread(self._work, items)
            except Exception as error:
                outcome.set_exception(error)
                outcome.exception()  # whoever waited may be gone
            else:
                outcome.set_result(result)
        self._worker = None


class Books:
    """What was answered, and the ledger of what was sent."""

    def __init__(self, calls: CallStore) -> None:
        self.calls = calls
        self._keeping: Together[tuple[Row | None, Row], None] = Together(calls.record_many)
        self._finding: Together[str, dict[str, Row]] = Together(calls.get_many)

    async def keep(self, call: Row | None, attempt: Row) -> None:
        """Record an attempt and, when it was accepted, its reply; returns when both are safe from a crash."""
        await self._keeping.do((call, attempt))

    async def find(self, request_hash: str) -> Row | None:
        """The stored reply to a request, or None."""
        if not self.calls.holds(request_hash):
            return None
        return (await self._finding.do(request_hash)).get(request_hash)
