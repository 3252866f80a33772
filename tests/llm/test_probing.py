"""Finding out what an endpoint supports, from endpoints that differ in what they refuse and in how they say so."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import httpx2
import pytest
from conftest import completion, failure
from fakes import MemoryCallStore

from autolabel.errors import BudgetExceeded, EndpointError, ModelResponseError
from autolabel.llm.budget import Budget
from autolabel.llm.capabilities import PROBES, Capabilities, probe_request
from autolabel.llm.endpoint import GIVE_UP_AFTER, OpenAIChat
from autolabel.llm.probing import THINKING_TOKENS
from autolabel.records import ChatRequest, Message, Purpose

PURPOSE = Purpose("score", 7)
REQUEST = ChatRequest((Message("user", "Texts"),), 30, top_logprobs=5, json_schema={"type": "array"}, seed=3)
PROBE = probe_request()
Learnt = list[tuple[Capabilities, str]]
Make = Callable[..., OpenAIChat]


def openai(name: str) -> httpx2.Response:
    messages = {
        "max_tokens": "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
        "temperature": "Unsupported value: 'temperature' does not support 0 with this model. Only the default (1) value is supported.",
        "response_format": "Invalid schema for response_format 'answer': schema must be of 'type: \"object\"', got 'type: \"array\"'.",
        "logprobs": "You are not allowed to request logprobs from this model",
    }
    known = messages.get(name, f"Unrecognized request argument supplied: {name}")
    return failure(400, known, type="invalid_request_error", param=name, code="unsupported_parameter")


def azure(name: str) -> httpx2.Response:
    return failure(400, "Unsupported parameter with this API version.", param=name, code="BadRequest")


def vllm(name: str) -> httpx2.Response:
    said = f"[{{'type': 'extra_forbidden', 'loc': ('body', '{name}'), 'msg': 'Extra inputs are not permitted', 'input': 0}}]"
    return httpx2.Response(400, json={"object": "error", "message": said, "type": "BadRequestError", "param": None, "code": 400})


def llama_cpp(name: str) -> httpx2.Response:
    return failure(400, f"Unsupported param: {name}", type="invalid_request_error", code=400)


def fastapi(name: str) -> httpx2.Response:
    return httpx2.Response(422, json={"detail": [{"type": "extra_forbidden", "loc": ["body", name], "msg": "Not permitted"}]})


def ollama(name: str) -> httpx2.Response:
    return httpx2.Response(400, json={"error": f'json: unknown field "{name}"'})


@dataclass
class Picky:
    """An endpoint that refuses some parameters, one a time, and answers what it was asked for otherwise."""

    unsupported: set[str] = field(default_factory=set)
    refuse: Callable[[str], httpx2.Response] = openai
    gives_logprobs: bool = True
    message: dict[str, Any] = field(default_factory=dict)
    needs_tokens: int = 0
    """Where fewer are allowed, the reply is cut off before its first word."""
    quoted: str | None = None
    """A parameter that its complaint about every second prompt happens to name."""
    bodies: list[dict[str, Any]] = field(default_factory=list)

    async def __call__(self, request: httpx2.Request) -> httpx2.Response:
        await asyncio.sleep(0)
        if request.url.path.endswith("/models"):
            return httpx2.Response(200, json={"data": []})
        body = json.loads(request.content)
        self.bodies.append(body)
        for name in sorted(self.unsupported & set(body)):
            return self.refuse(name)
        if self.quoted in body and "planted" in body["messages"][0]["content"]:
            return failure(400, f"cannot read 'the {self.quoted} was planted'")
        return self._completion(body)

    def _completion(self, body: dict[str, Any]) -> httpx2.Response:
        allowed = body.get("max_tokens", body.get("max_completion_tokens"))
        answer = completion(**{"content": "[1,0]", **self.message}).json()
        choice = answer["choices"][0]
        if allowed < self.needs_tokens:
            choice |= {"finish_reason": "length", "message": {"content": ""}}
        if body.get("logprobs") and self.gives_logprobs:
            top = [{"token": "1", "logprob": -0.1}]
            choice["logprobs"] = {"content": [{"token": "1", "logprob": -0.1, "top_logprobs": top}]}
        return httpx2.Response(200, json=answer)


SUBSETS: list[set[str]] = [
    set(),
    {"logprobs"},
    {"max_tokens"},
    {"seed", "temperature"},
    {"response_format", "logprobs"},
    {"temperature", "logprobs", "response_format", "max_tokens", "seed"},
]


@pytest.mark.parametrize("unsupported", SUBSETS, ids=lambda names: "+".join(sorted(names)) or "none")
@pytest.mark.parametrize("refuse", [openai, azure, vllm, llama_cpp, fastapi, ollama])
async def test_each_parameter_that_is_refused_by_name_is_found_and_no_other(
    make: Make, store: MemoryCallStore, learnt: Learnt, refuse: Callable[[str], httpx2.Response], unsupported: set[str]
) -> None:
    picky = Picky(unsupported, refuse)
    endpoint = make(can=None, transport=picky)
    await endpoint.probe()
    expected = Capabilities().without(unsupported)
    assert (endpoint.can, learnt) == (expected, [(expected, "first use")])
    assert store.statuses == ["failed"] * len(unsupported) + ["ok"]
    assert {(attempt["stage"], attempt["feature_index"]) for attempt in store.attempts} == {("probe", None)}
    assert not store.calls, "an answer to a probe is no reply to anybody"
    await endpoint.chat(REQUEST, PURPOSE)
    assert not unsupported & set(picky.bodies[-1])
    await endpoint.probe()
    assert len(picky.bodies) == len(unsupported) + 2


async def test_several_parameters_refused_in_one_message_are_left_out_together(make: Make) -> None:
    picky = Picky({"seed", "logprobs"}, lambda name: failure(400, "seed and top_logprobs are not supported"))
    endpoint = make(can=None, transport=picky)
    await endpoint.probe()
    assert (endpoint.can, len(picky.bodies)) == (Capabilities(seed=False, logprobs=False), 2)


async def test_token_probabilities_that_are_promised_and_not_given_are_not_there(make: Make) -> None:
    picky = Picky(gives_logprobs=False)
    endpoint = make(can=None, transport=picky)
    await endpoint.probe()
    assert endpoint.can == Capabilities(logprobs=False)
    await endpoint.chat(REQUEST, PURPOSE)
    assert "logprobs" not in picky.bodies[-1]


async def test_what_is_known_is_not_asked_for(make: Make, store: MemoryCallStore, learnt: Learnt) -> None:
    known = Capabilities(seed=False)
    endpoint = make(can=known, transport=Picky())
    await endpoint.probe()
    assert (endpoint.can, learnt, store.attempts) == (known, [], [])


@pytest.mark.parametrize("message", ["no", "the server is misconfigured"])
async def test_an_endpoint_that_takes_nothing_is_no_endpoint(make: Make, learnt: Learnt, message: str) -> None:
    endpoint = make(can=None, transport=Picky({"messages"}, lambda name: failure(400, message)))
    with pytest.raises(EndpointError, match=f"does not accept our requests to model 'asked-model' .HTTP 400: {message}"):
        await endpoint.probe()
    assert not learnt


async def test_an_endpoint_that_refuses_a_parameter_that_is_not_there_is_not_asked_for_ever(make: Make) -> None:
    picky = Picky({"messages"}, lambda name: failure(400, "temperature"))
    with pytest.raises(EndpointError, match="HTTP 400: temperature"):
        await make(can=None, transport=picky).probe()
    assert len(picky.bodies) == 2


async def test_a_probe_is_paid_from_the_budget(make: Make) -> None:
    endpoint = make(can=None, transport=Picky(), budget=Budget(max_tokens=10))
    with pytest.raises(BudgetExceeded):
        await endpoint.probe()


def test_capabilities_survive_the_store_and_another_version() -> None:
    can = Capabilities(seed=False, thinks=True)
    assert Capabilities.from_json(json.loads(json.dumps(can.to_json()))) == can
    assert Capabilities.from_json({"seed": False, "from_the_future": True}) == Capabilities(seed=False)


# Models that think


def room(body: dict[str, Any]) -> int:
    return int(body["max_tokens"])


@pytest.mark.parametrize(
    "message",
    [{"content": "<think>hm</think>[1,0]"}, {"content": "hm</think>[1,0]"}, {"reasoning_content": "hm"}, {"reasoning": "hm"}],
    ids=["tags", "end tag", "reasoning_content", "reasoning"],
)
async def test_a_model_that_shows_its_thoughts_gets_room_for_them(make: Make, message: dict[str, Any]) -> None:
    picky = Picky(message=message)
    endpoint = make(can=None, transport=picky)
    await endpoint.probe()
    assert endpoint.can == Capabilities(thinks=True)
    assert (await endpoint.chat(REQUEST, PURPOSE)).text == "[1,0]"
    assert [room(body) for body in picky.bodies] == [PROBE.max_tokens, REQUEST.max_tokens + THINKING_TOKENS]


async def test_a_model_that_is_cut_short_while_it_thinks_is_asked_again_with_room(make: Make) -> None:
    picky = Picky(needs_tokens=200)
    endpoint = make(can=None, transport=picky)
    await endpoint.probe()
    assert endpoint.can == Capabilities(thinks=True)
    assert [room(body) for body in picky.bodies] == [PROBE.max_tokens, PROBE.max_tokens + THINKING_TOKENS]
    assert (await endpoint.chat(REQUEST, PURPOSE)).text == "[1,0]"


async def test_a_model_that_only_rambles_does_not_think(make: Make) -> None:
    answers = [completion("Sure! Here is the", "length"), completion("Sure! Here is the array: [1,0]")]
    endpoint = make(can=None, transport=lambda request: failure(404) if request.method == "GET" else answers.pop(0))
    await endpoint.probe()
    assert endpoint.can == Capabilities(logprobs=False)
    assert endpoint.thinking_tokens == 0


async def test_a_model_that_never_comes_to_an_end_is_not_asked_for_ever(make: Make, store: MemoryCallStore) -> None:
    endpoint = make(can=None, transport=Picky(needs_tokens=10**9))
    await endpoint.probe()
    assert endpoint.can.thinks
    assert len(store.attempts) == PROBES


async def test_room_that_the_settings_give_is_used_from_the_first_request_on(make: Make) -> None:
    picky = Picky(needs_tokens=200)
    endpoint = make(can=None, transport=picky, reasoning_tokens=700)
    await endpoint.probe()
    await endpoint.chat(REQUEST, PURPOSE)
    assert [room(body) for body in picky.bodies] == [PROBE.max_tokens + 700, REQUEST.max_tokens + 700]


async def test_thoughts_that_turn_up_later_are_remembered(make: Make, store: MemoryCallStore, learnt: Learnt) -> None:
    picky = Picky(needs_tokens=200)
    endpoint = make(transport=picky)
    with pytest.raises(ModelResponseError, match="cut off"):
        await endpoint.chat(REQUEST, PURPOSE)
    assert learnt == [(Capabilities(thinks=True), "it thinks before it answers")]
    assert (await endpoint.chat(replace(REQUEST, sample_number=1), PURPOSE)).text == "[1,0]"
    assert store.statuses == ["truncated", "ok"]


async def test_a_model_whose_thoughts_do_not_show_until_they_end_is_found_out(make: Make) -> None:
    answers = [completion("Okay, the user wants", "length"), completion("Okay, the user wants an array.</think>[1,0]")]
    endpoint = make(can=None, transport=lambda request: failure(404) if request.method == "GET" else answers.pop(0))
    await endpoint.probe()
    assert endpoint.can == Capabilities(logprobs=False, thinks=True)


# Doubts


def planted(number: int = 0) -> ChatRequest:
    return replace(REQUEST, messages=(Message("user", f"the word was planted in {number}"),))


@pytest.mark.parametrize("quoted", ["seed", "temperature", "logprobs"])
async def test_a_word_of_one_prompt_costs_that_request_a_parameter_and_the_others_nothing(
    make: Make, learnt: Learnt, store: MemoryCallStore, quoted: str
) -> None:
    picky = Picky(quoted=quoted)
    endpoint = make(transport=picky)
    for number in range(3):
        await endpoint.chat(planted(number), PURPOSE)
        await endpoint.chat(replace(REQUEST, sample_number=number), PURPOSE)
    asked = [quoted in body for body in picky.bodies]
    assert asked == [True, True, False, True, True, False, True, True, False, True]
    assert [attempt["stage"] for attempt in store.attempts].count("probe") == 1
    assert endpoint.can == Capabilities()
    assert learnt == [(Capabilities(), f"refused {quoted}")]


@pytest.mark.parametrize("quoted", ["max_tokens", "max_tokens is too large: 30. This model's maximum context length"])
async def test_the_limit_of_a_reply_is_never_left_out(make: Make, quoted: str) -> None:
    picky = Picky()

    async def complaining(request: httpx2.Request) -> httpx2.Response:
        if b"planted" in request.content:
            picky.bodies.append(json.loads(request.content))
            return failure(400, f"{quoted} is 8192 tokens")
        return await picky(request)

    endpoint = make(transport=complaining)
    with pytest.raises(ModelResponseError, match="8192"):
        await endpoint.chat(planted(), PURPOSE)
    assert all("max_tokens" in body for body in picky.bodies)


async def test_requests_that_meet_the_same_refusal_at_once_cause_one_probe(
    make: Make, store: MemoryCallStore, learnt: Learnt
) -> None:
    picky = Picky({"seed", "logprobs"})
    endpoint = make(transport=picky, max_concurrency=32)
    endpoint.servers[0].throttle.limit = 32
    requests = [replace(REQUEST, sample_number=number) for number in range(20)]
    replies = await asyncio.gather(*[endpoint.chat(request, PURPOSE) for request in requests])
    assert {reply.text for reply in replies} == {"[1,0]"}
    stages = [attempt["stage"] for attempt in store.attempts if attempt["status"] == "ok"]
    assert (stages.count("probe"), stages.count("score")) == (1, 20)
    assert [found for found, _ in learnt] == [Capabilities(seed=False, logprobs=False)]


async def test_quoted_words_in_many_prompts_at_once_cause_one_probe(make: Make, store: MemoryCallStore, learnt: Learnt) -> None:
    endpoint = make(transport=Picky(quoted="seed"), max_concurrency=32)
    endpoint.servers[0].throttle.limit = 32
    await asyncio.gather(*[endpoint.chat(planted(number), PURPOSE) for number in range(20)])
    assert [attempt["stage"] for attempt in store.attempts].count("probe") == 1
    assert (len(learnt), endpoint.can) == (1, Capabilities())


async def test_thoughts_that_turn_up_during_a_probe_are_not_forgotten(make: Make) -> None:
    endpoint: OpenAIChat
    answers = [failure(400, "no seed"), failure(400, "no seed"), completion()]

    def answer(request: httpx2.Request) -> httpx2.Response:
        if len(answers) == 1:  # meanwhile somebody else's reply shows that the model thinks
            endpoint.can = replace(endpoint.can, thinks=True)
        return answers.pop(0) if answers else completion()

    endpoint = make(transport=answer)
    await endpoint.chat(REQUEST, PURPOSE)
    assert endpoint.can == Capabilities(seed=False, logprobs=False, thinks=True)


# Requests that cannot be answered, and the run


@pytest.mark.parametrize("message", ["blocked by content_filter", "maximum context length is 8192 tokens, max_tokens included"])
async def test_prompts_that_are_not_taken_end_no_run(make: Make, store: MemoryCallStore, message: str) -> None:
    async def answer(request: httpx2.Request) -> httpx2.Response:
        return failure(400, message) if b"planted" in request.content else completion()

    endpoint = make(transport=answer)
    for number in range(2 * GIVE_UP_AFTER):
        with pytest.raises(ModelResponseError):
            await endpoint.chat(planted(number), PURPOSE)
    assert (await endpoint.chat(REQUEST, PURPOSE)).text == "[1,0]"
    assert {attempt["stage"] for attempt in store.attempts} == {"score"}, "nothing about parameters is in doubt"


async def test_requests_that_come_to_nothing_in_a_row_end_the_run(make: Make) -> None:
    endpoint = make(transport=lambda request: failure(400, "no"))
    for number in range(GIVE_UP_AFTER):
        with pytest.raises(ModelResponseError):
            await endpoint.chat(planted(number), PURPOSE)
    with pytest.raises(EndpointError, match=f"came to nothing on {GIVE_UP_AFTER} requests in a row"):
        await endpoint.chat(REQUEST, PURPOSE)


async def test_who_waits_for_a_request_that_rests_is_told_when_the_run_ends(make: Make) -> None:
    endpoint = make(transport=lambda request: failure(500))
    resting = asyncio.Event()

    async def rest(seconds: float) -> None:
        resting.set()
        await asyncio.Event().wait()

    endpoint._sleep = rest
    waiting = asyncio.create_task(endpoint.chat(REQUEST, PURPOSE))
    await resting.wait()
    await endpoint.close()
    with pytest.raises(EndpointError, match="the run is ending"):
        await waiting


async def test_a_refusal_is_told_again_without_being_paid_again(make: Make, store: MemoryCallStore) -> None:
    endpoint = make(transport=lambda request: completion(None, refusal="I will not"))
    told = []
    for _ in range(2):
        with pytest.raises(ModelResponseError) as caught:
            await endpoint.chat(REQUEST, PURPOSE)
        told.append(caught.value)
    assert [(error.status, str(error)) for error in told] == [("refused", "the model refused: I will not")] * 2
    assert told[0] is not told[1], "an error that is raised again and again would gather tracebacks"
    assert len(store.attempts) == 1


async def test_a_probe_that_was_refused_is_worded_anew(make: Make, store: MemoryCallStore) -> None:
    picky = Picky()
    answers = iter([{"content": None, "refusal": "no"}, {"content": ""}, {"content": "[1,0]"}])

    async def serve(request: httpx2.Request) -> httpx2.Response:
        picky.message = next(answers) if not request.url.path.endswith("/models") else {}
        return await picky(request)

    endpoint = make(can=None, transport=serve)
    await endpoint.probe()
    assert len({body["messages"][0]["content"] for body in picky.bodies}) == 3
    assert endpoint.can == Capabilities()
