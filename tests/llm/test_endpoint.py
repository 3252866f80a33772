"""Replies over HTTP: what is sent, kept, tried again and given up, counted in requests."""

import asyncio
import json
import logging
import traceback
from collections.abc import Callable
from dataclasses import replace
from itertools import takewhile

import httpx2
import pytest
from conftest import KEY, Server, completion, failure
from fakes import MemoryCallStore

from autolabel import prompts
from autolabel.asking import ask
from autolabel.calls import chat_request_hash
from autolabel.errors import BudgetExceeded, EndpointError, ModelResponseError
from autolabel.llm.budget import Budget
from autolabel.llm.capabilities import Capabilities
from autolabel.llm.endpoint import GIVE_UP_AFTER, OpenAIChat
from autolabel.llm.pool import DOWN_AFTER
from autolabel.llm.retrying import MAX_SENDS, MAX_TIMEOUTS
from autolabel.llm.tokens import input_bound
from autolabel.parsing import parse_answers
from autolabel.records import ChatReply, ChatRequest, Message, Purpose

PURPOSE = Purpose("score", 7)
REQUEST = ChatRequest((Message("system", "Judge."), Message("user", "Texts")), max_tokens=30, prompt_hash="sha256:p")
FULL = replace(REQUEST, top_logprobs=5, seed=3, json_schema={"type": "array"})


async def test_a_reply_is_kept_and_asked_for_once(endpoint: OpenAIChat, server: Server, store: MemoryCallStore) -> None:
    server.script = [completion("<think>hm</think>\n[1,0]")]
    first = await endpoint.chat(REQUEST, PURPOSE)
    again = await endpoint.chat(REQUEST, Purpose("null", 8))
    assert first == again
    assert first == ChatReply("[1,0]", "stop", "served-model", None, 20, 16, 5, first.request_hash)
    assert len(server.requests) == 1
    assert server.bodies[0] == {
        "model": "asked-model",
        "messages": [{"role": "system", "content": "Judge."}, {"role": "user", "content": "Texts"}],
        "temperature": 0.0,
        "max_tokens": 30,
    }
    (call,), (attempt,) = store.calls, store.attempts
    assert call["request_hash"] == attempt["request_hash"] == chat_request_hash("http://llm.test/v1", "asked-model", REQUEST)
    assert (call["kind"], call["model_served"], call["prompt_hash"]) == ("chat", "served-model", "sha256:p")
    assert (attempt["status"], attempt["stage"], attempt["feature_index"]) == ("ok", "score", 7)
    assert (attempt["prompt_tokens"], attempt["cached_tokens"], attempt["completion_tokens"]) == (20, 16, 5)
    assert (attempt["cost_usd"], attempt["charged_tokens"], attempt["http_status"], attempt["via"]) == (None, 25, 200, "live")
    assert (attempt["input_bytes"], attempt["base_url"]) == (11, "http://llm.test/v1")
    json.dumps([call, attempt], allow_nan=False)


async def test_all_parameters_are_sent_and_token_probabilities_read(endpoint: OpenAIChat, server: Server) -> None:
    answer = completion().json()
    answer["choices"][0]["logprobs"] = {
        "content": [
            {"token": "1", "logprob": -0.1, "top_logprobs": [{"token": "1", "logprob": -0.1}, {"token": "0", "logprob": -9999.0}]}
        ]
    }
    server.script = [httpx2.Response(200, json=answer)]
    reply = await endpoint.chat(replace(FULL, sample_number=2), PURPOSE)
    body = server.bodies[0]
    assert (body["logprobs"], body["top_logprobs"], body["seed"]) == (True, 5, 5)
    assert body["response_format"]["json_schema"]["schema"] == {"type": "array"}
    assert reply.tokens is not None
    assert reply.tokens[0].alternatives == {"1": -0.1, "0": -9999.0}
    assert await endpoint.chat(replace(FULL, sample_number=2), PURPOSE) == reply


async def test_a_server_may_say_as_little_as_it_likes(endpoint: OpenAIChat, server: Server, store: MemoryCallStore) -> None:
    server.script = [httpx2.Response(200, json={"choices": [{"message": {"content": "[1]"}}]})]
    reply = await endpoint.chat(REQUEST, PURPOSE)
    assert (reply.text, reply.model_served, reply.prompt_tokens) == ("[1]", "asked-model", 0)
    assert store.attempts[0]["prompt_tokens"] is None
    json.dumps(store.calls, allow_nan=False)


