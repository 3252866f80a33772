"""A chat model behind an OpenAI-compatible API.

The invariant is that nothing is paid for twice and nothing is lost: the store is asked first, identical requests in flight are sent once,
every attempt is recorded with its outcome, and a reply is recorded before anybody uses it.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import httpx2
from openai import OpenAIError

from autolabel.calls import chat_request_hash, reply_from_json
from autolabel.errors import EndpointError, ModelResponseError
from autolabel.llm import failures
from autolabel.llm.batch import Batches
from autolabel.llm.capabilities import Capabilities
from autolabel.llm.failures import AttemptFailed, Kind, attempt_failed
from autolabel.llm.pool import Pool, Server
from autolabel.llm.probing import THINKING_TOKENS, find_out, named_in
from autolabel.llm.recording import Books
from autolabel.llm.requests import Answer, body, reply_of, thinks
from autolabel.llm.retrying import retrying
from autolabel.llm.sending import Check, Order, Sender
from autolabel.llm.tokens import Counter, input_bound, input_bytes
from autolabel.records import ChatReply, ChatRequest, Purpose

GIVE_UP_AFTER = 10
"""Requests in a row that came to nothing before the endpoint counts as useless."""


class OpenAIChat:
    """A `ChatModel` over HTTP; made by `connecting.connect`."""

    def __init__(
        self,
        pool: Pool,
        books: Books,
        sender: Sender,
        *,
        endpoint_id: str,
        model: str,
        key_env: str,
        can: Capabilities | None,
        learnt: Callable[[Capabilities, str], None],
        thinking_tokens: int = 0,
        keep_requests: bool = False,
        batches: Batches | None = None,
        in_batches: bool = False,
        counter: Counter | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.endpoint_id = endpoint_id
        self.model = model
        self.can = can or Capabilities()
        """What the endpoint supports, as far as is known."""
        self._is_probed = can is not None
        self._learnt = learnt
        self._pool = pool
        self._books = books
        self._sender = sender
        self._key_env = key_env
        self._settled_thinking = thinking_tokens
        self._keep_requests = keep_requests
        self._batches = batches
        self._in_batches = in_batches
        self._counter = counter
        self._sleep = sleep
        self._in_flight: dict[str, asyncio.Task[ChatReply]] = {}
        self._unusable: dict[str, tuple[str, str]] = {}
        """Status and message, by request."""
        self._cleared: set[str] = set()
        self._probing = asyncio.Lock()
        self._resting: set[asyncio.Future[None]] = set()
        self._in_vain = 0
        self._has_answered = can is not None

    @property
    def model_id(self) -> str:
        """Names the model in stored rows: as asked for."""
        return self.model

    @property
    def servers(self) -> list[Server]:
        """The addresses it is asked at."""
        return self._pool.servers

    @property
    def thinking_tokens(self) -> int:
        """Output tokens allowed for thinking, beside those of the answer."""
        return self._settled_thinking or (THINKING_TOKENS if self.can.thinks else 0)

    async def close(self) -> None:
        """Send nothing more, wait for what is in flight so that it is not paid for in vain, and close the connections; batches go on."""
        self._pool.close()
        for rest in self._resting:
            rest.cancel()
        if self._batches is not None:
            await self._batches.close()
        if self._in_flight:
            await asyncio.wait(list(self._in_flight.values()))
        for server in self._pool.servers:
            for client in server.clients:
                await client.close()

    # Finding out what there is

    async def probe(self) -> None:
        """Find out whether an LLM answers and what it supports, unless that is known; before anything else is done.

        Raises:
            EndpointError: nothing listens there, the key is wrong, or it is no OpenAI-compatible API.
        """
        await self._greet()
        async with self._probing:
            if not self._is_probed:
                try:
                    self._learn(await self._find_out(), "first use")
                except AttemptFailed as failed:
                    found = self._final(failed)
                    raise found if isinstance(found, EndpointError) else EndpointError(f"{found}; check llm.base_url") from None

    async def _greet(self) -> None:
        """See that the servers are there and take the key; those that cannot list their models are judged by their answers."""
        n_unreachable = 0
        for server in self._pool.servers:
            try:
                await server.client.get("/models", cast_to=httpx2.Response)
            except OpenAIError as error:
                failed = attempt_failed(error)
                if failed.status in (401, 403):
                    raise self._final(failed) from None
                n_unreachable += failed.kind is Kind.UNREACHABLE
                if n_unreachable == len(self._pool.servers):
                    raise failures.unreachable(failed, self.endpoint_id, self._key_env) from None

    async def _find_out(self) -> Capabilities:
        found = await find_out(self._ask, self.model, self.thinking_tokens)
        return replace(found, thinks=found.thinks or self.can.thinks)  # another answer may have shown it meanwhile

    async def _ask(self, request: ChatRequest, parameters: Mapping[str, Any]) -> Answer:
        """Send a probe until it is answered, with a refusal or half a sentence as well."""
        seen: list[Answer] = []

        def read(answer: Answer) -> ChatReply:
            seen.append(answer)
            return ChatReply("", "stop", "")

        order = self._order("probe", request, Purpose("probe"), read, _accept)
        await retrying(self._rest)(self._sender.send, order, parameters)
        return seen[-1]

    def _learn(self, can: Capabilities, reason: str) -> None:
        self.can = can
        self._is_probed = self._has_answered = True
        self._learnt(can, reason)

    # Answering

    async def resume(self) -> None:
        """Collect what batches of earlier runs bring, before anything new is asked; waits for those that have not ended."""
        if self._batches is not None:
            await self._batches.resume(self._read_noting)

    async def chat(self, request: ChatRequest, purpose: Purpose) -> ChatReply:
        """Answer `request`, from the store when it was answered before; see `records.ChatModel`."""
        return await self.chat_checked(request, purpose, _accept)

    async def chat_checked(self, request: ChatRequest, purpose: Purpose, check: Check) -> ChatReply:
        """Answer as `chat` does; a new reply that `check` refuses is kept, and its attempt gets the status of the refusal."""
        key = chat_request_hash(self.endpoint_id, self.model, request)
        task = self._in_flight.get(key)
        if task is None:
            task = asyncio.create_task(self._answer(key, request, purpose, check))
            self._in_flight[key] = task
            task.add_done_callback(lambda done: self._landed(key, done))
        return await asyncio.shield(task)

    def _landed(self, key: str, task: asyncio.Task[ChatReply]) -> None:
        del self._in_flight[key]
        if not task.cancelled():
            task.exception()  # whoever waited for it may be gone

    async def _answer(self, key: str, request: ChatRequest, purpose: Purpose, check: Check) -> ChatReply:
        stored = await self._books.find(key)
        if stored is not None:
            return reply_from_json(stored, key)
        self._refuse_known(key)
        if self._in_vain >= GIVE_UP_AFTER:
            raise EndpointError(
                f"{self.endpoint_id} came to nothing on {self._in_vain} requests in a row; see what ails it, then give the same "
                "command again: what was answered is kept"
            )
        try:
            order = self._order(key, request, purpose, lambda answer: self._read(answer, key), check)
            reply = await self._reply(order, request)
        except AttemptFailed as failed:
            self._in_vain = 0 if failed.is_about_prompt else self._in_vain + 1
            raise self._final(failed) from None
        except ModelResponseError as unusable:
            self._in_vain = 0
            self._unusable[key] = unusable.status, str(unusable)
            raise
        self._in_vain = 0
        self._has_answered = True
        return reply

    def _refuse_known(self, key: str) -> None:
        """A request that was refused or cut short in this job is not paid for again; whoever wants another answer asks another sample."""
        known = self._unusable.get(key) or self._books.calls.unusable(key)
        if known is not None:
            status, message = known
            raise ModelResponseError("refused" if status == "refused" else "truncated", message)

    def _order(self, key: str, request: ChatRequest, purpose: Purpose, read: Callable[[Answer], ChatReply], check: Check) -> Order:
        return Order(
            request_hash=key,
            purpose=purpose,
            prompt_hash=request.prompt_hash,
            read=read,
            check=check,
            input_bytes=input_bytes(request.messages),
            input_bound=self._input_bound(request),
            is_kept=purpose.stage != "probe",
        )

    def _input_bound(self, request: ChatRequest) -> int:
        """The most input tokens a request can have: counted, where there is a tokenizer, else by its bytes."""
        if self._counter is None:
            return input_bound(request.messages, request.json_schema)
        return self._counter.count(request.messages) + input_bound((), request.json_schema)

    async def _reply(self, order: Order, request: ChatRequest) -> ChatReply:
        """The reply from a batch, where requests go into batches, or to a request of its own when the batch brought none."""
        if self._batches is not None and self._in_batches:
            parameters = body(request, self.model, self.can, self.thinking_tokens)
            with suppress(AttemptFailed):
                return await self._batches.ask(order, parameters, self._kept(parameters))
        return await self._send(order, request)

    async def _send(self, order: Order, request: ChatRequest) -> ChatReply:
        """Send until answered; a parameter that is refused by name is left out of this request, and of all if a probe confirms it."""
        left_out: set[str] = set()
        parameters = body(request, self.model, self.can, self.thinking_tokens)
        while True:
            try:
                return await retrying(self._rest)(self._sender.send, order, parameters, self._kept(parameters))
            except AttemptFailed as failed:
                refused = named_in(failed, parameters)
                if not refused:
                    raise
                await self._doubt(refused)
                left_out |= refused - {"max_tokens"}  # without a limit a reply could cost anything
                before, parameters = parameters, body(request, self.model, self.can.without(left_out), self.thinking_tokens)
                if parameters == before:
                    raise

    def _kept(self, parameters: dict[str, Any]) -> str | None:
        """What is kept of a request beside its reply."""
        return json.dumps(parameters, ensure_ascii=False) if self._keep_requests else None

    async def _doubt(self, refused: set[str]) -> None:
        """See whether the endpoint refuses these parameters from everybody, or has taken words of this request for them."""
        async with self._probing:
            doubtful = {name for name in refused if getattr(self.can, name)} - self._cleared
            if doubtful:
                found = await self._find_out()
                self._cleared |= {name for name in doubtful if getattr(found, name)}
                self._learn(found, f"refused {', '.join(sorted(doubtful))}")

    def _read(self, answer: Answer, key: str) -> ChatReply:
        if thinks(answer) and not self.can.thinks:
            self._learn(replace(self.can, thinks=True), "it thinks before it answers")
        return reply_of(answer, self.model, key)

    def _read_noting(self, answer: Answer, key: str) -> ChatReply:
        """Read an answer that nobody waits for: one that cannot be used is not asked for again."""
        try:
            return self._read(answer, key)
        except ModelResponseError as unusable:
            self._unusable[key] = unusable.status, str(unusable)
            raise

    async def _rest(self, seconds: float) -> None:
        """Wait between attempts; `close` cuts it short."""
        rest = asyncio.ensure_future(self._sleep(seconds))
        self._resting.add(rest)
        try:
            await rest
        except asyncio.CancelledError:
            self._pool.refuse_if_closed()  # whoever waits for the reply was not cancelled, and is told why there is none
            raise
        finally:
            self._resting.discard(rest)

    def _final(self, failed: AttemptFailed) -> Exception:
        return failures.final(failed, self.endpoint_id, self.model, self._key_env, has_answered=self._has_answered)


def _accept(reply: ChatReply) -> None:
    """Take any reply that arrived whole."""
