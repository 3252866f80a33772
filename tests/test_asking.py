"""Asking again: under the next sample number, warmer, and only where another reply may help."""

from dataclasses import replace

import pytest
from fakes import FakeLLM

from autolabel.asking import REASK_TEMPERATURE, ask
from autolabel.errors import EndpointError, ModelResponseError
from autolabel.parsing import parse_label
from autolabel.records import ChatReply, ChatRequest, Message, Purpose

PURPOSE = Purpose("label", 1)
REQUEST = ChatRequest((Message("user", "?"),), max_tokens=10, sample_number=4)


def label(reply: ChatReply) -> str:
    return parse_label(reply.text)


async def test_a_usable_reply_is_asked_for_once() -> None:
    model = FakeLLM(["dogs"])
    assert await ask(model, REQUEST, PURPOSE, label) == "dogs"
    assert model.history == [(REQUEST, PURPOSE)]


async def test_unusable_replies_are_asked_again_under_the_next_number() -> None:
    model = FakeLLM(["", ModelResponseError("truncated", "cut"), "dogs"])
    assert await ask(model, REQUEST, PURPOSE, label) == "dogs"
    assert [request.sample_number for request in model.requests] == [4, 5, 6]
    assert [request.temperature for request in model.requests] == [0.0, REASK_TEMPERATURE, REASK_TEMPERATURE]


async def test_a_warm_request_keeps_its_temperature() -> None:
    model = FakeLLM(["", "dogs"])
    await ask(model, replace(REQUEST, temperature=0.9), PURPOSE, label)
    assert model.requests[1].temperature == 0.9


async def test_the_last_refusal_is_raised() -> None:
    model = FakeLLM(["", "I'm sorry"])
    with pytest.raises(ModelResponseError) as caught:
        await ask(model, REQUEST, PURPOSE, label, attempts=2)
    assert caught.value.status == "refused"


@pytest.mark.parametrize("error", [ModelResponseError("failed", "HTTP 500"), EndpointError("dead")])
async def test_what_another_reply_cannot_help_is_raised_at_once(error: Exception) -> None:
    model = FakeLLM([error])
    with pytest.raises(type(error)):
        await ask(model, REQUEST, PURPOSE, label)
    assert len(model.history) == 1


async def test_at_least_one_attempt() -> None:
    with pytest.raises(ValueError, match="attempts is 0"):
        await ask(FakeLLM([]), REQUEST, PURPOSE, label, attempts=0)
