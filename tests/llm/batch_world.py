"""Batches between a real client and the loopback server, with trouble on the way between them."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import httpx2
from fakes import MemoryCallStore

from autolabel.config import LlmSettings
from autolabel.llm.budget import Budget
from autolabel.llm.capabilities import Capabilities
from autolabel.llm.connecting import connect
from autolabel.llm.endpoint import OpenAIChat
from autolabel.llm.sending import Price
from autolabel.records import ChatRequest, Message, Purpose
from tests.servers.llm import LlmServer

MODEL = "asked-model"
STEP_S = 0.003
UPLOAD, CREATE, LIST, LOOK, READ = "POST /files", "POST /batches", "GET /batches", "GET /batches/", "GET /files/"
Trouble = Callable[[httpx2.Request, httpx2.AsyncBaseTransport], Any]


def request(i: int, **changes: Any) -> ChatRequest:
    return ChatRequest(**{"messages": (Message("user", f"Is {i} a dog?"),), "max_tokens": 20, "prompt_hash": "sha256:p", **changes})


def purpose(i: int) -> Purpose:
    return Purpose("score", i)


@dataclass(frozen=True)
class Item:
    request_hash: str
    stage: str
    feature_index: int | None
    prompt_hash: str | None
    input_bytes: int | None
    reserved_tokens: int
    reserved_usd: float | None


@dataclass(frozen=True)
class Batch:
    submission_id: str
    base_url: str | None
    input_file_id: str | None
    batch_id: str | None
    n_requests: int
    created_utc: datetime
    items: Sequence[Item]


@dataclass
class MemoryBatchLog:
    """A `BatchLog` that forgets at the end of the test; it reads as the database would."""

    store: MemoryCallStore
    rows: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def keep(self, rows: Sequence[tuple[str, dict[str, Any]]]) -> None:
        self.rows += rows

    def of(self, table: str, **wanted: Any) -> list[dict[str, Any]]:
        found = [row for name, row in self.rows if name == table]
        return [row for row in found if all(row[column] == value for column, value in wanted.items())]

    def open(self) -> list[Batch]:
        ended = {row["submission_id"] for row in self.of("llm_batch_events") if row["status"] in ("collected", "abandoned")}
        return [self._batch(row) for row in self.of("llm_batches") if row["submission_id"] not in ended]

    def _batch(self, row: dict[str, Any]) -> Batch:
        mine = {"submission_id": row["submission_id"]}
        named = [event["batch_id"] for event in self.of("llm_batch_events", **mine) if event["batch_id"]]
        known = {attempt["request_hash"] for attempt in self.store.attempts if attempt["via"] == "batch"}
        items = [Item(**{k: v for k, v in item.items() if k != "submission_id"}) for item in self.of("llm_batch_items", **mine)]
        return Batch(
            **mine,
            base_url=row["base_url"],
            input_file_id=row["input_file_id"],
            batch_id=named[-1] if named else None,
            n_requests=row["n_requests"],
            created_utc=datetime.fromisoformat(row["created_utc"]),
            items=[item for item in items if item.request_hash not in known],
        )


class Wire(httpx2.AsyncBaseTransport):
    """The connection to the server: keeps what went over it, and makes the trouble that a test asks for, in order."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._trouble: list[tuple[str, Trouble]] = []
        self._inner = httpx2.AsyncHTTPTransport(verify=False)  # to read certificates for a plain connection takes a while

    def make(self, what: str, *trouble: Trouble) -> None:
        """The next requests of this kind meet trouble, one each."""
        self._trouble += [(what, one) for one in trouble]

    def clear(self) -> None:
        """No more trouble."""
        self._trouble.clear()

    def count(self, what: str) -> int:
        return sum(_is(what, asked) for asked in self.asked)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        asked = f"{request.method} {request.url.path.removeprefix('/v1')}"
        self.asked.append(asked)
        for i, (what, trouble) in enumerate(self._trouble):
            if _is(what, asked):
                del self._trouble[i]
                response: httpx2.Response = await trouble(request, self._inner)
                return response
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        await self._inner.aclose()


def _is(what: str, asked: str) -> bool:
    return asked.startswith(what) if what.endswith("/") else asked == what


def answering(status: int, message: str = "no", headers: dict[str, str] | None = None, times: int = 1) -> list[Trouble]:
    async def trouble(request: httpx2.Request, inner: httpx2.AsyncBaseTransport) -> httpx2.Response:
        await request.aread()
        return httpx2.Response(status, json={"error": {"message": message}}, headers=headers)

    return [trouble] * times