async def test_the_reply_is_recorded_before_it_is_returned(
    server: Server, make: Callable[..., OpenAIChat], store: MemoryCallStore
) -> None:
    def broken(answered: object) -> None:
        raise OSError("disk full")

    store.record_many = broken  # type: ignore[method-assign]
    server.script = [completion()]
    with pytest.raises(OSError, match="disk full"):
        await make().chat(REQUEST, PURPOSE)


async def test_identical_requests_in_flight_are_sent_once(endpoint: OpenAIChat, server: Server, store: MemoryCallStore) -> None:
    server.script = [completion(), completion("[0,0]")]
    other = replace(REQUEST, sample_number=1)
    replies = await asyncio.gather(*[endpoint.chat(request, PURPOSE) for request in (REQUEST, other, REQUEST, REQUEST)])
    assert len(server.requests) == 2
    assert replies[0] == replies[2] == replies[3] != replies[1]
    assert store.statuses == ["ok", "ok"]


async def test_no_more_requests_at_once_than_allowed(make: Callable[..., OpenAIChat]) -> None:
    running, most = 0, 0

    async def slow(request: httpx2.Request) -> httpx2.Response:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1
        return completion()

    endpoint = make(transport=slow, max_concurrency=2)
    await asyncio.gather(*[endpoint.chat(replace(REQUEST, sample_number=i), PURPOSE) for i in range(6)])
    assert most == 2


async def test_a_rate_limit_is_waited_out_by_everybody(
    endpoint: OpenAIChat, server: Server, store: MemoryCallStore, waits: list[float]
) -> None:
    server.script = [failure(429, headers={"retry-after": "0.3"}), completion()]
    (only,) = endpoint.servers
    asked = asyncio.create_task(endpoint.chat(REQUEST, PURPOSE))
    while not store.attempts:
        await asyncio.sleep(0)
    assert 0 < only.throttle.wait_s(1) <= 0.3
    assert (await asked).text == "[1,0]"
    assert waits == [0.0]  # the server's pause is kept by its throttle
    assert store.statuses == ["failed", "ok"]
    assert store.attempts[0]["error"] == "HTTP 429: no"
    assert (store.attempts[0]["prompt_tokens"], store.attempts[0]["charged_tokens"]) == (None, 0)


@pytest.mark.parametrize(
    ("trouble", "named"),
    [
        (failure(500, "overloaded"), "HTTP 500: overloaded"),
        (failure(503), "HTTP 503"),
        (httpx2.ReadTimeout("slow"), "timed out"),
        (httpx2.ReadError("connection reset by peer"), "connection reset by peer"),
    ],
    ids=["500", "503", "timeout", "reset"],
)
async def test_passing_trouble_is_tried_again(
    endpoint: OpenAIChat, server: Server, store: MemoryCallStore, trouble: httpx2.Response | Exception, named: str
) -> None:
    server.script = [trouble, trouble, completion()]
    await endpoint.chat(REQUEST, PURPOSE)
    assert len(server.requests) == 3
    assert store.statuses == ["failed", "failed", "ok"]
    assert named in store.attempts[0]["error"]


async def test_lasting_trouble_fails_the_request_and_then_the_endpoint(
    make: Callable[..., OpenAIChat], server: Server, store: MemoryCallStore
) -> None:
    endpoint = make()
    server.script = [failure(500)] * (GIVE_UP_AFTER * MAX_SENDS)
    for sample in range(GIVE_UP_AFTER):
        with pytest.raises(ModelResponseError, match="HTTP 500") as caught:
            await endpoint.chat(replace(REQUEST, sample_number=sample), PURPOSE)
        assert caught.value.status == "failed"
    with pytest.raises(EndpointError, match="came to nothing on 10 requests in a row"):
        await endpoint.chat(replace(REQUEST, sample_number=GIVE_UP_AFTER), PURPOSE)
    assert len(server.requests) == GIVE_UP_AFTER * MAX_SENDS
    assert not store.calls


async def test_a_dead_endpoint_fails_no_request_but_the_run(
    make: Callable[..., OpenAIChat], server: Server, store: MemoryCallStore
) -> None:
    endpoint = make(patience_s=0)
    server.script = [httpx2.ConnectError("refused")] * DOWN_AFTER
    with pytest.raises(EndpointError, match="answered nothing for 0 seconds; see that it runs"):
        await endpoint.chat(REQUEST, PURPOSE)
    assert len(server.requests) == DOWN_AFTER
    assert store.statuses == ["failed"] * DOWN_AFTER


