"""A chat request as an OpenAI-compatible API wants it, and a completion as we keep it.

Endpoints differ in the parameters they know. The invariant is that a parameter is left out only after the endpoint itself refused it by
name, and then for good.
"""

import math
import re
from collections.abc import Collection
from typing import Any

from openai.types import CompletionUsage
from openai.types.chat import ChatCompletion, ChatCompletionMessage
from openai.types.chat.chat_completion import Choice

from autolabel.calls import Usage
from autolabel.errors import ModelResponseError
from autolabel.records import AnsweredToken, ChatReply, ChatRequest

IMPOSSIBLE = -9999.0
_NAMED_AS = {
    "logprobs": ("logprobs", "top_logprobs"),
    "response_format": ("response_format", "json_schema"),
    "max_tokens": ("max_tokens",),
    "temperature": ("temperature",),
    "seed": ("seed",),
}
"""Parameters that can be left out, and the words by which an error names each."""
_THOUGHT = re.compile(r"<think>.*?</think>\s*|^.*</think>\s*", re.DOTALL)


def body(request: ChatRequest, model: str, refused: Collection[str] = ()) -> dict[str, Any]:
    """The request's parameters, without those the endpoint has refused (`max_tokens` then goes by its newer name)."""
    parameters: dict[str, Any] = {
        "model": model,
        "messages": [{"role": message.role, "content": message.content} for message in request.messages],
        "temperature": request.temperature,
        "max_tokens": request.max_tokens,
    }
    if request.top_logprobs:
        parameters |= {"logprobs": True, "top_logprobs": request.top_logprobs}
    if request.json_schema is not None:
        schema = {"name": "answer", "strict": True, "schema": dict(request.json_schema)}
        parameters["response_format"] = {"type": "json_schema", "json_schema": schema}
    if request.seed is not None:
        parameters["seed"] = request.seed + request.sample_number
    if "max_tokens" in refused:
        parameters["max_completion_tokens"] = request.max_tokens
    left_out = {*refused, *(["top_logprobs"] if "logprobs" in refused else [])}
    return {name: value for name, value in parameters.items() if name not in left_out}


def refused_parameters(message: str, sent: Collection[str]) -> set[str]:
    """Which of the parameters that were sent an error message names."""
    words = set(re.findall(r"\w+", message))
    return {parameter for parameter, names in _NAMED_AS.items() if parameter in sent and words.intersection(names)}


def is_whole(completion: ChatCompletion) -> bool:
    """Whether a completion has a message in its first choice: the client checks nothing of what it reads."""
    choices = getattr(completion, "choices", None)
    return isinstance(choices, list) and bool(choices) and isinstance(getattr(choices[0], "message", None), ChatCompletionMessage)


def usage_of(usage: CompletionUsage | None) -> Usage:
    """Tokens used, as far as the endpoint says."""
    if usage is None:
        return Usage()
    details = usage.prompt_tokens_details
    return Usage(usage.prompt_tokens, details.cached_tokens if details else None, usage.completion_tokens)


def reply_of(completion: ChatCompletion, model: str, request_hash: str) -> ChatReply:
    """The completion as a reply, thoughts removed.

    Raises:
        ModelResponseError: it was refused or cut short.
    """
    choice = completion.choices[0]
    if choice.message.refusal or choice.finish_reason == "content_filter":
        raise ModelResponseError("refused", f"the model refused: {choice.message.refusal or 'stopped by a content filter'}")
    if choice.finish_reason == "length":
        raise ModelResponseError("truncated", "the reply was cut off at max_tokens")
    usage = usage_of(completion.usage)
    return ChatReply(
        text=_THOUGHT.sub("", choice.message.content or "").strip(),
        finish_reason="stop",
        model_served=completion.model or model,
        tokens=_tokens(choice),
        prompt_tokens=usage.prompt_tokens or 0,
        cached_tokens=usage.cached_tokens or 0,
        completion_tokens=usage.completion_tokens or 0,
        request_hash=request_hash,
    )


def _tokens(choice: Choice) -> tuple[AnsweredToken, ...] | None:
    if choice.logprobs is None or not choice.logprobs.content:
        return None
    return tuple(
        AnsweredToken(token.token, _finite(token.logprob), {a.token: _finite(a.logprob) for a in token.top_logprobs or ()})
        for token in choice.logprobs.content
    )


def _finite(logprob: float) -> float:
    """Endpoints write "impossible" as -inf or -9999; the store holds finite numbers only."""
    return max(logprob, IMPOSSIBLE) if math.isfinite(logprob) else IMPOSSIBLE
