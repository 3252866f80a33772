"""One write for many who wait: each gets its outcome, in the order in which they came, and nobody hangs."""

import asyncio
import random
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from fakes import MemoryCallStore

from autolabel.errors import StoreError
from autolabel.llm.recording import Books, Together


class SlowWork:
    """Doubles numbers, each batch when it is let; refuses negative ones."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.began = threading.Semaphore(0)
        self.may_end = threading.Semaphore(0)

    def __call__(self, items: list[int]) -> list[int]:
        self.batches.append(list(items))
        self.began.release()
        assert self.may_end.acquire(timeout=10)
        if min(items) < 0:
            raise StoreError(f"no room for {min(items)}")
        return [2 * item for item in items]


async def begun(work: SlowWork) -> None:
    await asyncio.to_thread(work.began.acquire, timeout=10)


async def test_what_comes_while_a_batch_is_under_way_goes_together_into_the_next_in_order() -> None:
    work = SlowWork()
    together = Together(work)
    first = asyncio.create_task(together.do(1))
    await begun(work)
    others = [asyncio.create_task(together.do(item)) for item in (5, 4, 3)]
    await asyncio.sleep(0)
    work.may_end.release(2)
    assert await first == [2]
    assert await asyncio.gather(*others) == [[10, 8, 6]] * 3
    assert work.batches == [[1], [5, 4, 3]]


async def test_an_error_reaches_those_of_its_batch_and_nobody_else() -> None:
    work = SlowWork()
    together = Together(work)
    first = asyncio.create_task(together.do(1))
    await begun(work)
    doomed = [asyncio.create_task(together.do(item)) for item in (2, -1)]
    await asyncio.sleep(0)
    work.may_end.release()
    await begun(work)
    last = asyncio.create_task(together.do(3))
    await asyncio.sleep(0)
    work.may_end.release(2)
    outcomes = await asyncio.gather(*doomed, return_exceptions=True)
    assert [str(outcome) for outcome in outcomes] == ["no room for -1"] * 2
    assert (await first, await last) == ([2], [6])
    assert work.batches == [[1], [2, -1], [3]]


async def test_it_goes_on_after_a_pause() -> None:
    together = Together(sum)
    assert [await together.do(item) for item in (1, 2, 3)] == [1, 2, 3]


async def test_who_stops_waiting_takes_nobody_along_and_his_item_is_still_done() -> None:
    work = SlowWork()
    together = Together(work)
    leaving = asyncio.create_task(together.do(1))
    await begun(work)
    both = [asyncio.create_task(together.do(item)) for item in (2, 3)]
    await asyncio.sleep(0)
    leaving.cancel()
    both[0].cancel()
    work.may_end.release(2)
    assert await both[1] == [4, 6]
    assert leaving.cancelled()
    assert both[0].cancelled()
    assert work.batches == [[1], [2, 3]]


async def test_an_error_that_nobody_waits_for_any_more_is_no_trouble() -> None:
    work = SlowWork()
    together = Together(work)
    leaving = asyncio.create_task(together.do(-1))
    await begun(work)
    leaving.cancel()
    work.may_end.release(2)
    assert await together.do(7) == [14]


@pytest.mark.parametrize("seed", range(3))
async def test_everybody_is_served_once_whenever_they_come_and_go(seed: int) -> None:
    luck = random.Random(seed)
    done: list[int] = []

    def work(items: list[int]) -> set[int]:
        done.extend(items)
        return set(items)

    together = Together(work)

    async def ask(item: int) -> None:
        for _ in range(luck.randint(0, 6)):
            await asyncio.sleep(0)
        assert item in await together.do(item)

    tasks = [asyncio.create_task(ask(item)) for item in range(300)]
    await asyncio.sleep(0)
    for task in luck.sample(tasks, 30):
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    stayed = {item for item, task in enumerate(tasks) if not task.cancelled()}
    assert all(task.cancelled() or task.exception() is None for task in tasks)
    assert len(done) == len(set(done))
    assert stayed <= set(done)


def row(number: int) -> dict[str, Any]:
    return {"request_hash": f"r{number}", "status": "ok", "reply": {"text": str(number)}}


async def test_answers_that_come_together_are_kept_with_one_write() -> None:
    writes: list[int] = []

    class Counting(MemoryCallStore):
        def record_many(self, answered: Sequence[Any]) -> None:
            writes.append(len(answered))
            super().record_many(answered)

    store = Counting()
    books = Books(store)
    await asyncio.gather(*[books.keep(row(number), row(number)) for number in range(20)])
    assert [attempt["request_hash"] for attempt in store.attempts] == [f"r{number}" for number in range(20)]
    await books.keep(None, row(20))
    assert (len(store.calls), len(store.attempts)) == (20, 21)
    assert writes == [20, 1]


async def test_stored_replies_are_found_with_one_read() -> None:
    reads: list[list[str]] = []

    class Counting(MemoryCallStore):
        def holds(self, request_hash: str) -> bool:
            return request_hash != "r9"

        def get_many(self, request_hashes: Sequence[str]) -> dict[str, Any]:
            reads.append(list(request_hashes))
            return super().get_many(request_hashes)

    store = Counting()
    books = Books(store)
    await books.keep(row(1), row(1))
    found = await asyncio.gather(*[books.find(f"r{number}") for number in (1, 2, 9)])
    assert found == [{"text": "1"}, None, None]
    assert reads == [["r1", "r2"]], "what the store is sure not to hold is not read for"


async def test_a_full_disk_is_told_to_who_wanted_to_keep_something() -> None:
    class Full(MemoryCallStore):
        def record_many(self, answered: object) -> None:
            raise StoreError("the disk is full")

    with pytest.raises(StoreError, match="the disk is full"):
        await Books(Full()).keep(None, row(1))
