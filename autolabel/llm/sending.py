"""Sending one request once, with its books kept.

The invariants: its worst case fits the budget before it leaves; whatever becomes of it is in the ledger before anybody acts on it; and
a process that dies meanwhile leaves a note that it was in flight.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Protocol

import httpx2
from openai import APIStatusError, OpenAIError

from autolabel.calls import UNKNOWN, Attempt, Row, Usage, reply_to_json
from autolabel.errors import ModelResponseError
from autolabel.llm.budget import NOTHING, Budget, Charge
from autolabel.llm.failures import AttemptFailed, attempt_failed
from autolabel.llm.limits import Pass
from autolabel.llm.pool import Pool, Server
from autolabel.llm.recording import Books
from autolabel.llm.requests import Answer, read_answer, usage_of
from autolabel.records import ChatReply, Purpose

Check = Callable[[ChatReply], object]
"""Raises `ModelResponseError` for a reply that cannot be used."""


class Price(Protocol):
    """What a model's tokens cost; see `prices.Price`."""

    def usd(self, prompt_tokens: int, cached_tokens: int, completion_tokens: int, batch: bool = False) -> float:
        """Cost of a request, USD."""

    def worst_usd(self, prompt_tokens: int, max_completion_tokens: int, batch: bool = False) -> float:
        """The most a request may cost, USD."""


@dataclass(slots=True)
class Order:
    """One request to be sent, as often as it takes."""

    request_hash: str
    purpose: Purpose
    prompt_hash: str | None
    read: Callable[[Answer], ChatReply]
    """The reply in an answer; raises `ModelResponseError` where there is none."""
    check: Check
    input_bytes: int
    input_bound: int
    """The most input tokens it can have."""
    is_kept: bool = True
    """Whether its reply goes into the cache."""


_LOST = ModelResponseError("failed", "the process ended while this request was in flight")


class Meter:
    """What a request may cost and did cost; learns where an endpoint takes more than the bound says."""

    def __init__(self, price: Price | None) -> None:
        self.price = price
        self._more_input = 0
        self._more_output = 0

    def worst(self, input_bound: int, max_output: int, batch: bool = False) -> Charge:
        """The most a request can be charged."""
        n_in, n_out = input_bound + self._more_input, max_output + self._more_output
        return Charge(1, n_in + n_out, None if self.price is None else self.price.worst_usd(n_in, n_out, batch))

    def actual(self, usage: Usage, worst: Charge, batch: bool = False) -> Charge:
        """What a request is charged: by its usage, or its worst case when the endpoint did not say."""
        if usage.total is None or usage.prompt_tokens is None or usage.completion_tokens is None:
            return worst
        usd = None
        if self.price is not None:
            usd = self.price.usd(usage.prompt_tokens, usage.cached_tokens or 0, usage.completion_tokens, batch)
        return Charge(1, usage.total, usd)

    def learn(self, usage: Usage, input_bound: int, max_output: int) -> None:
        """Take note of a request that was charged more than its bound."""
        self._more_input = max(self._more_input, (usage.prompt_tokens or 0) - input_bound)
        self._more_output = max(self._more_output, (usage.completion_tokens or 0) - max_output)


@dataclass(slots=True)
class _Sent:
    """A request under way."""

    attempt: Attempt
    ticket: int
    server: Server
    taken: Pass
    worst: Charge
    max_output: int
    """The most output tokens it asks for."""


