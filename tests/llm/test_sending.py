"""Sending one request once: whatever becomes of it, its place, its reservation and its note are given back, and the ledger says what it was."""

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import httpx2
import openai
import pytest
from conftest import completion
from fake_time import now, run
from fakes import MemoryCallStore

from autolabel.calls import UNKNOWN, Usage
from autolabel.errors import BudgetExceeded, EndpointError, ModelResponseError, StoreError
from autolabel.llm.budget import NOTHING, Budget, Charge
from autolabel.llm.failures import AttemptFailed
from autolabel.llm.limits import Throttle
from autolabel.llm.pool import Pool, Server
from autolabel.llm.prices import Price
from autolabel.llm.recording import Books
from autolabel.llm.requests import reply_of
from autolabel.llm.sending import Meter, Order, Sender, output_limit
from autolabel.records import ChatReply, Purpose

PARAMETERS = {"model": "m", "messages": [], "max_tokens": 40}
INPUT_BOUND = 100
WORST = Charge(1, 140, 0.00018)
"""At the price below: 100 input and 40 output tokens."""
PRICE = Price(model="m", input_usd=1, cached_input_usd=0.5, output_usd=2)
ADDRESS = httpx2.Request("POST", "http://llm.test/v1/chat/completions")

Outcome = httpx2.Response | Exception


