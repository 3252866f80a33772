"""How fast the LLM engine goes beside the client library alone, and what a call costs it.

    python -m tests.benchmarks.throughput            every row of the table
    python -m tests.benchmarks.throughput --memory   memory over 100,000 queued requests

All go to the same loopback server with a fixed latency. The engine's row is the whole engine: cache, ledger, synced journal, budget and
limits, over a real database that its drain writes meanwhile; the others use the client library and keep nothing.
"""

import argparse
import asyncio
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from time import perf_counter, process_time
from typing import Any
from uuid import uuid4

import httpx2
from openai import AsyncOpenAI

from autolabel.config import LlmSettings
from autolabel.llm.budget import Budget
from autolabel.llm.connecting import connect
from autolabel.pipeline.flow import work_through
from autolabel.records import ChatReply, ChatRequest, Message, Purpose
from autolabel.store.run_store import RunStore
from tests.benchmarks.measuring import measuring, rss_mb, show
from tests.servers.options import Options
from tests.servers.processes import running

IN_FLIGHT = 64
LATENCY_S = 0.2
_SOLVED = tuple(Message("assistant" if i % 2 else "user", f"solved example {i}: " + "some text of a tile " * 12) for i in range(6))
_TILES = "\n".join(f"{i}. " + "about thirty words of running text as a tile holds them " * 3 for i in range(1, 11))


def requests(n: int) -> Iterator[ChatRequest]:
    """Distinct requests as a judge makes them: about 3,500 bytes, ten tiles."""
    for i in range(n):
        turn = Message("user", f"Texts:\n{_TILES}\nLabel: number {i}\nIs it in each of the 10 texts?")
        yield ChatRequest((Message("system", "You judge."), *_SOLVED, turn), max_tokens=38)


def body(request: ChatRequest) -> dict[str, object]:
    messages = [{"role": message.role, "content": message.content} for message in request.messages]
    return {"model": "m", "messages": messages, "temperature": 0.0, "max_tokens": request.max_tokens}


