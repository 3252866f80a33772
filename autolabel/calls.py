"""What is kept of every request to a model: the key of its cache entry, the reply, and the attempt in the ledger.

The invariant is that `request_hash` covers everything that can change an answer and nothing else, so that nothing is paid for twice and
no answer is taken for another's. Rows carry every column of `llm_calls` and `llm_attempts` but `run_id`, which the store knows.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import perf_counter
from typing import Any, Literal

from autolabel.errors import ModelResponseError
from autolabel.hashing import content_id
from autolabel.records import AnsweredToken, ChatReply, ChatRequest, LabelStatus, Purpose

Row = dict[str, Any]
Kind = Literal["chat", "likelihood", "completion"]
Via = Literal["live", "batch", "local"]
LOCAL_ENDPOINT = "local"
"""`endpoint_id` of a model that runs in this process."""


def chat_request_hash(endpoint_id: str, model: str, request: ChatRequest) -> str:
    """The key of a chat request: endpoint, model, rendered messages, sampling and sample number."""
    return content_id(
        "chat",
        {
            "endpoint_id": endpoint_id,
            "model": model,
            "messages": [[message.role, message.content] for message in request.messages],
            "max_tokens": request.max_tokens,
            "temperature": float(request.temperature),
            "top_logprobs": request.top_logprobs,
            "json_schema": request.json_schema,
            "seed": request.seed,
            "sample_number": request.sample_number,
        },
    )


def likelihood_request_hash(model: str, prefix: str, continuations: Sequence[str]) -> str:
    """The key of a local model's log-probabilities of `continuations` after `prefix`."""
    return content_id("likelihood", {"model": model, "prefix": prefix, "continuations": list(continuations)})


def completion_request_hash(model: str, prefix: str, n: int, max_tokens: int, seed: int) -> str:
    """The key of a local model's continuations of `prefix`."""
    return content_id("completion", {"model": model, "prefix": prefix, "n": n, "max_tokens": max_tokens, "seed": seed})


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one request; None where the endpoint did not say."""

    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    completion_tokens: int | None = None
    reasoning_tokens: int | None = None
    """Output tokens spent thinking, part of `completion_tokens`."""

    @property
    def total(self) -> int | None:
        """Input and output tokens together."""
        if self.prompt_tokens is None or self.completion_tokens is None:
            return None
        return self.prompt_tokens + self.completion_tokens


UNKNOWN = Usage()


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request being sent once; makes its rows when the outcome is known."""

    request_hash: str
    endpoint_id: str
    model: str
    purpose: Purpose
    started_utc: str
    started: float
    base_url: str | None = None
    """Address it is sent to; None for a model in this process."""
    via: Via = "live"
    input_bytes: int | None = None
    """UTF-8 bytes of its messages."""
    attempt_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    """The same in every row made of it, so that the note that it was in flight and its outcome are one row of the ledger."""

    @classmethod
    def begin(
        cls,
        request_hash: str,
        endpoint_id: str,
        model: str,
        purpose: Purpose,
        base_url: str | None = None,
        via: Via = "live",
        input_bytes: int | None = None,
    ) -> "Attempt":
        """Start the clock."""
        if endpoint_id == LOCAL_ENDPOINT:
            via = "local"
        return cls(request_hash, endpoint_id, model, purpose, now_utc(), perf_counter(), base_url, via, input_bytes)

    def row(
        self,
        usage: Usage,
        error: ModelResponseError | None = None,
        *,
        charged_tokens: int = 0,
        cost_usd: float | None = 0.0,
        http_status: int | None = None,
    ) -> Row:
        """The ledger's row: `ok`, or the error's status and message; what it is charged defaults to a model's in this process."""
        status: LabelStatus = "ok" if error is None else error.status
        return {
            "attempt_id": self.attempt_id,
            "request_hash": self.request_hash,
            "stage": self.purpose.stage,
            "feature_index": self.purpose.feature_index,
            "endpoint_id": self.endpoint_id,
            "base_url": self.base_url,
            "via": self.via,
            "model_requested": self.model,
            "status": status,
            "error": None if error is None else str(error),
            "http_status": http_status,
            "input_bytes": self.input_bytes,
            "prompt_tokens": usage.prompt_tokens,
            "cached_tokens": usage.cached_tokens,
            "completion_tokens": usage.completion_tokens,
            "reasoning_tokens": usage.reasoning_tokens,
            "charged_tokens": charged_tokens,
            "cost_usd": cost_usd,
            "latency_ms": (perf_counter() - self.started) * 1000,
            "started_utc": self.started_utc,
        }

    def call_row(
        self,
        kind: Kind,
        reply: Mapping[str, Any],
        served: str,
        usage: Usage,
        prompt_hash: str | None = None,
        body: str | None = None,
    ) -> Row:
        """The cache's row: the reply under its request's key, and the request's body where it is to be kept."""
        kept = {} if body is None else {"body": body}
        return kept | {
            "request_hash": self.request_hash,
            "kind": kind,
            "endpoint_id": self.endpoint_id,
            "model_requested": self.model,
            "model_served": served,
            "prompt_hash": prompt_hash,
            "reply": dict(reply),
            "prompt_tokens": usage.prompt_tokens or 0,
            "cached_tokens": usage.cached_tokens or 0,
            "completion_tokens": usage.completion_tokens or 0,
            "created_utc": now_utc(),
        }


def now_utc() -> str:
    """The present as naive UTC in ISO format, as the store's timestamps are."""
    return datetime.now(UTC).replace(tzinfo=None).isoformat()


def reply_to_json(reply: ChatReply) -> Row:
    """A chat reply as the store keeps it; `reply_from_json` gives it back."""
    tokens = None
    if reply.tokens is not None:
        tokens = [{"text": t.text, "logprob": t.logprob, "alternatives": dict(t.alternatives)} for t in reply.tokens]
    return {
        "text": reply.text,
        "finish_reason": reply.finish_reason,
        "model_served": reply.model_served,
        "tokens": tokens,
        "prompt_tokens": reply.prompt_tokens,
        "cached_tokens": reply.cached_tokens,
        "completion_tokens": reply.completion_tokens,
    }


def reply_from_json(stored: Mapping[str, Any], request_hash: str) -> ChatReply:
    """The chat reply that `reply_to_json` wrote."""
    tokens = stored["tokens"]
    if tokens is not None:
        tokens = tuple(AnsweredToken(t["text"], t["logprob"], t["alternatives"]) for t in tokens)
    return ChatReply(**{**stored, "tokens": tokens}, request_hash=request_hash)
