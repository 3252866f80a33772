"""Finding out what an endpoint and model support, by a small question with every parameter we ever send.

The invariant is that an answer which says nothing (refused, empty, cut short) is taken for nothing: the question is put anew.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from autolabel.llm.capabilities import PROBES, Capabilities, probe_request, refused_parameters
from autolabel.llm.failures import AttemptFailed
from autolabel.llm.requests import Answer, body, is_cut_short, says_something, thinks, token_probabilities
from autolabel.records import ChatRequest

THINKING_TOKENS = 4096
"""Room for thinking where a model turns out to think and the settings do not say how much."""

Ask = Callable[[ChatRequest, Mapping[str, Any]], Awaitable[Answer]]
"""Sends a request with these parameters until it is answered."""


async def find_out(ask: Ask, model: str, room: int) -> Capabilities:
    """What `model` supports: asked with more room when an answer was cut short, in other words when it was refused.

    Args:
        ask: Sends the question; what it raises is raised.
        model: Name of the model.
        room: Tokens allowed for thinking.

    Raises:
        AttemptFailed: the question was not answered, though for no parameter that could be left out.
    """
    can = Capabilities()
    for number in range(PROBES):
        can, answer = await _answered(ask, model, probe_request(number), can, room)
        can = replace(can, thinks=can.thinks or thinks(answer))
        if says_something(answer):
            break
        room = room or THINKING_TOKENS * is_cut_short(answer)
    return replace(can, logprobs=token_probabilities(answer) is not None)


async def _answered(ask: Ask, model: str, request: ChatRequest, can: Capabilities, room: int) -> tuple[Capabilities, Answer]:
    """The answer to a question without the parameters that are refused by name, and what is left of `can`."""
    while True:
        parameters = body(request, model, can, room)
        try:
            return can, await ask(request, parameters)
        except AttemptFailed as failed:
            refused = named_in(failed, parameters)
            if not refused:
                raise
            can = can.without(refused)


def named_in(failed: AttemptFailed, parameters: Mapping[str, Any]) -> set[str]:
    """The parameters of a request that the endpoint does not take, as far as it names them."""
    is_about_parameters = failed.status in (400, 422) and not failed.is_about_prompt
    return refused_parameters(failed.what, parameters) if is_about_parameters else set()