@pytest.fixture(autouse=True)
def _no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time that passes at once and threads that take their own do not mix."""

    async def here(work: Callable[..., Any], *arguments: Any) -> Any:
        await asyncio.sleep(0)
        return work(*arguments)

    monkeypatch.setattr(asyncio, "to_thread", here)


def status(code: int, headers: dict[str, str] | None = None) -> openai.APIStatusError:
    response = httpx2.Response(code, json={"error": {"message": "no"}}, headers=headers, request=ADDRESS)
    return openai.APIStatusError(f"Error code: {code} - no", response=response, body={"message": "no"})


def broken(cause: Exception) -> openai.APIConnectionError:
    error = openai.APIConnectionError(request=ADDRESS)
    error.__cause__ = cause
    return error


def used(prompt: Any = 20, completion_tokens: Any = 5, cached: Any = 16) -> httpx2.Response:
    """An answer that took so many tokens."""
    content = completion().json()
    details = {"cached_tokens": cached}
    content["usage"] = {"prompt_tokens": prompt, "completion_tokens": completion_tokens, "prompt_tokens_details": details}
    return httpx2.Response(200, json=content)


@dataclass
class World:
    """A sender with everything it moves in, in plain sight."""

    script: list[Outcome] = field(default_factory=list)
    takes_s: float = 1.0
    budget: Budget = field(default_factory=lambda: Budget(max_tokens=10_000))
    store: MemoryCallStore = field(default_factory=MemoryCallStore)
    price: Price | None = PRICE
    most: int = 4
    timeout_s: float = 60.0
    tokens_per_minute: int | None = None
    n_sent: int = 0
    n_left: int = 0
    n_settled: int = 0
    notes: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        throttle = Throttle(self.most, tokens_per_minute=self.tokens_per_minute, clock=now)
        self.server = Server("http://llm.test/v1", [self], throttle, now)  # type: ignore[list-item]
        self.pool = Pool([self.server], patience_s=60)
        self.meter = Meter(self.price)
        self.sender = Sender(
            self.pool, Books(self.store), self.budget, self.meter, endpoint_id="e", model="m", timeout_s=self.timeout_s
        )
        self.pool.leave = self._counting(self.pool.leave, "n_left")  # type: ignore[method-assign]
        self.budget.settle = self._counting(self.budget.settle, "n_settled")  # type: ignore[method-assign]
        self.store.sending = self._noting(self.store.sending)  # type: ignore[method-assign]

    def _counting(self, act: Callable[..., Any], name: str) -> Callable[..., Any]:
        def counted(*arguments: Any) -> Any:
            setattr(self, name, getattr(self, name) + 1)
            return act(*arguments)

        return counted

    def _noting(self, act: Callable[[Any], int]) -> Callable[[Any], int]:
        def noted(row: Any) -> int:
            self.notes.append(row)
            return act(row)

        return noted

    async def post(self, path: str, *, cast_to: object, body: dict[str, Any]) -> httpx2.Response:
        """Stands in for the client library."""
        assert (path, body) == ("/chat/completions", PARAMETERS)
        self.n_sent += 1
        await asyncio.sleep(self.takes_s)
        outcome = self.script.pop(0) if self.script else used()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def send(self, order: Order | None = None, body: str | None = None) -> ChatReply:
        return await self.sender.send(order or order_of("r1"), PARAMETERS, body)

    @property
    def is_tidy(self) -> bool:
        """Whether nothing is held back for a request that is over."""
        return (self.server.throttle.in_flight, self.budget.reserved, self.n_left) == (0, NOTHING, self.n_settled)


def order_of(request_hash: str, check: Callable[[ChatReply], object] = bool) -> Order:
    return Order(
        request_hash=request_hash,
        purpose=Purpose("score", 7),
        prompt_hash="sha256:p",
        read=lambda answer: reply_of(answer, "m", request_hash),
        check=check,
        input_bytes=50,
        input_bound=INPUT_BOUND,
    )


def refuse(reply: ChatReply) -> None:
    raise ModelResponseError("unparsable", "no label")


# Every way out


@dataclass
class End:
    """How a request ends, and what the ledger says of it."""

    outcome: Outcome
    raised: str | None
    status: str
    http_status: int | None
    charged: Charge
    usage: Usage = UNKNOWN


FREE = Charge(0, 0, 0.0)
FULL = Usage(20, 16, 5)
COST = Charge(1, 25, 0.000022)
ENDS = {
    "answer": End(used(), None, "ok", 200, COST, FULL),
    "no usage": End(used(None, None, None), None, "ok", 200, WORST),
    "half a usage": End(used(20, None), None, "ok", 200, WORST, Usage(20, 16)),
    "more than asked for": End(used(500, 90, 0), None, "ok", 200, Charge(1, 590, 0.00068), Usage(500, 0, 90)),
    "more cached than sent": End(used(20, 5, 10**6), None, "ok", 200, Charge(1, 25, 0.00002), Usage(20, 20, 5)),
    "refusal": End(completion(None, refusal="I will not"), "ModelResponseError", "refused", 200, COST, FULL),
    "truncation": End(completion("[1", "length"), "ModelResponseError", "truncated", 200, COST, FULL),
    "bad request": End(status(400), "AttemptFailed", "failed", 400, FREE),
    "wrong key": End(status(401), "AttemptFailed", "failed", 401, FREE),
    "rate limit": End(status(429), "AttemptFailed", "failed", 429, FREE),
    "overload": End(status(500), "AttemptFailed", "failed", 500, WORST),
    "time-out": End(openai.APITimeoutError(request=ADDRESS), "AttemptFailed", "failed", None, WORST),
    "reset": End(broken(httpx2.ReadError("reset")), "AttemptFailed", "failed", None, WORST),
    "nobody there": End(broken(httpx2.ConnectError("refused")), "AttemptFailed", "failed", None, WORST),
    "no JSON": End(httpx2.Response(200, text="<html>"), "AttemptFailed", "failed", None, WORST),
    "no completion": End(httpx2.Response(200, json={"choices": []}), "AttemptFailed", "failed", None, WORST),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS.keys())
def test_whatever_comes_back_is_in_the_ledger_and_nothing_is_held_back(end: End) -> None:
    async def scenario() -> None:
        world = World([end.outcome])
        raised = None
        try:
            assert (await world.send()).text == "[1,0]"
        except (AttemptFailed, ModelResponseError) as error:
            raised = type(error).__name__
        assert raised == end.raised
        assert world.is_tidy
        assert (world.n_left, world.n_settled, world.budget.spent) == (1, 1, end.charged)
        assert not world.store.in_flight
        (row,), (note,) = world.store.attempts, world.notes
        assert (row["status"], row["http_status"]) == (end.status, end.http_status)
        assert (row["charged_tokens"], row["cost_usd"]) == (end.charged.tokens, end.charged.usd)
        counts = (row["prompt_tokens"], row["cached_tokens"], row["completion_tokens"])
        assert counts == (end.usage.prompt_tokens, end.usage.cached_tokens, end.usage.completion_tokens)
        assert len(world.store.calls) == (end.status == "ok")
        assert note["attempt_id"] == row["attempt_id"], "the note and the outcome are one row"
        assert (note["status"], note["charged_tokens"], note["cost_usd"]) == ("failed", WORST.tokens, WORST.usd)
        json.dumps([row, note, world.store.calls], allow_nan=False)

    run(scenario())


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS.keys())
def test_what_cannot_be_recorded_is_told_and_stays_noted_as_in_flight(end: End) -> None:
    class Full(MemoryCallStore):
        def record_many(self, answered: Sequence[Any]) -> None:
            raise StoreError("the disk is full")

    async def scenario() -> None:
        world = World([end.outcome], store=Full())
        with pytest.raises(StoreError, match="the disk is full"):
            await world.send()
        assert world.is_tidy
        assert (world.n_left, world.budget.spent) == (1, end.charged)
        assert len(world.store.in_flight) == 1

    run(scenario())


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS.keys())
def test_a_request_that_is_cancelled_anywhere_holds_nothing_back(end: End) -> None:
    async def cancelled_at(step: int) -> bool:
        world = World([end.outcome], takes_s=0.0)
        task = asyncio.create_task(world.send())
        for _ in range(step):
            await asyncio.sleep(0)
        is_under_way = not task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        for _ in range(5):  # a write that has begun comes to its end
            await asyncio.sleep(0)
        assert world.is_tidy
        assert world.n_left == (step > 0)
        assert world.n_sent <= len(world.notes), "nothing leaves without a note"
        ids = {row["attempt_id"] for row in [*world.store.attempts, *world.store.in_flight.values()]}
        assert ids == {note["attempt_id"] for note in world.notes}, "what was sent is in the ledger, or will be"
        assert world.budget.spent in ((NOTHING, end.charged, WORST) if step else (NOTHING,))
        if world.n_sent and task.cancelled() and not world.store.attempts:
            assert world.budget.spent == WORST
        return is_under_way

    step = 0
    while run(cancelled_at(step)):
        step += 1
    assert step > 3


def test_a_request_that_cannot_be_noted_is_not_sent() -> None:
    class Full(MemoryCallStore):
        def sending(self, attempt: object) -> int:
            raise StoreError("the disk is full")

    async def scenario() -> None:
        world = World(store=Full())
        with pytest.raises(StoreError):
            await world.send()
        assert world.is_tidy
        assert (world.n_sent, world.budget.spent, world.store.attempts) == (0, NOTHING, [])

    run(scenario())


def test_a_request_over_budget_is_not_sent() -> None:
    async def scenario() -> None:
        world = World(budget=Budget(max_tokens=WORST.tokens - 1))
        with pytest.raises(BudgetExceeded):
            await world.send()
        assert world.server.throttle.in_flight == 0
        assert (world.n_sent, world.n_left, world.n_settled, world.notes) == (0, 1, 0, [])
        assert world.budget.spent + world.budget.reserved == NOTHING

    run(scenario())


def test_a_request_to_a_pool_that_is_closed_is_not_sent() -> None:
    async def scenario() -> None:
        world = World()
        world.pool.close()
        with pytest.raises(EndpointError):
            await world.send()
        assert world.is_tidy
        assert (world.n_sent, world.notes) == (0, [])

    run(scenario())


def test_an_answer_that_never_ends_is_a_time_out() -> None:
    async def scenario() -> None:
        world = World(takes_s=1e6, timeout_s=7)
        with pytest.raises(AttemptFailed, match="timed out"):
            await world.send()
        assert (now(), world.is_tidy, world.budget.spent) == (7, True, WORST)
        assert world.server.silent_s() == 0.0
        assert world.server.throttle.limit == 2

    run(scenario())


# What is kept


def test_the_rows_of_a_call() -> None:
    async def scenario() -> None:
        world = World()
        reply = await world.send(body='{"max_tokens": 40}')
        (call,), (row,) = world.store.calls, world.store.attempts
        assert (call["request_hash"], call["kind"], call["model_served"]) == ("r1", "chat", "served-model")
        assert (call["prompt_hash"], call["body"], call["reply"]["text"]) == ("sha256:p", '{"max_tokens": 40}', reply.text)
        assert (row["stage"], row["feature_index"], row["endpoint_id"], row["via"]) == ("score", 7, "e", "live")
        assert (row["base_url"], row["model_requested"], row["input_bytes"]) == ("http://llm.test/v1", "m", 50)
        assert "body" not in row

    run(scenario())


def test_a_reply_that_its_reader_refuses_is_kept_under_that_status() -> None:
    async def scenario() -> None:
        world = World()
        await world.send(order_of("r1", refuse))
        (row,) = world.store.attempts
        assert (row["status"], row["error"], len(world.store.calls)) == ("unparsable", "no label", 1)

    run(scenario())


def test_an_answer_to_a_probe_is_in_the_ledger_and_not_in_the_cache() -> None:
    async def scenario() -> None:
        world = World()
        await world.send(replace(order_of("probe"), is_kept=False))
        assert (world.store.statuses, world.store.calls) == (["ok"], [])

    run(scenario())


# What it teaches


def test_a_rate_limit_halves_and_pauses_and_its_headers_are_heeded() -> None:
    async def scenario() -> None:
        headers = {"retry-after": "3", "x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "20s"}
        world = World([status(429, headers)])
        with pytest.raises(AttemptFailed):
            await world.send()
        assert world.server.throttle.limit == 2
        assert world.server.n_answered == 1
        await world.send()
        assert now() == 1 + 20 + 1

    run(scenario())


def test_the_limits_in_an_answer_are_heeded() -> None:
    async def scenario() -> None:
        answer = used()
        answer.headers.update({"x-ratelimit-remaining-tokens": "139", "x-ratelimit-reset-tokens": "20s"})
        world = World([answer])
        await world.send()
        await world.send()
        assert now() == 1 + 20 + 1

    run(scenario())


def test_answers_let_more_requests_go_at_once() -> None:
    async def scenario() -> None:
        world = World(most=20)
        await asyncio.gather(*[world.send(order_of(f"r{number}")) for number in range(12)])
        assert now() == 2, "4 in the first second, 8 in the next"
        assert world.server.throttle.limit == 16

    run(scenario())


def test_tokens_that_were_reserved_and_not_used_are_given_back_to_the_minute() -> None:
    async def scenario() -> None:
        world = World(tokens_per_minute=150)
        await asyncio.gather(*[world.send(order_of(f"r{number}")) for number in range(2)])
        assert now() == 60 + 1, "25 used and 140 reserved are more than 150"
        world = World(tokens_per_minute=170)
        await asyncio.gather(*[world.send(order_of(f"r{number}")) for number in range(2)])
        assert now() == 61 + 2

    run(scenario())


def test_a_request_that_was_not_sent_takes_no_part_of_the_minute() -> None:
    async def scenario() -> None:
        world = World(tokens_per_minute=150, budget=Budget(max_tokens=150))
        other = Charge(1, 100)
        await world.budget.reserve(other)
        leaving = asyncio.create_task(world.send())
        await asyncio.sleep(5)
        leaving.cancel()
        world.budget.settle(other, NOTHING)
        await world.send()
        assert now() == 5 + 1

    run(scenario())


def test_silence_counts_against_the_server_and_an_answer_for_it() -> None:
    async def scenario() -> None:
        world = World([broken(httpx2.ConnectError("")), broken(httpx2.ReadError("")), openai.APITimeoutError(request=ADDRESS)])
        for _ in range(3):
            with pytest.raises(AttemptFailed):
                await world.send()
        assert world.server.is_down
        world.script = [status(400)]
        with pytest.raises(AttemptFailed):
            await world.send()
        assert not world.server.is_down

    run(scenario())


def test_usage_beyond_the_bound_raises_the_next_reservation_even_of_who_waits_already() -> None:
    async def scenario() -> None:
        world = World([used(150, 60)], most=1)
        await asyncio.gather(*[world.send(order_of(f"r{number}")) for number in range(3)])
        assert [note["charged_tokens"] for note in world.notes] == [140, 210, 210]
        assert world.is_tidy

    run(scenario())


def test_a_budget_holds_with_everything_in_flight() -> None:
    async def scenario() -> None:
        world = World([used(100, 40, 0) for _ in range(50)], budget=Budget(max_tokens=1000), most=50)
        tasks = [asyncio.create_task(world.send(order_of(f"r{number}"))) for number in range(50)]
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert [isinstance(outcome, ChatReply) for outcome in outcomes].count(True) == 7
        assert all(isinstance(outcome, ChatReply | BudgetExceeded) for outcome in outcomes)
        assert world.budget.spent.tokens == 980
        assert world.server.throttle.in_flight == 0

    run(scenario())


# The meter


def test_the_meter_reserves_the_worst_and_charges_what_was_used() -> None:
    meter = Meter(PRICE)
    assert meter.worst(100, 40) == WORST
    assert meter.actual(Usage(20, 16, 5), WORST) == COST
    assert meter.actual(Usage(20, None, 5), WORST) == Charge(1, 25, 0.00003)
    for unknown in (UNKNOWN, Usage(20), Usage(None, None, 5)):
        assert meter.actual(unknown, WORST) == WORST
    half = Meter(Price(model="m", input_usd=1, output_usd=2, batch_factor=0.5))
    assert half.worst(100, 40, batch=True).usd == pytest.approx(0.00009)
    assert half.actual(Usage(20, None, 5), WORST, batch=True).usd == pytest.approx(0.000015)


def test_without_a_price_tokens_are_counted_and_money_is_unknown() -> None:
    meter = Meter(None)
    assert meter.worst(100, 40) == Charge(1, 140, None)
    assert meter.actual(Usage(20, 16, 5), Charge(1, 140, None)) == Charge(1, 25, None)


def test_the_meter_learns_the_most_that_was_ever_beyond_the_bound() -> None:
    meter = Meter(None)
    for usage in (Usage(90, None, 30), Usage(130, None, 10), Usage(110, None, 47), UNKNOWN):
        meter.learn(usage, 100, 40)
    assert meter.worst(100, 40).tokens == 130 + 47


@pytest.mark.parametrize(("parameters", "limit"), [({"max_tokens": 5}, 5), ({"max_completion_tokens": 7}, 7)])
def test_the_output_limit_of_a_request(parameters: dict[str, int], limit: int) -> None:
    assert output_limit(parameters) == limit


def test_rows_have_ids_of_their_own() -> None:
    async def scenario() -> Iterator[str]:
        world = World()
        await asyncio.gather(*[world.send(order_of(f"r{number}")) for number in range(3)])
        return iter([row["attempt_id"] for row in world.store.attempts])

    assert len(set(run(scenario()))) == 3
