"""The loopback server's batches, created, watched and collected by the real client."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI

from tests.servers.client import KEY, judge_prompt
from tests.servers.llm import LlmServer
from tests.servers.options import Options

Start = Callable[..., Any]


def batch_lines(n: int, **parameters: Any) -> list[dict[str, Any]]:
    body = {"model": "any", "max_tokens": 14, **parameters}
    return [
        {
            "custom_id": f"item-{i}",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {**body, "messages": judge_prompt(f"Dog {i}.")},
        }
        for i in range(n)
    ]


async def submitted(client: AsyncOpenAI, lines: list[dict[str, Any]], **metadata: str) -> Any:
    content = "".join(json.dumps(line) + "\n" for line in lines).encode()
    uploaded = await client.files.create(file=("requests.jsonl", content), purpose="batch")
    assert (await client.files.retrieve(uploaded.id)).bytes == len(content)
    assert (await client.files.content(uploaded.id)).content == content
    return await client.batches.create(
        input_file_id=uploaded.id, endpoint="/v1/chat/completions", completion_window="24h", metadata=metadata
    )


async def ended(client: AsyncOpenAI, batch_id: str) -> tuple[Any, list[str]]:
    """The batch when it has ended, and the states in which it was seen."""
    states: list[str] = []
    while True:
        batch = await client.batches.retrieve(batch_id)
        states += [batch.status] if batch.status not in states else []
        if batch.status in ("completed", "failed", "expired", "cancelled"):
            return batch, states
        await asyncio.sleep(0.002)


async def results(client: AsyncOpenAI, file_id: str | None) -> dict[str, dict[str, Any]]:
    assert file_id is not None
    lines = map(json.loads, (await client.files.content(file_id)).text.splitlines())
    return {line["custom_id"]: line for line in lines}


async def test_a_batch_lives_and_answers_what_a_request_would(start: Start) -> None:
    server, client = await start(batch_seconds=0.15, batch_fail=0.3, seed=2)
    lines = batch_lines(20)
    batch, states = await ended(client, (await submitted(client, lines, job="a")).id)
    assert states == [state for state in ("validating", "in_progress", "finalizing", "completed") if state in states]
    assert batch.created_at <= batch.in_progress_at <= batch.finalizing_at <= batch.completed_at < batch.expires_at
    done, failed = await results(client, batch.output_file_id), await results(client, batch.error_file_id)
    counts = batch.request_counts
    assert (counts.total, counts.completed, counts.failed) == (20, len(done), len(failed))
    assert done.keys() | failed.keys() == {line["custom_id"] for line in lines}
    assert list(done) != sorted(done, key=[line["custom_id"] for line in lines].index)
    assert {line["error"] is None for line in failed.values()} == {True, False}
    first = next(iter(done.values()))["response"]
    asked = next(line["body"] for line in lines if line["custom_id"] == next(iter(done)))
    assert (first["status_code"], first["body"]) == (
        200,
        (await client.chat.completions.create(**asked)).model_dump(exclude_unset=True),
    )
    assert batch.usage.total_tokens == sum(line["response"]["body"]["usage"]["total_tokens"] for line in done.values())
    assert (batch.metadata, batch.model) == ({"job": "a"}, "any")
    assert Counter(entry["path"] for entry in server.log) == Counter(batch=20, chat=1)
    assert {entry["custom_id"] for entry in server.log if entry["fault"] == "batch_fail"} == failed.keys()


async def test_batches_that_come_to_nothing(start: Start) -> None:
    _, client = await start(batch_seconds=0.05, batch_state="failed")
    batch, states = await ended(client, (await submitted(client, batch_lines(2))).id)
    assert (batch.errors.data[0].code, states[-1]) == ("token_limit_exceeded", "failed")
    _, client = await start(batch_seconds=0.05, batch_state="expired")
    batch, _ = await ended(client, (await submitted(client, batch_lines(6))).id)
    assert batch.request_counts.completed == 3
    assert {line["error"]["code"] for line in (await results(client, batch.error_file_id)).values()} == {"batch_expired"}
    _, client = await start(batch_seconds=0.05)
    batch, _ = await ended(client, (await submitted(client, [*batch_lines(2), *batch_lines(1), {"custom_id": "x"}])).id)
    assert [(error.code, error.line) for error in batch.errors.data] == [("duplicate_custom_id", 3), ("invalid_json_line", 4)]
    with pytest.raises(openai.NotFoundError):
        await client.batches.retrieve("batch_unknown")


async def test_a_cancelled_batch_gives_what_it_has(start: Start) -> None:
    _, client = await start(batch_seconds=1.5)
    batch = await submitted(client, batch_lines(20))
    while (await client.batches.retrieve(batch.id)).request_counts.completed == 0:
        await asyncio.sleep(0.002)
    assert (await client.batches.cancel(batch.id)).status == "cancelling"
    batch, _ = await ended(client, batch.id)
    assert batch.status == "cancelled"
    assert 0 < len(await results(client, batch.output_file_id)) == batch.request_counts.completed < 20
    with pytest.raises(openai.ConflictError):
        await client.batches.cancel(batch.id)


async def test_batches_are_listed_newest_first_and_outlive_the_server(start: Start, tmp_path: Path) -> None:
    async with (
        LlmServer(Options(batch_store=tmp_path, batch_seconds=9)) as server,
        AsyncOpenAI(base_url=server.base_url, api_key=KEY) as client,
    ):
        made = [(await submitted(client, batch_lines(1))).id for _ in range(3)]
        page = await client.batches.list(limit=2)
        assert ([batch.id for batch in page.data], page.has_more) == (made[:0:-1], True)
        assert [batch.id async for batch in client.batches.list(limit=2)] == made[::-1]
    _, client = await start(batch_store=tmp_path, batch_seconds=0.05)
    batch, _ = await ended(client, made[0])
    assert list(await results(client, batch.output_file_id)) == ["item-0"]
