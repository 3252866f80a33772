"""The Batch API between the real client and the loopback server: what is asked, kept, charged, and done about trouble."""

import asyncio
import json
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any

import httpx2
import pytest
from batch_world import (
    CREATE,
    LIST,
    LOOK,
    READ,
    UPLOAD,
    World,
    altering,
    answering,
    ask_all,
    cutting,
    in_pieces,
    losing,
    purpose,
    request,
    unfinished,
    world,
)
from fakes import MemoryCallStore

from autolabel.calls import chat_request_hash
from autolabel.config import LlmSettings
from autolabel.errors import BudgetExceeded, EndpointError, ModelResponseError
from autolabel.llm import batch, batch_api, batch_following
from autolabel.llm.batch_lines import read_result
from autolabel.llm.budget import Budget
from autolabel.llm.connecting import connect
from autolabel.llm.failures import AttemptFailed
from autolabel.llm.prices import Price
from autolabel.llm.tokens import input_bound
from autolabel.records import ChatReply
from tests.servers.llm import LlmServer
from tests.servers.options import Options

KEY = "sk-planted-0123456789"
PRICE = Price(model="*", input_usd=2.0, output_usd=8.0, batch_factor=0.5)
WORST_TOKENS = input_bound(request(0).messages) + 20
Start = Callable[..., Any]


