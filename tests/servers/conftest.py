"""Servers for one test, each with the real client."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from openai import AsyncOpenAI

from tests.servers.client import KEY
from tests.servers.llm import LlmServer
from tests.servers.options import Options


@pytest.fixture
async def start() -> AsyncIterator[Any]:
    """Starts servers with options and gives each with a client of its own; all stop with the test."""
    async with AsyncExitStack() as stack:

        async def started(**options: Any) -> tuple[LlmServer, AsyncOpenAI]:
            server = await stack.enter_async_context(LlmServer(Options(**options)))
            client = AsyncOpenAI(base_url=server.base_url, api_key=KEY, max_retries=0, timeout=5)
            return server, await stack.enter_async_context(client)

        yield started
