"""A small causal language model in this process: label likelihoods, few-shot completions, chat.

The invariant is that an answer depends on its request alone: batches are made of one request's parts in their order, samples come from the
request's seed, and corpus text is tokenised without special tokens. Answers are cached and recorded like those of an endpoint, at no cost.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from autolabel.calls import (
    LOCAL_ENDPOINT,
    Attempt,
    Usage,
    chat_request_hash,
    completion_request_hash,
    likelihood_request_hash,
    reply_from_json,
    reply_to_json,
)
from autolabel.errors import DataError, ModelResponseError
from autolabel.local.decoding import Decoder, Generated
from autolabel.records import AnsweredToken, CallStore, ChatReply, ChatRequest, Continuation, Purpose

SAMPLE_TEMPERATURE = 0.7
"""Temperature of the sampled continuations of `complete`."""


class LocalModel:
    """A `LikelihoodModel` and `ChatModel` on this machine; may be called from several threads, which take turns."""

    def __init__(self, model: Any, tokenizer: Any, name: str, calls: CallStore) -> None:
        self._tokenizer = tokenizer
        self._decoder = Decoder(model.eval())
        self._calls = calls
        self._lock = threading.Lock()
        self._name = name

    @classmethod
    def load(cls, path_or_name: str, *, name: str, device: str, dtype: str, calls: CallStore) -> "LocalModel":
        """Load a folder or hub name; `device` as torch names it or `auto`, `dtype` as `bfloat16` or `float32`.

        Raises:
            DataError: there is no such model, or it is no causal language model.
        """
        transformers_logging.disable_progress_bar()
        chosen = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        try:
            tokenizer = AutoTokenizer.from_pretrained(path_or_name)
            model = AutoModelForCausalLM.from_pretrained(path_or_name, dtype=getattr(torch, dtype))
        except (OSError, ValueError) as error:
            raise DataError(f"cannot load '{path_or_name}' as a causal language model: {error}") from error
        return cls(model.to(chosen), tokenizer, name, calls)

    @property
    def model_id(self) -> str:
        """Names the model in stored rows."""
        return self._name

    def log_probabilities(self, prefix: str, continuations: Sequence[str], purpose: Purpose) -> list[Continuation]:
        """log p(continuation | prefix) for each continuation, in order; the prefix is run once."""
        key = likelihood_request_hash(self._name, prefix, continuations)
        stored = self._calls.get(key)
        if stored is None:
            attempt = Attempt.begin(key, LOCAL_ENDPOINT, self._name, purpose)
            start, tails = self._start(prefix), [self._ids(text) for text in continuations]
            if not all(tails):
                raise ValueError("a continuation has no tokens, so it has no probability")
            with self._lock:
                logprobs = self._decoder.log_probabilities(start, tails)
            stored = {"logprobs": logprobs, "n_tokens": [len(tail) for tail in tails]}
            usage = Usage(len(start) + sum(map(len, tails)), 0, 0)
            self._calls.record(attempt.call_row("likelihood", stored, self._name, usage), attempt.row(usage))
        return [Continuation(logprob, n) for logprob, n in zip(stored["logprobs"], stored["n_tokens"], strict=True)]

    def complete(self, prefix: str, n: int, max_tokens: int, seed: int, purpose: Purpose) -> list[str]:
        """`n` continuations of `prefix`, the first greedy and the rest sampled from `seed`, each cut at the first line end."""
        key = completion_request_hash(self._name, prefix, n, max_tokens, seed)
        stored = self._calls.get(key)
        if stored is None:
            attempt = Attempt.begin(key, LOCAL_ENDPOINT, self._name, purpose)
            start = self._start(prefix)
            temperatures = [0.0, *[SAMPLE_TEMPERATURE] * (n - 1)]
            with self._lock:
                rows = self._decoder.generate(start, temperatures, max_tokens, seed, self._has_a_line)
            stored = {"texts": [self._text(row).split("\n")[0].strip() for row in rows]}
            usage = Usage(len(start), 0, sum(len(row.ids) for row in rows))
            self._calls.record(attempt.call_row("completion", stored, self._name, usage), attempt.row(usage))
        return list(stored["texts"])

    async def chat(self, request: ChatRequest, purpose: Purpose) -> ChatReply:
        """Answer `request`, from the store when it was answered before; see `records.ChatModel`."""
        return await self.chat_checked(request, purpose, lambda _: None)

    async def chat_checked(self, request: ChatRequest, purpose: Purpose, check: Callable[[ChatReply], object]) -> ChatReply:
        """Answer as `chat` does; a new reply that `check` refuses is kept, and its attempt gets the status of the refusal."""
        return await asyncio.to_thread(self._chat, request, purpose, check)

    def _chat(self, request: ChatRequest, purpose: Purpose, check: Callable[[ChatReply], object]) -> ChatReply:
        key = chat_request_hash(LOCAL_ENDPOINT, self._name, request)
        stored = self._calls.get(key)
        if stored is not None:
            return reply_from_json(stored, key)
        attempt = Attempt.begin(key, LOCAL_ENDPOINT, self._name, purpose)
        start = self._chat_start(request)
        seed = (request.seed or 0) + request.sample_number
        with self._lock:
            (row,) = self._decoder.generate(start, [request.temperature], request.max_tokens, seed, lambda _: False)
        usage = Usage(len(start), 0, len(row.ids))
        if not row.ended:
            truncated = ModelResponseError("truncated", f"the reply was cut off at max_tokens = {request.max_tokens}")
            self._calls.record(None, attempt.row(usage, truncated))
            raise truncated
        tokens = self._answered(row, request.top_logprobs) if request.top_logprobs else None
        reply = ChatReply(self._text(row).strip(), "stop", self._name, tokens, len(start), 0, len(row.ids), key)
        self._keep(attempt, request, reply, usage, check)
        return reply

    def _keep(
        self, attempt: Attempt, request: ChatRequest, reply: ChatReply, usage: Usage, check: Callable[[ChatReply], object]
    ) -> None:
        refusal = None
        try:
            check(reply)
        except ModelResponseError as error:
            refusal = error
        call = attempt.call_row("chat", reply_to_json(reply), self._name, usage, request.prompt_hash)
        self._calls.record(call, attempt.row(usage, refusal))

    def _start(self, prefix: str) -> list[int]:
        first = self._tokenizer.bos_token_id
        first = self._tokenizer.eos_token_id if first is None else first
        return [*([] if first is None else [first]), *self._ids(prefix)]

    def _ids(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])

    def _chat_start(self, request: ChatRequest) -> list[int]:
        if self._tokenizer.chat_template is None:
            raise DataError(
                f"model '{self._name}' has no chat template; use it for likelihood and completion, or name a chat model"
            )
        turns = [{"role": message.role, "content": message.content} for message in request.messages]
        text = self._tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def _text(self, row: Generated) -> str:
        return str(self._tokenizer.decode(row.ids, skip_special_tokens=True))

    def _has_a_line(self, ids: Sequence[int]) -> bool:
        return "\n" in self._tokenizer.decode(ids, skip_special_tokens=True)

    def _answered(self, row: Generated, top: int) -> tuple[AnsweredToken, ...]:
        answered = []
        for token, logprobs in zip(row.ids, row.logprobs, strict=True):
            best = logprobs.topk(min(top, len(logprobs)))
            alternatives: dict[str, float] = {}
            for i, value in zip(best.indices.tolist(), best.values.tolist(), strict=True):
                alternatives.setdefault(self._tokenizer.decode([i]), value)
            answered.append(AnsweredToken(self._tokenizer.decode([token]), float(logprobs[token]), alternatives))
        return tuple(answered)
