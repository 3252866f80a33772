"""Features flow through a stage: read a chunk ahead, worked on by so many workers, let go of when they are done.

The invariants: they are begun in their order, and however many there are, no more are in memory than one for each worker and two chunks.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from autolabel.asking import together

T = TypeVar("T")
CHUNK_FEATURES = 64
"""Features that are read from the database with one query."""


async def work_through(
    features: Sequence[int],
    load: Callable[[Sequence[int]], Sequence[T]],
    work: Callable[[T], Awaitable[None]],
    n_workers: int,
    advance: Callable[[int], None],
) -> None:
    """Do `work` on every feature, `n_workers` at once; `advance` is told how many are done.

    The first error ends it: what is being worked on is stopped and waited for, then the error is raised.

    Args:
        features: in the order in which they are begun.
        load: reads a few features, in a thread, while others are worked on.
        work: what is done with one of them.
        n_workers: features worked on at once.
        advance: called after each.
    """
    supply = _Supply(features, load)
    done = 0

    async def worker() -> None:
        nonlocal done
        while (feature := await supply.take()) is not None:
            await work(feature)
            done += 1
            advance(done)

    try:
        await together(worker() for _ in range(min(n_workers, len(features))))
    finally:
        await supply.close()


class _Supply(Generic[T]):
    """Loaded features, handed out one by one, with the next chunk on its way."""

    def __init__(self, features: Sequence[int], load: Callable[[Sequence[int]], Sequence[T]]) -> None:
        self._load = load
        self._chunks = iter([features[i : i + CHUNK_FEATURES] for i in range(0, len(features), CHUNK_FEATURES)])
        self._ready: deque[T] = deque()
        self._turn = asyncio.Lock()
        self._ahead = self._begin_next()

    async def take(self) -> T | None:
        """The next feature, or None when there are no more."""
        async with self._turn:
            if not self._ready and self._ahead is not None:
                self._ready.extend(await self._ahead)
                self._ahead = self._begin_next()
            return self._ready.popleft() if self._ready else None

    async def close(self) -> None:
        """Give up what is being read."""
        if self._ahead is not None:
            self._ahead.cancel()
            await asyncio.gather(self._ahead, return_exceptions=True)

    def _begin_next(self) -> "asyncio.Task[Sequence[T]] | None":
        chunk = next(self._chunks, None)
        return None if chunk is None else asyncio.create_task(asyncio.to_thread(self._load, chunk))
