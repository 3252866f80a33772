"""Stand-ins for models and the store: scripted, deterministic, in memory."""

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autolabel.records import ChatReply, ChatRequest, Continuation, Purpose

Answer = str | ChatReply | Exception


class FakeLLM:
    """A `ChatModel` that answers from a script, or by calling a function; an exhausted script is a failing test."""

    def __init__(self, script: Iterable[Answer] | Callable[[ChatRequest], Answer], model_id: str = "fake") -> None:
        self._answer = script if callable(script) else None
        self._script = None if callable(script) else list(script)
        self.model_id = model_id
        self.history: list[tuple[ChatRequest, Purpose]] = []

    @property
    def requests(self) -> list[ChatRequest]:
        return [request for request, _ in self.history]

    async def chat(self, request: ChatRequest, purpose: Purpose) -> ChatReply:
        self.history.append((request, purpose))
        answer = self._next(request)
        if isinstance(answer, Exception):
            raise answer
        reply = ChatReply(answer, "stop", self.model_id) if isinstance(answer, str) else answer
        return replace(reply, request_hash=reply.request_hash or f"request-{len(self.history)}")

    def _next(self, request: ChatRequest) -> Answer:
        if self._answer is not None:
            return self._answer(request)
        if not self._script:
            raise AssertionError(f"the script ran out at request {len(self.history)}: {request.messages[-1].content[:200]}")
        return self._script.pop(0)


class FakeLikelihood:
    """A `LikelihoodModel` under which a continuation is likelier the more of its words the prefix holds."""

    def __init__(self, completions: Sequence[str] = ("a label",), model_id: str = "fake-likelihood") -> None:
        self.model_id = model_id
        self.completions = list(completions)
        self.history: list[tuple[str, tuple[str, ...]]] = []

    def log_probabilities(self, prefix: str, continuations: Sequence[str], purpose: Purpose) -> list[Continuation]:
        self.history.append((prefix, tuple(continuations)))
        known = set(_words(prefix))
        return [self._one(known, _words(continuation)) for continuation in continuations]

    def _one(self, known: set[str], words: list[str]) -> Continuation:
        return Continuation(sum(-1.0 if word in known else -6.0 for word in words), max(1, len(words)))

    def complete(self, prefix: str, n: int, max_tokens: int, seed: int, purpose: Purpose) -> list[str]:
        self.history.append((prefix, ()))
        return [self.completions[i % len(self.completions)] for i in range(n)]


class FakeEmbedder:
    """An `Embedder`: a bag of words, each hashed to a random direction."""

    def __init__(self, d: int = 64, model_id: str = "fake-embedder") -> None:
        self.d = d
        self.model_id = model_id

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        vectors = np.array([self._sum(text) for text in texts], dtype=np.float32).reshape(len(texts), self.d)
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)

    def _sum(self, text: str) -> NDArray[np.float64]:
        total = np.zeros(self.d)
        for word in _words(text) or [""]:
            seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "big")
            total += np.random.default_rng(seed).standard_normal(self.d)
        return total


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


@dataclass
class MemoryCallStore:
    """A `CallStore` that forgets at the end of the test."""

    replies: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    calls: list[Mapping[str, Any]] = field(default_factory=list)
    attempts: list[Mapping[str, Any]] = field(default_factory=list)
    refused: dict[str, tuple[str, str]] = field(default_factory=dict)
    """What `unusable` answers."""
    in_flight: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    n_tickets: int = 0

    def holds(self, request_hash: str) -> bool:
        return request_hash in self.replies

    def get(self, request_hash: str) -> Mapping[str, Any] | None:
        return self.replies.get(request_hash)

    def get_many(self, request_hashes: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        return {request_hash: self.replies[request_hash] for request_hash in request_hashes if request_hash in self.replies}

    def unusable(self, request_hash: str) -> tuple[str, str] | None:
        return self.refused.get(request_hash)

    def record(self, call: Mapping[str, Any] | None, attempt: Mapping[str, Any]) -> None:
        self.record_many([(call, attempt)])

    def record_many(self, answered: Sequence[tuple[Mapping[str, Any] | None, Mapping[str, Any]]]) -> None:
        for call, attempt in answered:
            self.attempts.append(attempt)
            if call is not None:
                self.calls.append(call)
                self.replies.setdefault(call["request_hash"], call["reply"])

    def sending(self, attempt: Mapping[str, Any]) -> int:
        self.n_tickets += 1
        self.in_flight[self.n_tickets] = attempt
        return self.n_tickets

    def sent(self, ticket: int) -> None:
        del self.in_flight[ticket]

    @property
    def statuses(self) -> list[str]:
        return [attempt["status"] for attempt in self.attempts]


_SENTENCES = [
    "the dog ran over the hill and the cat sat on the mat",
    "a label says what a text mentions: dogs, cats, boats and rain",
    "She asked: where is the boat?\nThe boat lay in the harbour.",
]
_TEMPLATE = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}\n{% endfor %}<|assistant|>"


def tiny_model_and_tokenizer(tmp_path: Path, seed: int = 0) -> Path:
    """A folder with a random Llama (width 32, 4 layers) and a byte-level BPE tokenizer of 400 tokens that reads any text."""
    # Imported here, so that tests which need no model do not wait for these libraries.
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<bos>", "<eos>", "<|system|>", "<|user|>", "<|assistant|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(_SENTENCES, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<bos>", eos_token="<eos>", pad_token="<eos>")
    fast.chat_template = _TEMPLATE
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(fast),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        initializer_range=0.3,
        bos_token_id=fast.bos_token_id,
        eos_token_id=fast.eos_token_id,
        pad_token_id=fast.eos_token_id,
        tie_word_embeddings=True,
    )
    folder = tmp_path / "tiny-model"
    LlamaForCausalLM(config).eval().save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder
