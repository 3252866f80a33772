"""An endpoint over a scripted HTTP transport, with its waits recorded instead of waited."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest
from fakes import MemoryCallStore

from autolabel.config import LlmSettings
from autolabel.llm.budget import Budget
from autolabel.llm.capabilities import Capabilities
from autolabel.llm.connecting import connect
from autolabel.llm.endpoint import OpenAIChat
from autolabel.llm.sending import Price

EVERYTHING = Capabilities()
KEY = "sk-planted-0123456789"

Answer = httpx2.Response | Exception


def completion(content: str | None = "[1,0]", finish: str = "stop", **message: Any) -> httpx2.Response:
    """A reply as OpenAI-compatible servers send it."""
    return httpx2.Response(
        200,
        json={
            "id": "c1",
            "object": "chat.completion",
            "created": 0,
            "model": "served-model",
            "choices": [{"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": content, **message}}],
            "usage": {
                "prompt_tokens": 20,
                "completion_tokens": 5,
                "total_tokens": 25,
                "prompt_tokens_details": {"cached_tokens": 16},
            },
        },
    )


def failure(status: int, message: str = "no", headers: dict[str, str] | None = None, **error: Any) -> httpx2.Response:
    return httpx2.Response(status, json={"error": {"message": message, **error}}, headers=headers)


@dataclass
class Server:
    """Answers requests from its script and keeps them; an empty script is a failing test."""

    script: list[Answer] = field(default_factory=list)
    requests: list[httpx2.Request] = field(default_factory=list)

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        if not self.script:
            raise AssertionError(f"unexpected request {len(self.requests)}")
        answer = self.script.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(request.content) for request in self.requests]


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def store() -> MemoryCallStore:
    return MemoryCallStore()


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def learnt() -> list[tuple[Capabilities, str]]:
    return []


@pytest.fixture
async def make(
    server: Server,
    store: MemoryCallStore,
    waits: list[float],
    learnt: list[tuple[Capabilities, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Callable[..., OpenAIChat]]:
    """Makes endpoints on the scripted server that were probed before; their backoff takes no time."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    made: list[OpenAIChat] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        await asyncio.sleep(0)

    def new(
        base_url: str | list[str] = "http://llm.test/v1",
        *,
        can: Capabilities | None = EVERYTHING,
        transport: Callable[..., Any] | None = None,
        budget: Budget | None = None,
        price: Price | None = None,
        **settings: Any,
    ) -> OpenAIChat:
        client = httpx2.AsyncClient(transport=httpx2.MockTransport(transport or server))
        made.append(
            connect(
                LlmSettings(base_url=base_url, model="asked-model", **settings),
                store,
                budget=budget,
                price=price,
                can=can,
                learnt=lambda found, reason: learnt.append((found, reason)),
                http_client=client,
                sleep=sleep,
            )
        )
        return made[-1]

    yield new
    for endpoint in made:
        await endpoint.close()


@pytest.fixture
def endpoint(make: Callable[..., OpenAIChat]) -> OpenAIChat:
    return make()
