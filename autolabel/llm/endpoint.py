"""A chat model behind an OpenAI-compatible API.

The invariant is that nothing is paid for twice and nothing is lost: the store is asked first, identical requests in flight are sent once,
every attempt is recorded with its outcome, and a reply is recorded before anybody uses it. The API key lives in the environment only.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx2
from openai import APIConnectionError, APIStatusError, AsyncOpenAI, BadRequestError, OpenAIError, UnprocessableEntityError
from openai.types.chat import ChatCompletion
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt, wait_random_exponential

from autolabel.calls import Attempt, chat_request_hash, reply_from_json, reply_to_json
from autolabel.errors import EndpointError, ModelResponseError
from autolabel.llm import failures
from autolabel.llm.requests import body, is_whole, refused_parameters, reply_of, usage_of
from autolabel.records import CallStore, ChatReply, ChatRequest, Message, Purpose

MAX_SENDS = 6
"""How often one request is sent while the failures are transient."""
GIVE_UP_AFTER = 3
"""Requests in a row that got no answer at all before the endpoint counts as dead."""
LONGEST_WAIT_S = 60.0
_BACKOFF = wait_random_exponential(multiplier=0.5, max=30)

Check = Callable[[ChatReply], object]


class OpenAIChat:
    """A `ChatModel` over HTTP."""

    def __init__(
        self,
        base_url: str,
        model: str,
        calls: CallStore,
        *,
        api_key_env: str = "OPENAI_API_KEY",
        max_concurrency: int = 8,
        timeout_s: float = 120,
        http_client: httpx2.AsyncClient | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.endpoint_id = _without_secrets(base_url)
        self.model = model
        self._calls = calls
        self._key_env = api_key_env
        self._key = os.environ.get(api_key_env) or "none"
        self._client = AsyncOpenAI(api_key=self._key, base_url=base_url, max_retries=0, timeout=timeout_s, http_client=http_client)
        self._slots = asyncio.Semaphore(max_concurrency)
        self._sleep = sleep
        self._refused: set[str] = set()
        self._in_flight: dict[str, asyncio.Task[ChatReply]] = {}
        self._unanswered = 0

    @property
    def model_id(self) -> str:
        """Names the model in stored rows: as asked for."""
        return self.model

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def probe(self) -> None:
        """Find out whether an LLM answers, before anything else is done.

        Raises:
            EndpointError: nothing listens there, the key is wrong, or it is no OpenAI-compatible API.
        """
        try:
            listed = await self._client.get("/models", cast_to=object)
        except APIConnectionError as error:
            raise failures.unreachable(error, self.endpoint_id, self._key_env, self._key) from None
        except APIStatusError as error:
            if error.status_code in (401, 403):
                raise self._final(error) from None
            await self._probe_by_chat()
        except ValueError:
            await self._probe_by_chat()
        else:
            if not isinstance(listed, dict):
                await self._probe_by_chat()

    async def _probe_by_chat(self) -> None:
        """Ask for one token, for servers that do not list their models."""
        request = ChatRequest((Message("user", "Hi"),), max_tokens=1)
        try:
            await self._create(body(request, self.model, self._refused))
        except OpenAIError as error:
            if isinstance(error, BadRequestError | UnprocessableEntityError):
                return  # it speaks the protocol; parameters are settled by the first real request
            found = self._final(error)
            raise found if isinstance(found, EndpointError) else EndpointError(f"{found}; check llm.base_url") from None

    async def chat(self, request: ChatRequest, purpose: Purpose) -> ChatReply:
        """Answer `request`, from the store when it was answered before; see `records.ChatModel`."""
        return await self.chat_checked(request, purpose, _accept)

    async def chat_checked(self, request: ChatRequest, purpose: Purpose, check: Check) -> ChatReply:
        """Answer as `chat` does; a new reply that `check` refuses is kept, and its attempt gets the status of the refusal."""
        key = chat_request_hash(self.endpoint_id, self.model, request)
        stored = self._calls.get(key)
        if stored is not None:
            return reply_from_json(stored, key)
        task = self._in_flight.get(key)
        if task is None:
            task = asyncio.create_task(self._answer(key, request, purpose, check))
            self._in_flight[key] = task
            task.add_done_callback(lambda _: self._in_flight.pop(key, None))
        return await asyncio.shield(task)

    async def _answer(self, key: str, request: ChatRequest, purpose: Purpose, check: Check) -> ChatReply:
        if self._unanswered >= GIVE_UP_AFTER:
            raise EndpointError(
                f"{self.endpoint_id} left {self._unanswered} requests in a row without any answer; see that it runs, then start again: "
                "what was answered is kept"
            )
        try:
            reply: ChatReply = await self._retrying()(self._send, key, request, purpose, check)
        except OpenAIError as error:
            self._unanswered += failures.is_transient(error)
            raise self._final(error) from None
        self._unanswered = 0
        return reply

    def _retrying(self) -> AsyncRetrying:
        return AsyncRetrying(
            sleep=self._sleep,
            stop=stop_after_attempt(MAX_SENDS),
            wait=_wait_s,
            retry=retry_if_exception(failures.is_transient),
            reraise=True,
        )

    async def _send(self, key: str, request: ChatRequest, purpose: Purpose, check: Check) -> ChatReply:
        """Send once, and once more for each parameter that the endpoint refuses by name."""
        while True:
            parameters = body(request, self.model, self._refused)
            try:
                return await self._send_once(key, parameters, request, purpose, check)
            except (BadRequestError, UnprocessableEntityError) as error:
                refused = refused_parameters(f"{error.param} {error.message}", parameters)
                if not refused:
                    raise
                self._refused |= refused

    async def _send_once(
        self, key: str, parameters: dict[str, Any], request: ChatRequest, purpose: Purpose, check: Check
    ) -> ChatReply:
        async with self._slots:
            attempt = Attempt.begin(key, self.endpoint_id, self.model, purpose)
            try:
                completion = await self._create(parameters)
            except OpenAIError as error:
                failure = ModelResponseError("failed", failures.described(error, self._key))
                await asyncio.to_thread(self._calls.record, None, attempt.row(usage_of(None), failure))
                raise
        return await self._keep(attempt, completion, request, check)

    async def _keep(self, attempt: Attempt, completion: ChatCompletion, request: ChatRequest, check: Check) -> ChatReply:
        """Record a completion, and its reply if one can be had from it, before it is used."""
        usage = usage_of(completion.usage)
        try:
            reply = reply_of(completion, self.model, attempt.request_hash)
        except ModelResponseError as unusable:
            await asyncio.to_thread(self._calls.record, None, attempt.row(usage, unusable))
            raise
        call = attempt.call_row("chat", reply_to_json(reply), reply.model_served, usage, request.prompt_hash)
        await asyncio.to_thread(self._calls.record, call, attempt.row(usage, _refusal(check, reply)))
        return reply

    async def _create(self, parameters: dict[str, Any]) -> ChatCompletion:
        """One exchange; anything may come back from an address that is no LLM endpoint."""
        try:
            answer = await self._client.chat.completions.create(**parameters)
        except ValueError as error:
            raise failures.NotACompletion(f"the answer is not JSON ({error})") from None
        if not isinstance(answer, ChatCompletion) or not is_whole(answer):
            raise failures.NotACompletion("the answer is JSON or text, but no chat completion")
        return answer

    def _final(self, error: Exception) -> Exception:
        return failures.final(error, self.endpoint_id, self.model, self._key_env, self._key)


def _refusal(check: Check, reply: ChatReply) -> ModelResponseError | None:
    try:
        check(reply)
    except ModelResponseError as refusal:
        return refusal
    return None


def _accept(reply: ChatReply) -> None:
    """Take any reply that arrived whole."""


def _wait_s(state: RetryCallState) -> float:
    asked = failures.retry_after_s(state.outcome.exception() if state.outcome else None)
    return _BACKOFF(state) if asked is None else min(asked, LONGEST_WAIT_S)


def _without_secrets(base_url: str) -> str:
    """The address without user, password, query and final slash: what may be stored and shown."""
    parts = urlsplit(base_url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))