async def losing(request: httpx2.Request, inner: httpx2.AsyncBaseTransport) -> httpx2.Response:
    """The server does what it was asked, and nobody hears of it."""
    response = await inner.handle_async_request(request)
    await response.aread()
    await response.aclose()
    raise httpx2.ReadError("connection reset by peer")


def altering(change: Callable[[bytes], bytes]) -> Trouble:
    """The answer arrives changed."""

    async def trouble(request: httpx2.Request, inner: httpx2.AsyncBaseTransport) -> httpx2.Response:
        response = await inner.handle_async_request(request)
        content = change(await response.aread())
        await response.aclose()
        return httpx2.Response(response.status_code, content=content, headers={"content-type": "application/json"})

    return trouble


def unfinished(times: int) -> list[Trouble]:
    """The endpoint is still at work on the batch."""
    return [altering(lambda content: json.dumps({**json.loads(content), "status": "in_progress"}).encode())] * times


def in_pieces(share: float = 1.0) -> Trouble:
    """The answer arrives in small pieces, a share of it."""

    async def trouble(request: httpx2.Request, inner: httpx2.AsyncBaseTransport) -> httpx2.Response:
        response = await inner.handle_async_request(request)
        content = await response.aread()
        await response.aclose()

        async def pieces() -> AsyncIterator[bytes]:
            for start in range(0, int(len(content) * share), 300):
                yield content[start : start + 300]
            if share < 1:
                raise httpx2.ReadError("connection reset by peer")

        return httpx2.Response(response.status_code, content=pieces())

    return trouble


cutting = in_pieces
"""The connection breaks after a share of the answer."""


@dataclass
class World:
    """A server, the wire to it, and what is kept of the calls."""

    server: LlmServer
    wire: Wire = field(default_factory=Wire)
    store: MemoryCallStore = field(default_factory=MemoryCallStore)
    waits: list[float] = field(default_factory=list)
    made: list[OpenAIChat] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.log = MemoryBatchLog(self.store)
        self.writes: list[int] = []
        """How many attempts were recorded at once."""
        record_many = self.store.record_many

        def counting(answered: Sequence[Any]) -> None:
            self.writes.append(len(answered))
            record_many(answered)

        self.store.record_many = counting  # type: ignore[method-assign]

    def endpoint(
        self,
        *,
        batch: bool = True,
        budget: Budget | None = None,
        price: Price | None = None,
        **settings: Any,
    ) -> OpenAIChat:
        """A new process, as far as the server and the books can tell."""
        self.made.append(
            connect(
                LlmSettings(base_url=self.server.base_url, model=MODEL, name="llm", batch=batch, **settings),
                self.store,
                budget=budget,
                price=price,
                can=Capabilities(),
                batch_log=self.log,
                http_client=httpx2.AsyncClient(transport=self.wire),
                sleep=self.sleep,
            )
        )
        return self.made[-1]

    async def events(self) -> list[str]:
        """What became of batches, once all is noted."""
        await self.close()
        return [row["status"] for row in self.log.of("llm_batch_events")]

    async def close(self) -> None:
        for endpoint in self.made:
            await endpoint.close()

    async def interrupted(self, n: int, **settings: Any) -> None:
        """A run that asks for `n` replies, hands its batch over and ends before the endpoint does."""
        self.wire.make(LOOK, *unfinished(100_000))
        endpoint = self.endpoint(**settings)
        asked = asyncio.create_task(ask_all(endpoint, n))
        while self.wire.count(LOOK) == 0:
            await asyncio.sleep(STEP_S)
        await endpoint.close()
        self.wire.clear()
        assert {str(error) for error in await asked} == {"the run is ending; nothing more is sent"}

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        await asyncio.sleep(STEP_S)

    @property
    def ran(self) -> list[str]:
        """Where each request was worked on."""
        return [entry["path"] for entry in self.server.log]


@asynccontextmanager
async def world(server: LlmServer) -> AsyncIterator[World]:
    async with server:
        made = World(server)
        try:
            yield made
        finally:
            await made.close()


async def ask_all(endpoint: OpenAIChat, n: int, **changes: Any) -> list[Any]:
    """The replies to `n` requests asked at once, failures among them."""
    asked = [endpoint.chat(request(i, **changes), purpose(i)) for i in range(n)]
    return await asyncio.gather(*asked, return_exceptions=True)