class Pace:
    """When how many calls were done: what is sustained leaves out the first third, where it gets going, and the last tenth."""

    def __init__(self, n: int) -> None:
        self._marks = (n // 3, n - n // 10)
        self._at: list[tuple[float, float]] = []

    def __call__(self, done: int) -> None:
        if done in self._marks:
            self._at.append((perf_counter(), process_time()))

    @property
    def rate(self) -> float:
        """Calls per second, sustained."""
        return self._n / (self._at[1][0] - self._at[0][0])

    @property
    def cpu_ms(self) -> float:
        """CPU of this process for each call, all threads, milliseconds."""
        return 1000 * (self._at[1][1] - self._at[0][1]) / self._n

    @property
    def _n(self) -> int:
        return self._marks[1] - self._marks[0]


async def by_gather(base_url: str, n: int, in_flight: int, watch: Callable[[int], None]) -> None:
    """The client library, a semaphore and `asyncio.gather`."""

    async def ask(client: AsyncOpenAI, request: ChatRequest) -> None:
        await client.chat.completions.create(**body(request))  # type: ignore[call-overload]

    await _gathered(base_url, n, in_flight, watch, ask)


async def by_raw_gather(base_url: str, n: int, in_flight: int, watch: Callable[[int], None]) -> None:
    """The same by the path that the engine takes through the client library."""

    async def ask(client: AsyncOpenAI, request: ChatRequest) -> None:
        await client.post("/chat/completions", cast_to=httpx2.Response, body=body(request))

    await _gathered(base_url, n, in_flight, watch, ask)


async def _gathered(
    base_url: str,
    n: int,
    in_flight: int,
    watch: Callable[[int], None],
    ask: Callable[[AsyncOpenAI, ChatRequest], Coroutine[Any, Any, None]],
) -> None:
    slots = asyncio.Semaphore(in_flight)
    done = 0
    async with AsyncOpenAI(api_key="none", base_url=base_url, max_retries=0) as client:

        async def one(request: ChatRequest) -> None:
            nonlocal done
            async with slots:
                await ask(client, request)
            done += 1
            watch(done)

        await asyncio.gather(*map(one, requests(n)))


async def by_engine(base_url: str, n: int, in_flight: int, watch: Callable[[int], None]) -> float:
    """The engine over a database of its own; the longest time in which its event loop did nothing else, seconds."""
    with tempfile.TemporaryDirectory() as folder, RunStore.open(Path(folder) / "labels.duckdb", uuid4().hex) as store:
        store.start_run("benchmark", {}, "benchmark", 0, job_hash="benchmark")
        settings = LlmSettings(base_url=base_url, model="m", max_concurrency=in_flight)
        engine = connect(settings, store, budget=Budget(max_tokens=10**12))
        await engine.probe()
        queue = requests(n)

        def check(reply: ChatReply) -> None:
            assert reply.text

        async def work(i: int) -> None:
            await engine.chat_checked(next(queue), Purpose("score", i), check)

        stall = asyncio.create_task(longest_stall_s())
        await work_through(range(n), list, work, 2 * in_flight, watch)
        stall.cancel()
        await engine.close()
        store.finish_run("done")
        return await stall


async def longest_stall_s() -> float:
    """How late a timer of 5 ms was at worst, until cancelled."""
    longest = 0.0
    try:
        while True:
            started = perf_counter()
            await asyncio.sleep(0.005)
            longest = max(longest, perf_counter() - started - 0.005)
    except asyncio.CancelledError:
        return longest


def compare(seconds: float, latency_s: float) -> None:
    """Print the table; each row runs for about so many seconds."""
    rows: list[list[object]] = []
    with running(Options(latency=latency_s)) as server:
        ways: list[tuple[str, int, Callable[[str, int, int, Pace], Coroutine[Any, Any, float | None]]]] = [
            ("the engine", IN_FLIGHT, by_engine),
            ("asyncio.gather over the same client library", IN_FLIGHT, by_gather),
            ("the same", 2, by_gather),
            ("the same by its raw path", IN_FLIGHT, by_raw_gather),
        ]
        for name, in_flight, way in ways:
            n = int(seconds * in_flight / latency_s)
            pace = Pace(n)
            stall_s = asyncio.run(way(server.base_url, n, in_flight, pace))
            rate = pace.rate
            share = rate / (in_flight / latency_s)
            rows.append([name, in_flight, n, rate, f"{share:.1%}", pace.cpu_ms, "" if stall_s is None else 1000 * stall_s])
    ours = rows[0][3]
    rows = [[*row[:4], f"{ours / row[3]:.2f}", *row[4:]] for row in rows]  # type: ignore[operator]
    header = [
        "",
        "in flight",
        "calls",
        "calls/s",
        "engine ÷ this",
        "of in flight ÷ latency",
        "CPU ms per call",
        "longest stall, ms",
    ]
    show(f"Latency {latency_s * 1000:.0f} ms", header, rows)


def memory(n: int, latency_s: float) -> None:
    """Print resident memory while so many queued requests are worked off."""
    rows: list[list[object]] = []

    def watch(done: int) -> None:
        if done in (1_000, 2_000, 5_000) or done % 10_000 == 0:
            rows.append([done, rss_mb()])

    with running(Options(latency=latency_s)) as server, measuring() as spent:
        asyncio.run(by_engine(server.base_url, n, IN_FLIGHT, watch))
    show(f"{n:,} queued requests, {n / spent.wall_s:.0f} calls/s", ["requests done", "resident MB"], rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--memory", action="store_true", help="memory instead of speed")
    parser.add_argument("--seconds", type=float, default=30.0, help="length of each row")
    parser.add_argument("--calls", type=int, default=100_000, help="queued requests, with --memory")
    parser.add_argument("--latency", type=float, default=LATENCY_S)
    given = parser.parse_args()
    if given.memory:
        memory(given.calls, min(given.latency, 0.02))
    else:
        compare(given.seconds, given.latency)
