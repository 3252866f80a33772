"""A chat request as an OpenAI-compatible API wants it, and its answer as we keep it.

Nothing an endpoint sends is trusted: an answer is read as plain JSON and checked field by field. (The client library's typed path takes
2.5 times the CPU of this one for each call and checks nothing.)
"""

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from autolabel.calls import Usage
from autolabel.errors import ModelResponseError
from autolabel.llm.capabilities import Capabilities
from autolabel.llm.failures import AttemptFailed, Kind, one_line
from autolabel.records import AnsweredToken, ChatReply, ChatRequest
from autolabel.secrets import blotted

IMPOSSIBLE = -9999.0
ROUNDING = 0.01
"""How far above 0 a logarithm of a probability may be."""
_THOUGHTS = re.compile(r"\s*(?:<think>.*?(?:</think>|\Z)\s*)+", re.DOTALL)

Answer = Mapping[str, Any]
"""A completion with a message in its first choice."""


def body(request: ChatRequest, model: str, can: Capabilities, thinking_tokens: int = 0) -> dict[str, Any]:
    """The request's parameters, without those the endpoint does not know; `thinking_tokens` are added to the limit of the reply."""
    parameters: dict[str, Any] = {
        "model": model,
        "messages": [{"role": message.role, "content": message.content} for message in request.messages],
        "max_tokens" if can.max_tokens else "max_completion_tokens": request.max_tokens + thinking_tokens,
    }
    if can.temperature:
        parameters["temperature"] = request.temperature
    if request.top_logprobs and can.logprobs:
        parameters |= {"logprobs": True, "top_logprobs": request.top_logprobs}
    if request.json_schema is not None and can.response_format:
        schema = {"name": "answer", "strict": True, "schema": dict(request.json_schema)}
        parameters["response_format"] = {"type": "json_schema", "json_schema": schema}
    if request.seed is not None and can.seed:
        parameters["seed"] = request.seed + request.sample_number
    return parameters


def read_answer(content: bytes) -> Answer:
    """The JSON of a completion.

    Raises:
        AttemptFailed: it is no JSON, or no completion.
    """
    try:
        answer = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise AttemptFailed(Kind.GARBLED, f"the answer is not JSON ({error})") from None
    return completion_in(answer)


def completion_in(answer: Any) -> Answer:
    """The JSON value as a completion.

    Raises:
        AttemptFailed: it is none.
    """
    choices = answer.get("choices") if isinstance(answer, dict) else None
    first = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(first, dict) or not isinstance(first.get("message"), dict):
        raise AttemptFailed(Kind.GARBLED, "the answer is JSON, but no chat completion")
    return dict(answer)


def usage_of(answer: Answer) -> Usage:
    """Tokens used, as far as the endpoint says so in numbers."""
    usage = _mapping(answer.get("usage"))
    details, spent = _mapping(usage.get("prompt_tokens_details")), _mapping(usage.get("completion_tokens_details"))
    prompt, cached, completion, total = map(
        _count,
        (usage.get("prompt_tokens"), details.get("cached_tokens"), usage.get("completion_tokens"), usage.get("total_tokens")),
    )
    if prompt is not None and cached is not None:
        cached = min(cached, prompt)
    if prompt is not None and total is not None and total - prompt > (completion or 0):
        completion = total - prompt  # some endpoints count thoughts in the total alone
    return Usage(prompt, cached, completion, _count(spent.get("reasoning_tokens")))


def thinks(answer: Answer) -> bool:
    """Whether the model thought before it answered; a reply that ends for want of room before its first word was all thought."""
    message = answer["choices"][0]["message"]
    text = _text(message.get("content"))
    is_marked = text.lstrip().startswith("<think>") or "</think>" in text
    said = message.get("reasoning_content") or message.get("reasoning") or usage_of(answer).reasoning_tokens
    return is_marked or bool(said) or (is_cut_short(answer) and not text.strip())


def reply_of(answer: Answer, model: str, request_hash: str) -> ChatReply:
    """The answer as a reply, thoughts removed.

    Raises:
        ModelResponseError: it was refused or cut short.
    """
    choice = answer["choices"][0]
    message = choice["message"]
    if message.get("refusal") or choice.get("finish_reason") == "content_filter":
        why = one_line(_text(message.get("refusal"))) or "stopped by a content filter"
        raise ModelResponseError("refused", f"the model refused: {why}")
    if is_cut_short(answer):
        raise ModelResponseError("truncated", "the reply was cut off at max_tokens")
    usage = usage_of(answer)
    return ChatReply(
        text=_without_thoughts(_text(message.get("content"))).strip(),
        finish_reason="stop",
        model_served=_text(answer.get("model")) or model,
        tokens=token_probabilities(answer),
        prompt_tokens=usage.prompt_tokens or 0,
        cached_tokens=usage.cached_tokens or 0,
        completion_tokens=usage.completion_tokens or 0,
        request_hash=request_hash,
    )


def says_something(answer: Answer) -> bool:
    """Whether the reply got to its end, beyond a refusal and beyond thoughts; one that is cut short may be all thought and not say so."""
    choice = answer["choices"][0]
    is_refused = choice["message"].get("refusal") or choice.get("finish_reason") == "content_filter"
    text = _text(choice["message"].get("content"))
    return not is_refused and bool(text.strip()) and not is_cut_short(answer)


def is_cut_short(answer: Answer) -> bool:
    """Whether the reply ended for want of room."""
    return bool(answer["choices"][0].get("finish_reason") == "length")


def _without_thoughts(text: str) -> str:
    """What follows the thoughts; where the prompt's template opens them, only their end is in the text."""
    thoughts = _THOUGHTS.match(text)
    if thoughts is not None:
        return text[thoughts.end() :]
    _, end, after = text.partition("</think>")
    return after if end else text


def token_probabilities(answer: Answer) -> tuple[AnsweredToken, ...] | None:
    """Token probabilities, raw; None where there are none, or one of them is malformed: probabilities with holes are no probabilities."""
    listed = _mapping(answer["choices"][0].get("logprobs")).get("content")
    if not isinstance(listed, list) or not listed:
        return None
    try:
        return tuple(
            AnsweredToken(
                _token(token),
                _logprob(token),
                {_token(other): _logprob(other) for other in token.get("top_logprobs") or ()},
            )
            for token in listed
        )
    except (TypeError, KeyError, ValueError, OverflowError, AttributeError):
        return None


def _token(listed: Mapping[str, Any]) -> str:
    if not isinstance(listed["token"], str):
        raise TypeError("a token is no text")
    return _text(listed["token"])


def _logprob(listed: Mapping[str, Any]) -> float:
    """Endpoints write "impossible" as -inf, -9999 or null; the store holds finite numbers only."""
    value = IMPOSSIBLE if listed["logprob"] is None else float(listed["logprob"])
    if math.isnan(value) or value > ROUNDING:
        raise ValueError(f"{value} is the logarithm of no probability")
    return max(value, IMPOSSIBLE)


def _text(value: Any) -> str:
    """A text from outside as it may be kept: without keys, and without halves of characters, which nobody can write; some endpoints send
    a list of parts. Anything else is an empty text."""
    if isinstance(value, list):
        value = "".join(part["text"] for part in value if isinstance(part, dict) and isinstance(part.get("text"), str))
    if not isinstance(value, str):
        return ""
    return blotted(value if value.isascii() else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _count(value: Any) -> int | None:
    """A number of tokens; None for anything that is none."""
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 2**53 else None
