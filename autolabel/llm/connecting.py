"""Setting up an endpoint from its settings. The API key is read here, from the environment, and goes nowhere but into the client."""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

import httpx2
from openai import AsyncOpenAI

from autolabel import secrets
from autolabel.config import LlmSettings
from autolabel.llm.batch import Batches
from autolabel.llm.batch_log import BatchLog
from autolabel.llm.budget import Budget
from autolabel.llm.capabilities import Capabilities
from autolabel.llm.endpoint import OpenAIChat
from autolabel.llm.limits import Throttle
from autolabel.llm.pool import Pool, Server
from autolabel.llm.recording import Books
from autolabel.llm.sending import Meter, Price, Sender
from autolabel.llm.tokens import Counter
from autolabel.records import CallStore

CONNECT_S = 10.0
"""A server that takes longer than this to be reached counts as unreachable, however long its answers may take."""

CONNECTIONS_PER_CLIENT, MOST_CLIENTS = 16, 8


def connect(
    settings: LlmSettings,
    calls: CallStore,
    *,
    budget: Budget | None = None,
    price: Price | None = None,
    can: Capabilities | None = None,
    learnt: Callable[[Capabilities, str], None] = lambda can, reason: None,
    counter: Counter | None = None,
    batch_log: BatchLog | None = None,
    http_client: httpx2.AsyncClient | None = None,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    clock: Callable[[], float] = monotonic,
) -> OpenAIChat:
    """The endpoint of these settings; it is not spoken to yet.

    Args:
        calls: Where replies and attempts are kept.
        budget: What may be spent; anything when absent.
        price: What the model's tokens cost; unknown when absent.
        can: What the endpoint is known to support from an earlier run.
        learnt: Is told what a probe found, and why it was made.
        counter: Counts input tokens; their bytes are the bound when absent.
        batch_log: Where batches are written down; none can be made or collected when absent.
        http_client: Sends the requests, in place of one for each address.
        sleep: Waits between attempts.
        clock: Seconds that only go forward.
    """
    key = secrets.api_key(settings.api_key_env)
    timeout = httpx2.Timeout(settings.timeout_s, connect=min(settings.timeout_s, CONNECT_S))
    servers = []
    for url in settings.base_urls:
        password = urlsplit(url).password or ""
        secrets.remember(password)
        secrets.remember(unquote(password))
        n_clients = 1 if http_client else min(MOST_CLIENTS, -(-settings.max_concurrency // CONNECTIONS_PER_CLIENT))
        clients = [
            AsyncOpenAI(api_key=key, base_url=url, max_retries=0, timeout=timeout, http_client=http_client)
            for _ in range(n_clients)
        ]
        throttle = Throttle(
            settings.max_concurrency,
            requests_per_minute=settings.requests_per_minute,
            tokens_per_minute=settings.tokens_per_minute,
            clock=clock,
        )
        servers.append(Server(without_secrets(url), clients, throttle, clock))
    endpoint_id = endpoint_id_of(settings)
    pool, books = Pool(servers, settings.patience_s), Books(calls)
    budget, meter = budget or Budget(), Meter(price)
    names: dict[str, Any] = {"endpoint_id": endpoint_id, "model": settings.model, "timeout_s": settings.timeout_s}
    sender = Sender(pool, books, budget, meter, **names)
    if settings.batch and batch_log is None:
        raise ValueError("requests cannot go into batches without a log of them")
    batches = None
    if batch_log is not None:
        batches = Batches(servers, books, budget, meter, batch_log, key_env=settings.api_key_env, sleep=sleep, **names)
    return OpenAIChat(
        pool,
        books,
        sender,
        endpoint_id=endpoint_id,
        model=settings.model,
        key_env=settings.api_key_env,
        can=can,
        learnt=learnt,
        thinking_tokens=settings.reasoning_tokens,
        keep_requests=settings.keep_requests,
        batches=batches,
        in_batches=settings.batch,
        counter=counter,
        sleep=sleep,
    )


def endpoint_id_of(settings: LlmSettings) -> str:
    """What names the endpoint in stored rows and request hashes."""
    return settings.name or without_secrets(settings.base_urls[0])


def without_secrets(base_url: str) -> str:
    """The address without user, password, query and final slash: what may be stored and shown."""
    parts = urlsplit(base_url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))