class Sender:
    """Sends requests to the servers of a pool."""

    def __init__(
        self, pool: Pool, books: Books, budget: Budget, meter: Meter, *, endpoint_id: str, model: str, timeout_s: float
    ) -> None:
        self._pool = pool
        self._books = books
        self._budget = budget
        self._meter = meter
        self._endpoint_id = endpoint_id
        self._model = model
        self._timeout_s = timeout_s

    async def send(self, order: Order, parameters: Mapping[str, Any], body: str | None = None) -> ChatReply:
        """Send once and record what came back; `body` is kept with the reply.

        Raises:
            AttemptFailed: no completion came.
            ModelResponseError: an answer that cannot be used.
            BudgetExceeded: nothing was sent.
            EndpointError: no server is left.
        """
        sent = await self._depart(order, parameters)
        charge = sent.worst
        try:
            try:
                answer = await self._exchange(sent, parameters)
            except AttemptFailed as failed:
                if failed.was_refused_unread:
                    charge = NOTHING
                await self._keep_failure(sent, failed, charge)
                raise
            usage = usage_of(answer)
            charge = self._meter.actual(usage, sent.worst)
            self._meter.learn(usage, order.input_bound, sent.max_output)
            return await self._keep_answer(sent, order, answer, charge, body)
        finally:  # only now, so that a crash never loses more than may be in flight
            self._pool.correct(sent.server, sent.taken, charge.tokens)
            self._budget.settle(sent.worst, charge)
            self._pool.leave(sent.server)

    async def _depart(self, order: Order, parameters: Mapping[str, Any]) -> _Sent:
        """Wait until a server and the budget allow the request, and note that it leaves."""
        max_output = output_limit(parameters)
        with ExitStack() as undo:
            server, taken = await self._pool.enter(self._meter.worst(order.input_bound, max_output).tokens)
            undo.callback(self._pool.correct, server, taken, 0)
            undo.callback(self._pool.leave, server)
            worst = self._meter.worst(order.input_bound, max_output)  # others may have taught the meter meanwhile
            await self._budget.reserve(worst)
            undo.callback(self._budget.settle, worst, NOTHING)
            attempt = Attempt.begin(
                order.request_hash,
                self._endpoint_id,
                self._model,
                order.purpose,
                base_url=server.base_url,
                input_bytes=order.input_bytes,
            )
            lost = attempt.row(UNKNOWN, _LOST, charged_tokens=worst.tokens, cost_usd=worst.usd)
            sent = _Sent(attempt, self._books.calls.sending(lost), server, taken, worst, max_output)
            undo.pop_all()
        return sent

    async def _exchange(self, sent: _Sent, parameters: Mapping[str, Any]) -> Answer:
        """One exchange; anything may come back from an address that is no LLM endpoint, or nothing, a byte at a time."""
        server, throttle = sent.server, sent.server.throttle
        try:
            async with asyncio.timeout(self._timeout_s):
                response = await server.client.post("/chat/completions", cast_to=httpx2.Response, body=dict(parameters))
            throttle.heed(sent.taken, response.headers)
            answer = read_answer(response.content)
        except (OpenAIError, TimeoutError, AttemptFailed) as error:
            failed = attempt_failed(error)
            if isinstance(error, APIStatusError):
                throttle.heed(sent.taken, error.response.headers)
            if failed.is_silence:
                server.left_unanswered()
            else:
                server.answered()
            if failed.is_push_back:
                throttle.pushed_back(sent.taken, failed.retry_after_s)
            raise failed from None
        server.answered()
        throttle.answered(sent.taken)
        return answer

    async def _keep_failure(self, sent: _Sent, failed: AttemptFailed, charge: Charge) -> None:
        error = ModelResponseError("failed", failed.what)
        row = sent.attempt.row(UNKNOWN, error, charged_tokens=charge.tokens, cost_usd=charge.usd, http_status=failed.status)
        await self._keep(sent, None, row)

    async def _keep_answer(self, sent: _Sent, order: Order, answer: Answer, charge: Charge, body: str | None) -> ChatReply:
        """Record a completion, and its reply if one can be had from it, before it is used."""
        outcome = outcome_of(sent.attempt, order, answer, charge, body)
        await self._keep(sent, outcome.call, outcome.attempt)
        if isinstance(outcome.reply, ModelResponseError):
            raise outcome.reply
        return outcome.reply

    async def _keep(self, sent: _Sent, call: Mapping[str, Any] | None, attempt: Mapping[str, Any]) -> None:
        await self._books.keep(call, attempt)
        self._books.calls.sent(sent.ticket)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an answer comes to: the rows to keep of it, and the reply or why there is none."""

    call: Row | None
    attempt: Row
    reply: ChatReply | ModelResponseError


def outcome_of(attempt: Attempt, order: Order, answer: Answer, charge: Charge, body: str | None) -> Outcome:
    """Read the answer to an order; `body` is kept with the reply."""
    usage = usage_of(answer)
    books: dict[str, Any] = {"charged_tokens": charge.tokens, "cost_usd": charge.usd, "http_status": 200}
    try:
        reply = order.read(answer)
    except ModelResponseError as unusable:
        return Outcome(None, attempt.row(usage, unusable, **books), unusable)
    call = None
    if order.is_kept:
        call = attempt.call_row("chat", reply_to_json(reply), reply.model_served, usage, order.prompt_hash, body)
    return Outcome(call, attempt.row(usage, _refusal(order.check, reply), **books), reply)


def output_limit(parameters: Mapping[str, Any]) -> int:
    """The most output tokens that a request asks for."""
    limit: int = parameters.get("max_tokens", parameters.get("max_completion_tokens", 0))
    return limit


def _refusal(check: Check, reply: ChatReply) -> ModelResponseError | None:
    """Why a reply cannot be used, for the ledger. A check that breaks must not cost a reply that is paid for: whoever uses the reply meets
    the same fault and reports it."""
    try:
        check(reply)
    except ModelResponseError as refusal:
        return refusal
    except Exception as fault:
        return ModelResponseError("unparsable", f"its check failed: {type(fault).__name__}: {fault}")
    return None