@pytest.fixture
async def start(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Start]:
    """Starts a server with these options, and what stands around it."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    async with AsyncExitStack() as stack:

        async def started(**options: Any) -> World:
            server = LlmServer(Options(**{"batch_seconds": 0.03, **options}))
            return await stack.enter_async_context(world(server))

        yield started


def texts(replies: list[Any]) -> list[str]:
    return [reply.text for reply in replies]


# As it should be


async def test_requests_go_out_in_one_batch_and_their_replies_come_back_as_others_do(start: Start) -> None:
    here = await start()
    endpoint = here.endpoint(price=PRICE)
    replies = await ask_all(endpoint, 5)
    live = await here.endpoint(batch=False).chat(request(0, sample_number=1), purpose(0))
    assert (here.wire.count(UPLOAD), here.wire.count(CREATE), here.ran) == (1, 1, ["batch"] * 5 + ["chat"])
    assert replies[0].text == live.text
    assert replies[0].request_hash == chat_request_hash("llm", "asked-model", request(0))
    assert await ask_all(endpoint, 5) == replies
    assert len(here.ran) == 6


async def test_a_batch_that_was_collected_does_not_go_on(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    here = await start()
    keep = here.log.keep

    def slow(rows: Sequence[tuple[str, Any]]) -> None:
        time.sleep(0.02)
        keep(rows)

    here.log.keep = slow  # type: ignore[method-assign]
    endpoint = here.endpoint()
    await ask_all(endpoint, 1)
    await endpoint.close()
    assert here.log.open() == []
    assert "goes on" not in caplog.text


async def test_the_ledger_says_what_was_sent_in_a_batch_and_what_it_cost(start: Start) -> None:
    here = await start()
    budget = Budget()
    (reply,) = await ask_all(here.endpoint(price=PRICE, budget=budget), 1)
    (attempt,), (call,) = here.store.attempts, here.store.calls
    assert (attempt["via"], attempt["status"], attempt["http_status"]) == ("batch", "ok", 200)
    assert (attempt["stage"], attempt["feature_index"], attempt["base_url"]) == ("score", 0, here.server.base_url)
    assert attempt["charged_tokens"] == reply.prompt_tokens + reply.completion_tokens == budget.spent.tokens
    assert attempt["cost_usd"] == pytest.approx((reply.prompt_tokens * 2 + reply.completion_tokens * 8) / 1e6 / 2)
    assert (budget.spent.usd, budget.reserved.calls) == (pytest.approx(attempt["cost_usd"]), 0)
    assert (call["prompt_hash"], call["request_hash"]) == ("sha256:p", attempt["request_hash"])
    assert "body" not in call
    json.dumps([here.log.rows, here.store.attempts, here.store.calls], allow_nan=False)


async def test_a_batch_is_written_down_before_it_is_asked_for(start: Start) -> None:
    here = await start()
    known: list[Any] = []

    async def look_into_the_log(asked: httpx2.Request, inner: httpx2.AsyncBaseTransport) -> httpx2.Response:
        known.extend(here.log.open())
        return await inner.handle_async_request(asked)

    here.wire.make(CREATE, look_into_the_log)
    await ask_all(here.endpoint(price=PRICE), 2)
    (noted,) = known
    assert [(item.stage, item.feature_index, item.prompt_hash) for item in noted.items] == [
        ("score", 0, "sha256:p"),
        ("score", 1, "sha256:p"),
    ]
    assert noted.items[0].reserved_tokens == WORST_TOKENS
    assert noted.items[0].reserved_usd == pytest.approx(((WORST_TOKENS - 20) * 2 + 20 * 8) / 1e6 / 2)
    assert [table for table, _ in here.log.rows[:3]] == ["llm_batch_items", "llm_batch_items", "llm_batches"]
    assert await here.events() == ["submitted", "collected"]
    assert here.log.open() == []


async def test_what_fills_a_batch_leaves_at_once_and_batches_run_side_by_side(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "MAX_REQUESTS", 3)
    monkeypatch.setattr(batch, "LINGER_S", 0.123)
    here = await start()
    replies = await ask_all(here.endpoint(), 7)
    assert [type(reply) for reply in replies] == [ChatReply] * 7
    assert [row["n_requests"] for row in here.log.of("llm_batches")] == [3, 3, 1]
    assert Counter(await here.events()) == {"submitted": 3, "collected": 3}
    assert here.waits.count(0.123) == 2


async def test_a_batch_stays_below_the_size_of_a_file(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    here = await start()
    uploaded: list[int] = []

    async def weigh(asked: httpx2.Request, inner: httpx2.AsyncBaseTransport) -> httpx2.Response:
        uploaded.append(len(await asked.aread()))
        return await inner.handle_async_request(asked)

    monkeypatch.setattr(batch, "MAX_BYTES", 2000)
    here.wire.make(UPLOAD, *[weigh] * 5)
    await ask_all(here.endpoint(), 12)
    assert sum(row["n_requests"] for row in here.log.of("llm_batches")) == 12
    assert len(uploaded) > 1
    assert max(uploaded) < 2000 + 500  # what surrounds a file that is sent


async def test_results_are_recorded_many_at_a_time(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_api, "LINES", 8)
    here = await start()
    here.wire.make(READ, in_pieces())
    replies = await ask_all(here.endpoint(), 30)
    assert len(here.store.calls) == len(replies) == 30
    assert len(here.writes) == 4


async def test_looks_at_a_batch_become_seldom(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "LINGER_S", 0.123)
    here = await start()
    here.wire.make(LOOK, *unfinished(7))
    await ask_all(here.endpoint(), 1)
    assert here.waits[:9] == [0.123, 0.123, 1, 2, 4, 8, 16, 30, 30]


async def test_the_body_is_kept_only_on_request(start: Start) -> None:
    here = await start()
    await ask_all(here.endpoint(keep_requests=True), 1)
    assert json.loads(here.store.calls[0]["body"])["messages"] == [{"role": "user", "content": "Is 0 a dog?"}]


async def test_room_for_thinking_is_asked_for_in_batches_too(start: Start) -> None:
    here = await start(reasoning=30)
    (reply,) = await ask_all(here.endpoint(reasoning_tokens=200), 1)
    assert "think" not in reply.text
    assert here.store.attempts[0]["reasoning_tokens"] > 0


# Replies that cannot be used


@pytest.mark.parametrize(("fault", "status"), [("refusal", "refused"), ("truncation", "truncated")])
async def test_what_cannot_be_used_is_an_attempt_but_no_call(start: Start, fault: str, status: str) -> None:
    here = await start(faults=f"{fault}=1")
    endpoint = here.endpoint()
    for _ in range(2):
        (error,) = await ask_all(endpoint, 1)
        assert isinstance(error, ModelResponseError)
        assert error.status == status
    assert here.store.statuses == [status]
    assert (here.store.calls, here.ran) == ([], ["batch"])


async def test_failed_items_are_sent_by_themselves(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    here = await start(batch_fail=0.4, seed=1)
    budget = Budget()
    replies = await ask_all(here.endpoint(budget=budget), 12)
    assert all(isinstance(reply, ChatReply) for reply in replies)
    assert len({reply.request_hash for reply in replies}) == len(here.store.calls) == 12
    by = Counter((attempt["via"], attempt["status"]) for attempt in here.store.attempts)
    n_failed = by["batch", "failed"]
    assert by == {("batch", "ok"): 12 - n_failed, ("batch", "failed"): n_failed, ("live", "ok"): n_failed}
    assert 0 < n_failed < 12
    failed = [attempt for attempt in here.store.attempts if attempt["status"] == "failed"]
    assert {attempt["http_status"] for attempt in failed} == {500, None}
    assert {attempt["charged_tokens"] for attempt in failed} <= {WORST_TOKENS, WORST_TOKENS + 1}
    assert budget.spent.tokens == sum(attempt["charged_tokens"] for attempt in here.store.attempts)
    await here.close()
    assert f"{n_failed} of 12 requests failed" in caplog.text
    assert f"{n_failed} of 12 requests failed" in here.log.of("llm_batch_events")[-1]["message"]


async def test_what_a_batch_did_not_get_to_costs_nothing_and_is_sent_by_itself(start: Start) -> None:
    here = await start(batch_state="expired")
    replies = await ask_all(here.endpoint(price=PRICE), 8)
    assert all(isinstance(reply, ChatReply) for reply in replies)
    expired = [attempt for attempt in here.store.attempts if attempt["status"] == "failed"]
    assert [(attempt["charged_tokens"], attempt["cost_usd"]) for attempt in expired] == [(0, 0.0)] * 4
    assert "batch_expired: " in expired[0]["error"]
    assert Counter(here.ran) == {"batch": 4, "chat": 4}


async def test_a_parameter_that_a_batch_refuses_is_left_to_the_probe(start: Start) -> None:
    here = await start(faults="refuse_param=logprobs")
    endpoint = here.endpoint()
    replies = await ask_all(endpoint, 3, top_logprobs=5)
    assert [reply.tokens for reply in replies] == [None] * 3
    assert not endpoint.can.logprobs
    assert {attempt["charged_tokens"] for attempt in here.store.attempts if attempt["http_status"] == 400} == {0}
    await endpoint.chat(request(9, top_logprobs=5), purpose(9))
    assert here.store.attempts[-1]["via"] == "batch"


async def test_a_batch_that_was_turned_down_ends_the_run_and_is_forgotten(start: Start) -> None:
    here = await start(batch_state="failed")
    budget = Budget()
    errors = await ask_all(here.endpoint(budget=budget), 3)
    assert {type(error) for error in errors} == {EndpointError}
    assert "did not run a batch of 3 requests (Enqueued token limit reached for this model.)" in str(errors[0])
    assert (budget.reserved.calls, budget.spent.calls, here.store.attempts, here.ran) == (0, 0, [], [])
    assert await here.events() == ["submitted", "abandoned"]
    assert here.log.of("llm_batch_events")[-1]["message"] == "Enqueued token limit reached for this model."
    await here.endpoint().resume()


# Money


async def test_what_does_not_fit_the_budget_waits_until_it_does(start: Start) -> None:
    here = await start()
    budget = Budget(max_tokens=4 * WORST_TOKENS)
    seen: list[int] = []
    settle = budget.settle

    def watching(*charges: Any) -> None:
        seen.append(budget.spent.tokens + budget.reserved.tokens)
        settle(*charges)

    budget.settle = watching  # type: ignore[method-assign]
    replies = await ask_all(here.endpoint(budget=budget), 8)
    assert all(isinstance(reply, ChatReply) for reply in replies)
    assert here.log.of("llm_batches")[0]["n_requests"] == 4
    assert len(here.log.of("llm_batches")) > 1
    assert max(seen) <= 4 * WORST_TOKENS


async def test_a_budget_that_is_used_up_ends_the_run_for_everybody_who_waits(start: Start) -> None:
    here = await start()
    budget = Budget(max_calls=5)
    replies = await ask_all(here.endpoint(budget=budget), 8)
    assert [type(reply) for reply in replies] == [ChatReply] * 5 + [BudgetExceeded] * 3
    assert (len(here.ran), budget.spent.calls, budget.reserved.calls) == (5, 5, 0)


async def test_nothing_stays_set_aside_for_a_batch_that_could_not_be_uploaded(start: Start) -> None:
    here = await start()
    budget = Budget(max_calls=5)
    here.wire.make(UPLOAD, *answering(400, "file too odd"))
    errors = await ask_all(here.endpoint(budget=budget), 2)
    assert [str(error).partition(";")[0] for error in errors] == ["the Batch API of llm fails (HTTP 400: file too odd)"] * 2
    assert (budget.reserved.calls, here.log.rows) == (0, [])


# Trouble on the way


async def test_passing_trouble_is_waited_out_and_nothing_runs_twice(start: Start) -> None:
    here = await start()
    here.wire.make(UPLOAD, losing, *answering(503, times=2))
    here.wire.make(CREATE, *answering(429, headers={"retry-after": "7"}), losing, losing)
    here.wire.make(LOOK, *answering(500, times=3), losing, *answering(429, headers={"retry-after": "900"}))
    here.wire.make(READ, cutting(0.1), *answering(502), cutting(0.7))
    replies = await ask_all(here.endpoint(), 6)
    assert [type(reply) for reply in replies] == [ChatReply] * 6
    assert here.ran == ["batch"] * 6
    assert here.store.statuses == ["ok"] * 6
    assert await here.events() == ["submitted", "collected"]
    assert 7 in here.waits
    assert max(here.waits) == batch_following.LONGEST_PAUSE_S


@pytest.mark.parametrize("shares", [(0.0,), (0.3, 0.2, 0.6), (0.9, 0.95, 0.99, 0.999)])
async def test_a_download_that_breaks_off_goes_on_where_it_was(
    start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, shares: tuple[float, ...]
) -> None:
    monkeypatch.setattr(batch_api, "LINES", 3)
    here = await start()
    here.wire.make(READ, *[cutting(share) for share in shares], in_pieces())
    replies = await ask_all(here.endpoint(), 20)
    assert [type(reply) for reply in replies] == [ChatReply] * 20
    assert here.store.statuses == ["ok"] * 20
    await here.close()
    assert "are ignored" not in caplog.text


async def test_a_lost_batch_is_found_among_many(start: Start) -> None:
    here = await start()

    async def behind_others(asked: httpx2.Request, inner: httpx2.AsyncBaseTransport) -> httpx2.Response:
        """The server takes the batch, then others, and nobody hears of it."""
        content = json.loads(await asked.aread())
        for name in (content["metadata"], *[{"autolabel": f"other-{i}"} for i in range(120)]):
            body = json.dumps({**content, "metadata": name}).encode()
            url, headers = str(asked.url), {"content-type": "application/json"}
            response = await inner.handle_async_request(httpx2.Request("POST", url, content=body, headers=headers))
            await response.aread()
        raise httpx2.ReadError("connection reset by peer")

    here.wire.make(CREATE, behind_others)
    await ask_all(here.endpoint(), 1)
    assert (here.wire.count(CREATE), here.wire.count(LIST)) == (1, 2)
    assert await here.events() == ["submitted", "collected"]


async def test_an_endpoint_that_falls_silent_ends_the_run_but_not_the_batch(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_following, "MAX_UNHEARD", 3)
    here = await start()
    here.wire.make(LOOK, *answering(500, times=3))
    (error,) = await ask_all(here.endpoint(), 1)
    assert isinstance(error, EndpointError)
    assert "says nothing of batch_" in str(error)
    again = here.endpoint()
    await again.resume()
    await ask_all(again, 1)
    assert here.ran == ["batch"]


@pytest.mark.parametrize("status", [404, 405])
@pytest.mark.parametrize("what", [UPLOAD, CREATE])
async def test_an_endpoint_without_batches_says_so(start: Start, what: str, status: int) -> None:
    here = await start()
    here.wire.make(what, *answering(status))
    (error,) = await ask_all(here.endpoint(), 1)
    assert isinstance(error, EndpointError)
    assert "has no Batch API" in str(error)
    assert "leave out --batch" in str(error)
    assert here.log.open() == []


@pytest.mark.parametrize(
    ("what", "status", "message"),
    [(UPLOAD, 401, "does not accept the API key"), (LOOK, 403, "does not accept the API key"), (CREATE, 402, "wants to be paid")],
)
async def test_a_wrong_setup_fails_at_once(start: Start, what: str, status: int, message: str) -> None:
    here = await start()
    here.wire.make(what, *answering(status))
    (error,) = await ask_all(here.endpoint(), 1)
    assert isinstance(error, EndpointError)
    assert message in str(error)
    assert here.wire.count(what) == 1


async def test_answers_that_are_none_are_asked_for_again(start: Start) -> None:
    here = await start()
    for what in (UPLOAD, CREATE, LOOK):
        here.wire.make(what, *[altering(lambda _, text=text: text) for text in (b"<html>", b"[1]", b"{}")])
    (reply,) = await ask_all(here.endpoint(), 1)
    assert isinstance(reply, ChatReply)
    assert here.ran == ["batch"]


async def test_an_endpoint_that_answers_everything_with_a_web_page_has_no_batches(start: Start) -> None:
    here = await start()
    here.wire.make(UPLOAD, *[altering(lambda _: b"<html>")] * 6)
    (error,) = await ask_all(here.endpoint(), 1)
    assert "the Batch API of llm fails (the answer is no JSON object)" in str(error)


# Results that are odd


async def test_lines_that_are_no_result_are_passed_over(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    here = await start()

    def spoilt(content: bytes) -> bytes:
        lines = content.splitlines()
        stranger = lines[0].replace(json.loads(lines[0])["custom_id"].encode(), b"stranger")
        return b"\n".join([b"{torn", b"", b"[]", b'{"custom_id": 3}', stranger, *lines, lines[0], b"\xff", b"[" * 100_000])

    here.wire.make(READ, altering(spoilt))
    replies = await ask_all(here.endpoint(), 4)
    assert [type(reply) for reply in replies] == [ChatReply] * 4
    assert (len(here.store.attempts), here.ran) == (4, ["batch"] * 4)
    await here.close()
    assert "7 lines of results belong to no request and are ignored" in caplog.text


async def test_a_request_without_a_result_is_charged_and_sent_by_itself(start: Start) -> None:
    here = await start()
    here.wire.make(READ, altering(lambda content: b"\n".join(content.splitlines()[1:])))
    replies = await ask_all(here.endpoint(), 3)
    assert [type(reply) for reply in replies] == [ChatReply] * 3
    (lost,) = [attempt for attempt in here.store.attempts if attempt["status"] == "failed"]
    assert (lost["error"], lost["charged_tokens"]) == ("the batch ended (completed) without a result", WORST_TOKENS)


async def test_results_that_are_gone_are_asked_for_live(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    here = await start()
    here.wire.make(READ, *answering(404, "No such File"))
    (reply,) = await ask_all(here.endpoint(), 1)
    assert isinstance(reply, ChatReply)
    assert here.ran == ["batch", "chat"]
    assert "no longer has a file of results (HTTP 404: No such File)" in caplog.text


async def test_an_answer_without_usage_is_charged_its_reservation(start: Start) -> None:
    here = await start()

    def silent(content: bytes) -> bytes:
        line = json.loads(content)
        del line["response"]["body"]["usage"]
        return json.dumps(line).encode()

    here.wire.make(READ, altering(silent))
    await ask_all(here.endpoint(), 1)
    assert (here.store.attempts[0]["status"], here.store.attempts[0]["charged_tokens"]) == ("ok", WORST_TOKENS)


@pytest.mark.parametrize(
    ("line", "said", "status"),
    [
        ({"error": {"code": "server_error", "message": f"oh, {KEY}\n!"}}, "server_error: oh, [key] !", None),
        ({"error": {}}, "error: no reason given", None),
        ({}, "the result holds neither an answer nor an error", None),
        ({"response": {"status_code": 500, "body": {"error": {"message": "no"}}}}, "HTTP 500: no", 500),
        ({"response": {"status_code": 400, "body": "text"}}, "HTTP 400: no reason given", 400),
        ({"response": {"status_code": "odd"}}, "HTTP odd: no reason given", None),
        ({"response": {"status_code": 200, "body": {"choices": []}}}, "the answer is JSON, but no chat completion", None),
    ],
)
async def test_failures_are_read_from_any_shape(start: Start, line: dict[str, Any], said: str, status: int | None) -> None:
    here = await start()
    here.endpoint()  # from now on the key is known
    result = read_result(json.dumps({"custom_id": "x", **line}).encode())
    assert result is not None
    assert isinstance(result.answer, AttemptFailed)
    assert (result.answer.what, result.answer.status) == (said, status)


# Ending, and going on


async def test_a_batch_outlives_the_run_that_sent_it(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    here = await start()
    await here.interrupted(4)
    assert "a batch of 4 requests goes on at" in caplog.text
    budget = Budget(max_calls=4)
    second = here.endpoint(batch=False, budget=budget)
    await second.resume()
    assert (budget.spent.calls, budget.reserved.calls) == (4, 0)
    replies = await ask_all(second, 4)
    assert [type(reply) for reply in replies] == [ChatReply] * 4
    assert (here.ran, here.wire.count(CREATE)) == (["batch"] * 4, 1)
    assert [attempt["via"] for attempt in here.store.attempts] == ["batch"] * 4
    assert {attempt["started_utc"] for attempt in here.store.attempts} == {here.log.of("llm_batches")[0]["created_utc"]}
    await here.endpoint().resume()
    assert here.wire.count(CREATE) == 1


async def test_an_earlier_batch_is_reserved_for_in_full_until_it_is_collected(start: Start) -> None:
    here = await start()
    await here.interrupted(3, price=PRICE)
    budget = Budget(max_usd=0.0)
    here.wire.make(LOOK, *unfinished(3))
    resumed = asyncio.create_task(here.endpoint(price=PRICE, budget=budget).resume())
    n_looks = here.wire.count(LOOK)
    while here.wire.count(LOOK) == n_looks:
        await asyncio.sleep(0.001)
    assert (budget.reserved.calls, budget.reserved.tokens) == (3, 3 * WORST_TOKENS)
    await resumed
    assert budget.reserved.calls == 0
    assert budget.spent.usd == pytest.approx(sum(attempt["cost_usd"] for attempt in here.store.attempts))


async def test_what_waits_for_a_batch_to_leave_is_dropped_at_the_end(start: Start) -> None:
    here = await start()
    await here.interrupted(3, budget=Budget(max_calls=1))
    assert len(here.log.of("llm_batch_items")) == 1
    with pytest.raises(EndpointError, match="the run is ending"):
        await here.made[0].chat(request(5), purpose(5))


async def test_replies_nobody_waits_for_are_judged_and_remembered_too(start: Start) -> None:
    here = await start(faults="refusal=0.5", seed=3)
    await here.interrupted(8)
    second = here.endpoint()
    await second.resume()
    replies = await ask_all(second, 8)
    assert Counter(type(reply) for reply in replies) == {
        ChatReply: here.store.statuses.count("ok"),
        ModelResponseError: here.store.statuses.count("refused"),
    }
    assert 0 < here.store.statuses.count("refused") < 8
    assert here.ran == ["batch"] * 8


async def test_an_earlier_batch_that_cannot_be_handed_over_any_more_is_forgotten(start: Start) -> None:
    here = await start()
    here.wire.make(CREATE, *answering(402))
    (error,) = await ask_all(here.endpoint(), 1)
    assert "wants to be paid" in str(error)
    here.wire.make(CREATE, *answering(400, "No such File object"))
    with pytest.raises(EndpointError, match=r"did not run a batch of 1 requests \(HTTP 400: No such File object\)"):
        await here.endpoint().resume()
    endpoint = here.endpoint()
    await endpoint.resume()
    await ask_all(endpoint, 1)
    assert (here.ran, await here.events()) == (["batch"], ["abandoned", "submitted", "collected"])


async def test_an_earlier_batch_the_endpoint_has_forgotten_is_charged_and_asked_again(start: Start) -> None:
    here = await start()
    here.wire.make(LOOK, *answering(401))
    await ask_all(here.endpoint(), 1)
    here.wire.make(LOOK, *answering(404))
    endpoint = here.endpoint()
    await endpoint.resume()
    assert [attempt["charged_tokens"] for attempt in here.store.attempts] == [WORST_TOKENS]
    (reply,) = await ask_all(endpoint, 1)
    assert isinstance(reply, ChatReply)
    assert await here.events() == ["submitted", "collected", "submitted", "collected"]


async def test_a_store_that_fails_ends_the_run_and_leaves_the_batch_to_the_next(start: Start) -> None:
    here = await start()

    def broken(answered: object) -> None:
        raise OSError("disk full")

    record_many, here.store.record_many = here.store.record_many, broken  # type: ignore[method-assign,assignment]
    errors = await ask_all(here.endpoint(), 2)
    assert [str(error) for error in errors] == ["disk full"] * 2
    here.store.record_many = record_many  # type: ignore[method-assign]
    endpoint = here.endpoint()
    await endpoint.resume()
    await ask_all(endpoint, 2)
    assert here.ran == ["batch"] * 2


async def test_the_key_is_in_nothing_that_is_kept_or_said(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    here = await start(key=KEY, echo_key=True, batch_fail=0.3)
    here.wire.make(LOOK, *answering(500, f"with {KEY}"))
    await ask_all(here.endpoint(), 6)
    here.wire.make(UPLOAD, *answering(400, f"with {KEY}"))
    errors = await ask_all(here.endpoint(), 1, sample_number=1)
    assert KEY not in json.dumps([here.log.rows, here.store.attempts, here.store.calls]) + caplog.text + repr(errors)


def test_batches_are_not_made_without_a_log() -> None:
    with pytest.raises(ValueError, match="without a log"):
        connect(LlmSettings(model="m", batch=True), MemoryCallStore())
