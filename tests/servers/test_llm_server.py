"""The loopback LLM server, asked by the real client: tests of other things lean on what is checked here."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from openai import AsyncOpenAI

from autolabel.calibration import load_calibration_items
from autolabel.rendering import marked_line, plain_line
from tests.servers.client import KEY, ask, judge_prompt, said, until, user
from tests.servers.limits import Limits, duration
from tests.servers.llm import LlmServer
from tests.servers.log import summarise
from tests.servers.options import Options, flags, parse
from tests.servers.processes import running
from tests.servers.tokens import REPLY_TOKENS, pieces, prompt_tokens

Start = Callable[..., Any]
FIRES = "Fires:\n10: A <<dog>> ran.\n4: The <<dog>> sat by a <<cat>>.\nDoes not fire:\nNobody came.\nLabel:"


async def outcomes(client: AsyncOpenAI, n: int, times: int = 1) -> list[str]:
    """What came of asking `n` different questions `times` times: the text, or the kind of failure."""

    async def outcome(text: str) -> str:
        try:
            return await said(client, judge_prompt(text, "Nobody."), max_tokens=14)
        except (openai.OpenAIError, ValueError) as error:
            return f"{type(error).__name__} {getattr(error, 'status_code', '')}".strip()

    rounds = [await asyncio.gather(*(outcome(f"A dog, number {i}.") for i in range(n))) for _ in range(times)]
    return [one for found in rounds for one in found]


async def test_labels_and_judgements_depend_on_the_body_alone(start: Start) -> None:
    _, client = await start()
    _, other = await start(seed=9)
    label = await said(client, user(FIRES), max_tokens=40)
    assert label.startswith('the word "dog" (')
    assert label == await said(other, user(FIRES), max_tokens=40)
    assert label != await said(client, user(FIRES), max_tokens=40, temperature=0.5)
    assert await said(client, judge_prompt("A dog ran.", "Dogs ran.", "The dog."), max_tokens=17) == "[1,0,1]"
    assert await said(client, user('Text: A <<cat>> saw a dog.\nLabel: the word "dog"')) == "0"
    assert await said(client, user("Hi")) == "1"


async def test_labels_without_a_suffix(start: Start) -> None:
    _, client = await start(unique_labels=False)
    assert await said(client, user(FIRES)) == 'the word "dog"'


async def test_another_answerer() -> None:
    server = LlmServer(Options(unique_labels=False), lambda body: body["messages"][0]["content"].upper())
    async with server, AsyncOpenAI(base_url=server.base_url, api_key=KEY) as client:
        assert await said(client, user("dogs")) == "DOGS"


@pytest.mark.parametrize("marked", [False, True])
async def test_a_judge_who_answers_from_here_solves_the_calibration(start: Start, marked: bool) -> None:
    _, client = await start()
    for case in load_calibration_items():
        lines = [marked_line(e, e.mark_positions) if marked else plain_line(e) for e in case.examples]
        assert json.loads(await said(client, judge_prompt(*lines, label=case.label))) == [int(e.fires) for e in case.examples]


async def test_usage_is_what_tokenize_counts(start: Start) -> None:
    server, client = await start(template=True)
    root = server.base_url.removesuffix("/v1")
    messages = judge_prompt("A «naïve» dog, isn't it? 犬 🐕", "Two\tlines\\n.")
    usage = (await ask(client, messages, max_tokens=20)).usage
    async with httpx2.AsyncClient() as http:
        chat = (await http.post(f"{root}/tokenize", json={"model": "any", "messages": messages})).json()
        template = (await http.post(f"{root}/apply-template", json={"messages": messages})).json()["prompt"]
        text = (await http.post(f"{root}/tokenize", json={"content": template})).json()
    assert usage.prompt_tokens == chat["count"] == len(text["tokens"]) == prompt_tokens(messages)
    assert usage.completion_tokens == len(pieces("[1,0]"))
    assert server.stats.delivered_tokens == usage.total_tokens


async def test_tokenize_can_be_absent(start: Start) -> None:
    server, _ = await start(tokenize=False)
    async with httpx2.AsyncClient() as http:
        assert (await http.post(server.base_url.removesuffix("/v1") + "/tokenize", json={"content": "a"})).status_code == 404


async def test_probabilities_agree_with_the_answer(start: Start) -> None:
    _, client = await start()
    choice = (await ask(client, judge_prompt("A dog.", "No."), logprobs=True, top_logprobs=5)).choices[0]
    tokens = choice.logprobs.content
    assert "".join(token.token for token in tokens) == choice.message.content == "[1,0]"
    assert [[a.token for a in token.top_logprobs][:2] for token in tokens if token.token in "01"] == [["1", "0"], ["0", "1"]]
    for token in tokens:
        values = [a.logprob for a in token.top_logprobs]
        assert values == sorted(values, reverse=True)
        assert values[0] == token.logprob < 0
        assert len(values) == 5


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "array", "items": {"type": "integer", "enum": [0, 1]}}, [1, 0]),
        ({"type": "array", "items": {"type": "boolean"}}, [True, False]),
        (
            {"type": "object", "properties": {"why": {"type": "string"}, "answers": {"type": "array"}}},
            {"why": "", "answers": [1, 0]},
        ),
        ({"type": "array", "items": {"enum": ["no", "yes"]}}, ["yes", "no"]),
    ],
)
async def test_a_schema_shapes_the_answer(start: Start, schema: dict[str, Any], expected: Any) -> None:
    _, client = await start()
    wanted = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}}
    assert json.loads(await said(client, judge_prompt("A dog.", "No."), response_format=wanted)) == expected


async def test_reasoning_is_counted_shown_and_cut(start: Start) -> None:
    _, client = await start(reasoning=30)
    whole = await ask(client, judge_prompt("A dog."), max_tokens=60)
    assert whole.choices[0].message.content.startswith("<think>\nhm hm ")
    assert whole.choices[0].message.content.endswith("</think>\n\n[1]")
    assert whole.usage.completion_tokens == whole.usage.completion_tokens_details.reasoning_tokens + 3 == 40
    cut = await ask(client, judge_prompt("A dog."), max_tokens=20)
    assert (cut.choices[0].finish_reason, cut.usage.completion_tokens) == ("length", 20)
    _, hidden = await start(reasoning=30, hide_reasoning=True)
    assert await said(hidden, judge_prompt("A dog."), max_completion_tokens=60) == "[1]"
    assert await said(hidden, judge_prompt("A dog."), max_completion_tokens=20) == ""


async def test_cached_tokens_are_those_of_shared_lines(start: Start) -> None:
    _, client = await start(cached_tokens=True)
    other = judge_prompt("A dog.", label="cats")
    first, second = (await ask(client, judge_prompt("A dog.", label="dogs"))).usage, (await ask(client, other)).usage
    assert first.prompt_tokens_details.cached_tokens == 0
    not_shared = other[-1]["content"].partition("A dog.\n")[2]
    assert second.prompt_tokens_details.cached_tokens == second.prompt_tokens - len(pieces(not_shared)) - REPLY_TOKENS


async def test_transport_faults_depend_on_how_often_a_body_was_seen(start: Start) -> None:
    spec = "429=0.1,429_retry_after=0.1,500=0.1,reset=0.1,malformed=0.1,empty=0.1"
    server, client = await start(faults=spec, seed=3)
    found = await outcomes(client, 40, times=2)
    assert set(found) == {"RateLimitError 429", "InternalServerError 500", "APIConnectionError", "JSONDecodeError", "", "[1,0]"}
    assert found[:40] != found[40:]
    _, again = await start(faults=spec, seed=3)
    assert await outcomes(again, 40, times=2) == found
    assert {entry["fault"] for entry in server.log} == {None, *(part.split("=")[0] for part in spec.split(","))}
    assert {entry["status"] for entry in server.log} == {200, 429, 500, "reset"}
    assert all(entry["delivered"] == (entry["status"] != "reset") for entry in server.log)


@pytest.mark.parametrize(("options", "status"), [({"faults": "hang=1"}, "hang"), ({"latency": 60}, "gone")])
async def test_a_client_that_leaves_without_an_answer_is_charged(start: Start, options: dict[str, Any], status: str) -> None:
    server, client = await start(**options)
    asking = asyncio.create_task(said(client, user("Hi")))
    await until(lambda: server.in_flight == 1)
    asking.cancel()
    await until(lambda: server.in_flight == 0)
    (entry,) = server.log
    assert (entry["status"], entry["delivered"]) == (status, False)
    assert server.stats.charged_tokens > server.stats.delivered_tokens == 0


async def test_content_faults_depend_on_the_body_alone(start: Start) -> None:
    spec = "wrong_count=0.2,refusal=0.2,truncation=0.2,non_json=0.2,sticky_500=0.1"
    server, client = await start(faults=spec, seed=1)
    found = await outcomes(client, 30, times=2)
    assert found[:30] == found[30:]
    assert {"[1,0]", "[1]", "None", "InternalServerError 500"} < set(found)
    (cut,) = [entry for entry in server.log if entry["fault"] == "truncation"][:1]
    assert cut["completion_tokens"] == 14
    tally = server.stats
    assert set(tally.by_fault) == {"wrong_count", "refusal", "truncation", "non_json", "sticky_500"}
    assert tally.paid_twice == found.count("[1,0]") / 2
    assert (tally.requests, tally.distinct_bodies, tally.by_status[500]) == (60, 30, found.count("InternalServerError 500"))


async def test_labels_are_never_miscounted_or_prose(start: Start) -> None:
    server, client = await start(faults="wrong_count=0.5,non_json=0.5")
    assert (await said(client, user(FIRES))).startswith('the word "dog"')
    assert server.log[0]["fault"] is None


async def test_retry_after_is_in_its_range(start: Start) -> None:
    _, client = await start(faults="429_retry_after=1", retry_after=(2.0, 3.0))
    with pytest.raises(openai.RateLimitError) as raised:
        await said(client, user("Hi"))
    assert 2 <= float(raised.value.response.headers["retry-after"]) <= 3


async def test_refused_parameters_are_named(start: Start) -> None:
    server, client = await start(faults="refuse_param=max_tokens+logprobs")
    with pytest.raises(openai.BadRequestError) as raised:
        await said(client, user("Hi"), max_tokens=1)
    assert raised.value.param == "max_tokens"
    with pytest.raises(openai.BadRequestError, match="'logprobs' is not supported"):
        await said(client, user("Hi"), max_completion_tokens=1, logprobs=True, top_logprobs=2)
    assert await said(client, user("Hi"), max_completion_tokens=1, seed=1, temperature=0) == "1"
    assert server.stats.by_fault == Counter(refuse_param=2)


async def test_what_no_endpoint_would_answer(start: Start) -> None:
    _, client = await start(model="small", context=50)
    assert [model.id async for model in client.models.list()] == ["small"]
    with pytest.raises(openai.NotFoundError):
        await said(client, user("Hi"))
    with pytest.raises(openai.BadRequestError, match="maximum context length"):
        await ask(client, judge_prompt("A dog."), model="small")


def test_limits_are_kept_and_their_headers_are_true() -> None:
    limits, body = Limits(2, 100), {"messages": user("Hi"), "max_tokens": 22}
    assert limits.headers(0.0)["x-ratelimit-limit-requests"] == "120"
    assert limits.refusal(body, 0.0) is None
    assert limits.headers(0.0) == {
        "x-ratelimit-limit-requests": "120",
        "x-ratelimit-remaining-requests": "1",
        "x-ratelimit-reset-requests": "500ms",
        "x-ratelimit-limit-tokens": "6000",
        "x-ratelimit-remaining-tokens": "70",
        "x-ratelimit-reset-tokens": "300ms",
    }
    assert limits.refusal(body, 0.0) is None
    refused = limits.refusal(body, 0.1)
    assert refused is not None
    assert (refused.status, refused.headers) == (429, {"retry-after": "0.400"})
    assert limits.refusal(body, 0.5) is None


def test_more_tokens_than_a_limit_holds_are_owed() -> None:
    limits, body = Limits(None, 100), {"messages": user("Hi"), "max_tokens": 242}
    assert limits.refusal(body, 0.0) is None
    refused = limits.refusal(body, 1.0)
    assert refused is not None
    assert refused.headers == {"retry-after": "1.500"}
    assert limits.refusal(body, 2.5) is None


@pytest.mark.parametrize(("seconds", "text"), [(0.0121, "13ms"), (1.5, "1.5s"), (123.25, "2m3.25s")])
def test_durations_are_written_as_openai_does(seconds: float, text: str) -> None:
    assert duration(seconds) == text


async def test_a_client_over_the_limit_is_told_when_to_come_back(start: Start) -> None:
    server, client = await start(rate_limit=0.01, headers=True)
    response = await client.chat.completions.with_raw_response.create(model="any", messages=[{"role": "user", "content": "Hi"}])
    assert response.headers["x-ratelimit-remaining-requests"] == "0"
    with pytest.raises(openai.RateLimitError) as raised:
        await said(client, user("Hi"))
    assert 0 < float(raised.value.response.headers["retry-after"]) <= 100
    assert server.stats.by_status == {200: 1, 429: 1}


async def test_no_more_at_once_than_allowed_and_latency(start: Start) -> None:
    server, client = await start(max_concurrent=2, latency=0.05)
    found = await asyncio.gather(*(said(client, user(f"{i}")) for i in range(4)), return_exceptions=True)
    assert sorted(type(one).__name__ for one in found) == ["RateLimitError", "RateLimitError", "str", "str"]
    assert all(entry["ended"] - entry["arrived"] > 0.049 for entry in server.log if entry["status"] == 200)
    assert server.stats.peak_in_flight == 3  # the third and the fourth left at once


async def test_a_server_that_is_down_refuses_connections(start: Start) -> None:
    _, client = await start(down_between=(0, 60))
    await asyncio.sleep(0.001)
    with pytest.raises(openai.APIConnectionError):
        await said(client, user("Hi"))


async def test_a_server_that_was_down_answers_again(start: Start) -> None:
    _, client = await start(down_between=(0, 0.01))
    async with asyncio.timeout(5):
        while "[1,0]" not in await outcomes(client, 1):
            await asyncio.sleep(0.005)


async def test_the_key_is_asked_for_and_echoed(start: Start) -> None:
    server, client = await start(key="sk-another", echo_key=True)
    with pytest.raises(openai.AuthenticationError, match=KEY) as raised:
        await said(client, user("Hi"))
    assert KEY in raised.value.response.headers["x-received-authorization"]
    assert server.log[0]["status"] == 401
    server, client = await start(key=KEY, echo_key=True)
    texts = [await said(client, user(f"{i}")) for i in range(100)]
    assert 0 < sum(KEY in text for text in texts) < 30
    server, client = await start(key="sk-another")
    with pytest.raises(openai.AuthenticationError) as raised:
        await client.models.list()
    assert KEY not in str(raised.value)


def test_the_command_line_says_what_options_say(tmp_path: Path) -> None:
    options = Options(faults="hang=1", log=tmp_path / "log", tokenize=False, echo_key=True, down_between=(1.0, 2.5), rate_limit=3.0)
    assert parse(flags(options)) == options
    assert flags(Options()) == []
    assert "--no-tokenize" in flags(options)


@pytest.mark.parametrize(("spec", "complaint"), [("429=0.6,reset=0.5", "add up to 1.1"), ("hangs=1", "unknown fault 'hangs'")])
def test_faults_that_cannot_be(spec: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        LlmServer(Options(faults=spec))


def test_a_server_in_its_own_process(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    with running(Options(log=log, latency=0.01)) as server:
        answers = [
            httpx2.post(f"{server.base_url}/chat/completions", json={"model": "m", "messages": user("Hi")}) for _ in range(2)
        ]
    assert [answer.status_code for answer in answers] == [200, 200]
    tally = summarise(log)
    assert (tally.requests, tally.distinct_bodies, tally.paid_twice, tally.peak_in_flight) == (2, 1, 1, 1)
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(f"{server.base_url}/models")