async def test_one_bad_request_ends_alone(endpoint: OpenAIChat, server: Server) -> None:
    bad = [httpx2.ReadError("reset")] * 2 + [failure(500)] * (MAX_SENDS - 2)
    server.script = [completion(), *bad, completion()]
    await endpoint.chat(REQUEST, PURPOSE)
    with pytest.raises(ModelResponseError, match="HTTP 500"):
        await endpoint.chat(replace(REQUEST, sample_number=1), PURPOSE)
    await endpoint.chat(replace(REQUEST, sample_number=2), PURPOSE)


async def test_time_outs_are_tried_less_often(endpoint: OpenAIChat, server: Server) -> None:
    server.script = [completion(), *[httpx2.ReadTimeout("slow")] * MAX_TIMEOUTS]
    await endpoint.chat(REQUEST, PURPOSE)
    with pytest.raises(ModelResponseError, match="timed out"):
        await endpoint.chat(replace(REQUEST, sample_number=1), PURPOSE)


async def test_a_reply_that_trickles_in_for_ever_times_out(make: Callable[..., OpenAIChat], store: MemoryCallStore) -> None:
    async def endless(request: httpx2.Request) -> httpx2.Response:
        await asyncio.Event().wait()
        raise AssertionError

    endpoint = make(transport=endless, timeout_s=0.01, patience_s=0)
    with pytest.raises((ModelResponseError, EndpointError)):
        await endpoint.chat(REQUEST, PURPOSE)
    assert store.attempts[0]["error"] == "timed out"


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (401, "put a valid one into the environment variable OPENAI_API_KEY"),
        (403, "does not accept the API key"),
        (404, "knows no model 'asked-model'"),
        (402, "wants to be paid first"),
        (400, "check llm.model and the server's version"),
    ],
)
async def test_a_wrong_setup_fails_at_once(make: Callable[..., OpenAIChat], server: Server, status: int, message: str) -> None:
    endpoint = make(can=None)
    server.script = [failure(status)]
    with pytest.raises(EndpointError, match=message):
        await endpoint.chat(REQUEST, PURPOSE)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("message", "status"),
    [("This model's maximum context length is 8192 tokens", "failed"), ("blocked by content_filter", "refused")],
)
async def test_a_prompt_that_cannot_be_answered_is_one_item(
    endpoint: OpenAIChat, server: Server, message: str, status: str
) -> None:
    server.script = [failure(400, message)]
    with pytest.raises(ModelResponseError) as caught:
        await endpoint.chat(REQUEST, PURPOSE)
    assert caught.value.status == status
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "answer",
    [
        httpx2.Response(200, content=b"{not json", headers={"content-type": "application/json"}),
        httpx2.Response(200, text="<html>a proxy's page</html>"),
        httpx2.Response(200, json={"object": "nothing"}),
        httpx2.Response(200, json=[]),
        httpx2.Response(200, json={"choices": []}),
        httpx2.Response(200, json={"choices": [{"finish_reason": "stop"}]}),
    ],
    ids=["malformed", "html", "other object", "list", "no choice", "no message"],
)
async def test_an_answer_that_is_no_completion_is_tried_again_and_then_fails(
    endpoint: OpenAIChat, server: Server, store: MemoryCallStore, answer: httpx2.Response
) -> None:
    server.script = [answer, completion(), *[answer] * MAX_SENDS]
    await endpoint.chat(REQUEST, PURPOSE)
    with pytest.raises(ModelResponseError, match="gave no answer") as caught:
        await endpoint.chat(replace(REQUEST, sample_number=1), PURPOSE)
    assert caught.value.status == "failed"
    assert store.statuses == ["failed", "ok", *["failed"] * MAX_SENDS]


async def test_an_answer_without_usage_is_charged_its_reservation(
    make: Callable[..., OpenAIChat], server: Server, store: MemoryCallStore
) -> None:
    budget = Budget(max_tokens=1000)
    server.script = [httpx2.Response(200, json={"choices": [{"message": {"content": "[1]"}}]}), completion()]
    endpoint = make(budget=budget)
    await endpoint.chat(REQUEST, PURPOSE)
    assert store.attempts[0]["charged_tokens"] == input_bound(REQUEST.messages) + REQUEST.max_tokens == budget.spent.tokens
    await endpoint.chat(replace(REQUEST, sample_number=1), PURPOSE)
    assert store.attempts[1]["charged_tokens"] == 25


async def test_a_budget_stops_before_it_is_crossed(make: Callable[..., OpenAIChat], server: Server, store: MemoryCallStore) -> None:
    bound = input_bound(REQUEST.messages) + REQUEST.max_tokens
    budget = Budget(max_tokens=bound + 30)
    server.script = [completion(), completion()]
    endpoint = make(budget=budget)
    replies = await asyncio.gather(
        *[endpoint.chat(replace(REQUEST, sample_number=i), PURPOSE) for i in range(4)], return_exceptions=True
    )
    assert [type(reply) for reply in replies] == [ChatReply, ChatReply, BudgetExceeded, BudgetExceeded]
    assert (budget.spent.tokens, budget.reserved.calls) == (50, 0)
    assert len(server.requests) == 2
    assert not store.in_flight


