"""The model behind the server: from a request body to a chat completion, or to the 400 that an endpoint would answer."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.servers import tokens
from tests.servers.answers import Answer, Answerer
from tests.servers.connection import Response, failure
from tests.servers.options import Options
from tests.servers.shapes import as_text, logprobs

Body = Mapping[str, Any]
CREATED = 1_767_225_600
"""When every completion says it was made, so that equal requests have equal answers."""
_REFUSAL = "I can't help with that."
_PROSE = "Some of these texts do and others do not."
_ALSO_MEANT = {"logprobs": ("logprobs", "top_logprobs")}
_INSTEAD = {"max_tokens": " Use 'max_completion_tokens' instead.", "max_completion_tokens": " Use 'max_tokens' instead."}


@dataclass(frozen=True, slots=True)
class Reply:
    """A completion, what it costs, and what is wrong with it."""

    content: dict[str, Any]
    prompt_tokens: int
    completion_tokens: int
    fault: str | None


def read_body(raw: bytes | str) -> tuple[Body, str]:
    """A request body and the hash of its canonical form; what is no JSON object is an empty body."""
    try:
        body = json.loads(raw)
    except ValueError:
        return {}, hashlib.sha256(raw if isinstance(raw, bytes) else raw.encode()).hexdigest()
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return body if isinstance(body, dict) else {}, hashlib.sha256(canonical.encode()).hexdigest()


class Model:
    """Answers with what an answerer says, as a chat completion."""

    def __init__(self, options: Options, answerer: Answerer, refused_parameters: tuple[str, ...]) -> None:
        self._options = options
        self._answerer = answerer
        self._refused = refused_parameters
        self._thinking = f"<think>\n{'hm ' * options.reasoning}\n</think>\n\n" if options.reasoning else ""
        self._prefixes = tokens.PrefixCache() if options.cached_tokens else None

    def refusal(self, body: Body) -> Response | None:
        """Why the request cannot be answered as it stands."""
        messages = body.get("messages")
        if not isinstance(messages, list) or not messages or not all(isinstance(m, dict) and _has_text(m) for m in messages):
            return failure(400, "'messages' must be a list of messages with text in 'content'.", param="messages")
        if not isinstance(body.get("model"), str) or body.get("stream"):
            return failure(400, "'model' must be a string, and 'stream' is not supported.", param="model")
        if self._options.model not in (None, body["model"]):
            return failure(404, f"The model '{body['model']}' does not exist.", param="model", code="model_not_found")
        if tokens.prompt_tokens(messages) > self._options.context:
            message = f"This model's maximum context length is {self._options.context} tokens."
            return failure(400, message, param="messages", code="context_length_exceeded")
        return None

    def refused_parameter(self, body: Body) -> Response | None:
        """The 400 for the first parameter that this endpoint does not know."""
        for name in self._refused:
            if any(meant in body for meant in _ALSO_MEANT.get(name, (name,))):
                message = f"Unsupported parameter: '{name}' is not supported with this model.{_INSTEAD.get(name, '')}"
                return failure(400, message, param=name, code="unsupported_parameter")
        return None

    def reply(self, body: Body, body_hash: str, fault: str | None, addition: str = "") -> Reply:
        """The completion, with a content fault or `empty` if it applies; a reply cut at its limit counts as truncated."""
        answer = self._answerer(body)
        spoilt, fault = _spoilt(answer, fault)
        text = "" if fault == "empty" else self._text(body, body_hash, spoilt, fault) + addition
        thought, said, limit = tokens.pieces(self._thinking), tokens.pieces(text), tokens.most_tokens(body)
        if fault == "truncation":
            n = max(1, len(thought) + len(said) // 2) if limit is None else limit
            said = _rambling(said, n)
        elif limit is not None and len(thought) + len(said) > limit:
            n, fault = limit, "truncation"
        else:
            n = len(thought) + len(said)
        n_thought = min(n, len(thought))
        shown = "".join(said[: n - n_thought])
        if not self._options.hide_reasoning and fault != "refusal":
            shown = "".join(thought[:n_thought]) + shown
        return self._completion(body, body_hash, shown, fault, n, n_thought)

    def _text(self, body: Body, body_hash: str, answer: Answer, fault: str | None) -> str:
        if fault in ("refusal", "non_json"):
            return _REFUSAL if fault == "refusal" else _PROSE
        if isinstance(answer, str) and self._options.unique_labels:
            answer = f"{answer} ({body_hash[:4]})"
        asked = body.get("response_format") or {}
        return as_text(answer, asked["json_schema"].get("schema", {}) if asked.get("type") == "json_schema" else None)

    def _completion(self, body: Body, body_hash: str, text: str, fault: str | None, n_tokens: int, n_thought: int) -> Reply:
        refused = fault == "refusal"
        message = {"role": "assistant", "content": None if refused else text, "refusal": text if refused else None}
        listed = logprobs(text, body_hash, body.get("top_logprobs") or 0) if body.get("logprobs") and not refused else None
        choice = {
            "index": 0,
            "message": message,
            "logprobs": None if listed is None else {"content": listed, "refusal": None},
            "finish_reason": "length" if fault == "truncation" else "stop",
        }
        prompt_tokens = tokens.prompt_tokens(body["messages"])
        usage: dict[str, Any] = {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": n_tokens,
            "total_tokens": prompt_tokens + n_tokens,
        }
        if self._prefixes is not None:
            usage["prompt_tokens_details"] = {"cached_tokens": self._prefixes.cached_tokens(body["messages"])}
        if self._options.reasoning:
            usage["completion_tokens_details"] = {"reasoning_tokens": n_thought}
        content = {
            "id": f"chatcmpl-{body_hash[:24]}",
            "object": "chat.completion",
            "created": CREATED,
            "model": body["model"],
            "choices": [choice],
            "usage": usage,
        }
        return Reply(content, prompt_tokens, n_tokens, fault)


def _has_text(message: Mapping[str, Any]) -> bool:
    return isinstance(message.get("role"), str) and isinstance(message.get("content"), str)


def _rambling(said: list[str], n: int) -> list[str]:
    """The reply without its end, over and over, `n` tokens long: what a model writes that does not stop."""
    once = "".join(said[:-1] or said)
    return tokens.pieces(" ".join([once] * (n // max(1, tokens.count(once)) + 1)))[:n]


def _spoilt(answer: Answer, fault: str | None) -> tuple[Answer, str | None]:
    """The answer with a judgement too few or too many, and the fault if it applies: labels have no count and are prose anyway."""
    if isinstance(answer, str) and fault in ("wrong_count", "non_json"):
        return answer, None
    if fault == "wrong_count":
        judgements = answer if isinstance(answer, list) else [int(answer)]
        return judgements[:-1] if len(judgements) > 1 else [*judgements, 0], fault
    return answer, fault
