"""Asking until an answer can be used, and asking several questions at once.

This is the one place where an unusable reply leads to another request. The invariant is that a rerun repeats nothing: replies that
cannot be parsed stay cached under their sample number, so the same question walks through the same replies to the same end without a
new call.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import replace
from typing import Any, Protocol, TypeVar, runtime_checkable

from autolabel.errors import AutolabelError, ModelResponseError
from autolabel.records import ChatModel, ChatReply, ChatRequest, Purpose

T = TypeVar("T")
REASK_TEMPERATURE = 0.5
"""At temperature 0 the same question has the same unusable answer, so it is asked again at this one, or the request's own if higher."""


@runtime_checkable
class ChecksReplies(Protocol):
    """A chat model that writes into its ledger whether a new reply could be used."""

    async def chat_checked(self, request: ChatRequest, purpose: Purpose, check: Callable[[ChatReply], object]) -> ChatReply:
        """Answer as `chat` does; a new reply that `check` refuses is kept, and its attempt gets the status of the refusal."""


async def ask(model: ChatModel, request: ChatRequest, purpose: Purpose, parse: Callable[[ChatReply], T], attempts: int = 3) -> T:
    """Ask up to `attempts` times, under the next sample number each time, until `parse` accepts the reply.

    Raises:
        ModelResponseError: the last refusal, truncation or unparsable reply; or at once, when no reply arrived at all.
        EndpointError: no reply can be had from this endpoint.
    """
    for attempt in range(attempts):
        try:
            return parse(await _reply(model, _again(request, attempt), purpose, parse))
        except ModelResponseError as error:
            if error.status == "failed" or attempt == attempts - 1:
                raise
    raise ValueError(f"attempts is {attempts}; expected at least 1")


def _again(request: ChatRequest, attempt: int) -> ChatRequest:
    if attempt == 0:
        return request
    temperature = max(request.temperature, REASK_TEMPERATURE)
    return replace(request, sample_number=request.sample_number + attempt, temperature=temperature)


async def _reply(model: ChatModel, request: ChatRequest, purpose: Purpose, parse: Callable[[ChatReply], object]) -> ChatReply:
    if isinstance(model, ChecksReplies):
        return await model.chat_checked(request, purpose, parse)
    return await model.chat(request, purpose)


async def together(questions: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """The answers to questions asked at once, in their order; they are begun in that order too.

    When one raises, the others are stopped and waited for, and that error is raised: the first one that ends a run if there are several.
    """
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(question) for question in questions]
    except BaseExceptionGroup as several:
        ending = [error for error in several.exceptions if isinstance(error, AutolabelError)]
        raise (ending or several.exceptions)[0] from None
    return [task.result() for task in tasks]