async def test_what_was_refused_in_this_job_is_not_paid_for_again(
    endpoint: OpenAIChat, server: Server, store: MemoryCallStore
) -> None:
    server.script = [completion(None, refusal="no")]
    for _ in range(2):
        with pytest.raises(ModelResponseError) as caught:
            await endpoint.chat(REQUEST, PURPOSE)
        assert caught.value.status == "refused"
    earlier = replace(REQUEST, sample_number=1)
    store.refused[chat_request_hash(endpoint.endpoint_id, "asked-model", earlier)] = ("truncated", "cut off")
    with pytest.raises(ModelResponseError, match="cut off"):
        await endpoint.chat(earlier, PURPOSE)
    assert len(server.requests) == 1


async def test_closing_waits_for_what_is_in_flight(make: Callable[..., OpenAIChat], store: MemoryCallStore) -> None:
    on_its_way = asyncio.Event()

    async def slow(request: httpx2.Request) -> httpx2.Response:
        on_its_way.set()
        await asyncio.sleep(0.01)
        return completion()

    endpoint = make(transport=slow)
    asked = asyncio.create_task(endpoint.chat(REQUEST, PURPOSE))
    await on_its_way.wait()
    asked.cancel()
    await endpoint.close()
    assert store.statuses == ["ok"]
    assert not store.in_flight


async def test_the_body_is_kept_only_on_request(make: Callable[..., OpenAIChat], server: Server, store: MemoryCallStore) -> None:
    server.script = [completion(), completion()]
    await make().chat(REQUEST, PURPOSE)
    await make(keep_requests=True).chat(replace(REQUEST, sample_number=1), PURPOSE)
    assert "body" not in store.calls[0]
    assert json.loads(store.calls[1]["body"]) == server.bodies[1]


async def test_the_fixed_part_of_a_prompt_comes_first_byte_for_byte(endpoint: OpenAIChat, server: Server) -> None:
    """Servers keep the beginning of a prompt: solved examples, then texts, must not change from label to label."""
    prompt = prompts.load("detection")
    server.script = [completion(), completion()]
    for label in ("a dog", "a cat"):
        await endpoint.chat(ChatRequest(prompt.render(texts="1. x", label=label, n=1), 10), PURPOSE)
    first, second = (request.content for request in server.requests)
    shared = bytes(takewhile(bool, (a * (a == b) for a, b in zip(first, second, strict=False))))
    assert b"Texts:\\n1. x\\nLabel: a " in shared


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (completion(None, refusal="I will not."), "refused"),
        (completion("", "content_filter"), "refused"),
        (completion("[1,0", "length"), "truncated"),
    ],
)
async def test_refusals_and_truncations_are_attempts_but_no_calls(
    endpoint: OpenAIChat, server: Server, store: MemoryCallStore, answer: httpx2.Response, status: str
) -> None:
    server.script = [answer]
    with pytest.raises(ModelResponseError) as caught:
        await endpoint.chat(REQUEST, PURPOSE)
    assert caught.value.status == status
    assert store.statuses == [status]
    assert store.attempts[0]["completion_tokens"] == 5
    assert not store.calls


async def test_a_parameter_refused_by_name_is_left_out_once_a_probe_confirms_it(
    endpoint: OpenAIChat, server: Server, store: MemoryCallStore, learnt: list[tuple[Capabilities, str]]
) -> None:
    refusal = failure(400, "you are not allowed to request logprobs from this model")
    server.script = [refusal, refusal, completion(), completion(), completion("[0,0]")]
    assert (await endpoint.chat(FULL, PURPOSE)).tokens is None
    await endpoint.chat(replace(FULL, sample_number=1), PURPOSE)
    assert [attempt["stage"] for attempt in store.attempts] == ["score", "probe", "probe", "score", "score"]
    assert all("logprobs" not in body for body in server.bodies[2:])
    assert [(found.logprobs, reason) for found, reason in learnt] == [(False, "refused logprobs")]


