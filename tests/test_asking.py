"""Asking again: under the next sample number, warmer, and only where another reply may help. Asking at once: in order, ended by one error."""

import asyncio
from dataclasses import replace

import pytest
from fakes import FakeLLM

from autolabel.asking import REASK_TEMPERATURE, ask, together
from autolabel.errors import BudgetExceeded, EndpointError, ModelResponseError
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


class Slots:
    """Lets so many questions be under way at once, first come, first served, and keeps which began."""

    def __init__(self, n: int) -> None:
        self._slots = asyncio.Semaphore(n)
        self.begun: list[int] = []
        self.stopped: list[int] = []

    async def answer(self, number: int, error: Exception | None = None) -> int:
        try:
            async with self._slots:
                self.begun.append(number)
                await asyncio.sleep(0)
                if error is not None:
                    raise error
                return number
        except asyncio.CancelledError:
            self.stopped.append(number)
            raise


@pytest.mark.parametrize("n_slots", [1, 3, 20])
async def test_questions_asked_together_are_begun_and_answered_in_their_order(n_slots: int) -> None:
    slots = Slots(n_slots)
    assert await together(slots.answer(i) for i in range(10)) == list(range(10))
    assert slots.begun == list(range(10))
    assert await together([]) == []


async def test_an_error_stops_the_other_questions_and_comes_out_plain() -> None:
    slots = Slots(2)
    over = BudgetExceeded("the next call would cross --max-calls 2")
    with pytest.raises(BudgetExceeded) as caught:
        await together(slots.answer(i, over if i == 1 else None) for i in range(10))
    assert caught.value is over
    assert set(slots.stopped) >= set(range(4, 10)), "they are stopped before the error is raised, not some time later"
    assert not set(slots.begun) & set(range(4, 10))


@pytest.mark.parametrize("last", [BudgetExceeded("over"), EndpointError("dead")])
async def test_what_ends_a_run_is_raised_before_what_ends_an_item(last: Exception) -> None:
    async def fail(error: Exception) -> None:
        await asyncio.sleep(0)
        raise error

    with pytest.raises(type(last)):
        await together(fail(error) for error in (KeyError("a bug"), last))
    with pytest.raises(KeyError):
        await together(fail(error) for error in (KeyError("first"), ValueError("second")))


async def test_stopping_the_asker_stops_its_questions() -> None:
    slots = Slots(1)
    asker = asyncio.create_task(together([slots.answer(0), asyncio.sleep(3600), slots.answer(1)]))
    await asyncio.sleep(0)
    asker.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asker
    assert slots.stopped == [0, 1]