async def test_a_word_of_the_prompt_is_not_taken_for_a_parameter(endpoint: OpenAIChat, server: Server) -> None:
    complaint = failure(400, "cannot read: the seed was planted")
    with_logprobs = completion().json()
    with_logprobs["choices"][0]["logprobs"] = {"content": [{"token": "1", "logprob": -0.1, "top_logprobs": []}]}
    probed = httpx2.Response(200, json=with_logprobs)
    server.script = [complaint, probed, completion(), complaint, completion()]
    await endpoint.chat(FULL, PURPOSE)
    assert endpoint.can == Capabilities()
    await endpoint.chat(replace(FULL, sample_number=1), PURPOSE)
    assert ["seed" in body for body in server.bodies] == [True, True, False, True, False]


async def test_a_parameter_still_refused_when_gone_fails_the_request(endpoint: OpenAIChat, server: Server) -> None:
    server.script = [failure(400, "no seed please"), completion(), failure(400, "no seed please")]
    with pytest.raises(ModelResponseError, match="no seed please"):
        await endpoint.chat(FULL, PURPOSE)
    assert len(server.requests) == 3


async def test_an_unparsable_reply_is_recorded_as_such_and_asked_again(
    endpoint: OpenAIChat, server: Server, store: MemoryCallStore
) -> None:
    def parse(reply: ChatReply) -> list[bool]:
        return parse_answers(reply, 2)

    server.script = [completion("[1]"), completion("well"), completion("[1,0]")]
    assert await ask(endpoint, REQUEST, PURPOSE, parse) == [True, False]
    assert store.statuses == ["unparsable", "unparsable", "ok"]
    assert store.attempts[0]["error"] == "the reply holds 1 answers where 2 were asked"
    assert await ask(endpoint, REQUEST, PURPOSE, parse) == [True, False]
    assert len(server.requests) == 3


async def test_a_final_failure_is_the_same_on_a_rerun_without_new_calls(endpoint: OpenAIChat, server: Server) -> None:
    server.script = [completion("[1]"), completion("[0]"), completion("[1,1,1]")]
    for _ in range(2):
        with pytest.raises(ModelResponseError, match="holds 3 answers where 2 were asked"):
            await ask(endpoint, REQUEST, PURPOSE, lambda reply: parse_answers(reply, 2))
    assert len(server.requests) == 3


async def test_the_key_appears_nowhere(
    make: Callable[..., OpenAIChat], server: Server, store: MemoryCallStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    endpoint = make()
    server.script = [failure(500, f"bad key {KEY}"), failure(401, f"Incorrect API key provided: {KEY}")]
    with pytest.raises(EndpointError) as caught:
        await endpoint.chat(REQUEST, PURPOSE)
    assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"
    shown = "".join(traceback.format_exception(caught.value)) + repr(endpoint) + json.dumps([store.attempts, store.calls])
    assert KEY not in shown
    assert KEY not in "".join(record.getMessage() for record in caplog.records if record.name.startswith("autolabel"))
    assert "[key]" in store.attempts[0]["error"]


def test_an_address_is_stored_without_secrets(make: Callable[..., OpenAIChat]) -> None:
    assert make(base_url=f"http://user:{KEY}@llm.test:81/v1/?key={KEY}").endpoint_id == "http://llm.test:81/v1"


async def test_a_missing_key_is_no_obstacle_to_a_local_server(
    make: Callable[..., OpenAIChat], server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    server.script = [completion()]
    assert (await make().chat(REQUEST, PURPOSE)).text == "[1,0]"


async def test_probe_says_in_one_line_that_nothing_listens(endpoint: OpenAIChat, server: Server) -> None:
    server.script = [httpx2.ConnectError("connection refused")]
    with pytest.raises(EndpointError) as caught:
        await endpoint.probe()
    assert str(caught.value) == (
        "no LLM answers at http://llm.test/v1 (no connection (connection refused)); start the server there or set llm.base_url, "
        "and put its API key, if it needs one, into the environment variable OPENAI_API_KEY"
    )


async def test_a_known_endpoint_is_only_greeted(endpoint: OpenAIChat, server: Server, store: MemoryCallStore) -> None:
    server.script = [httpx2.Response(200, json={"object": "list", "data": []})]
    await endpoint.probe()
    assert len(server.requests) == 1
    assert not store.attempts


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ([failure(401)], "does not accept the API key"),
        ([failure(404), failure(404)], "is no OpenAI-compatible address"),
        ([httpx2.Response(200, text="<html>")] * (1 + MAX_SENDS), "check llm.base_url"),
    ],
    ids=["key", "address", "web page"],
)
async def test_probe_refuses_what_is_no_llm(
    make: Callable[..., OpenAIChat], server: Server, script: list[httpx2.Response], message: str
) -> None:
    server.script = list(script)
    with pytest.raises(EndpointError, match=message):
        await make(can=None).probe()
