"""A run without spending: stand-ins for what a run asks and writes, so that the pipeline's own code says which requests it would send.

The invariant is that nothing leaves this process and nothing is written. A request that was answered before is answered from the store;
any other is counted, once, and gets a made-up reply that its asker accepts: distinct labels, judgements of 0, as many texts as fit.
"""

import heapq
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from autolabel.calls import chat_request_hash, reply_from_json
from autolabel.errors import ModelResponseError
from autolabel.hashing import content_id
from autolabel.llm.capabilities import Capabilities, probe_request
from autolabel.llm.recording import Books
from autolabel.llm.tokens import default_tokens, input_bytes
from autolabel.records import AnsweredToken, CallStore, ChatReply, ChatRequest, Continuation, Message, Purpose
from autolabel.scorers.writing import TOKENS_PER_TEXT

KEPT = 2000
"""Requests made from one prompt that are kept to be counted, those with the smallest hashes."""
LABEL_TOKENS = 12
"""Length of a label where none was seen: about what the prompt asks for."""
TEXT_TOKENS = 25
"""Length of a written text with its number: about what the prompt asks for."""
LABEL_ERROR_BYTES = 25
"""How much longer or shorter real labels are than made-up ones, on average: these have about 30 bytes."""
_NOUNS = (
    *("river", "market", "winter", "letter", "garden", "engine", "harbour", "school", "window", "teacher", "paper", "bridge"),
    *("doctor", "summer", "village", "dinner", "forest", "kitchen", "soldier", "island", "theatre", "station", "battle"),
    *("horse", "mirror", "dollar", "circle", "police", "valley", "meadow", "writer", "planet"),
)
_UNDECIDED = {"0": -0.7, "1": -0.7}
"""Log-probabilities of a made-up judgement."""

Check = Callable[[ChatReply], object]


@dataclass(slots=True)
class Group:
    """The distinct requests that one stage would make from one prompt."""

    n: int = 0
    input_bytes: int = 0
    default_tokens: float = 0.0
    """Input tokens by the default ratio."""
    likely_output: int = 0
    worst_output: int = 0
    by_feature: Counter[int | None] = field(default_factory=Counter)
    kept: list[tuple[int, int, tuple[Message, ...]]] = field(default_factory=list)
    """A heap of (−hash, bytes, messages): a sample that does not depend on order."""

    def add(self, number: int, request: ChatRequest, purpose: Purpose, likely_output: int) -> None:
        """Count one request; `number` is drawn from its hash."""
        length = input_bytes(request.messages)
        self.n += 1
        self.input_bytes += length
        self.default_tokens += default_tokens(request.messages)
        self.likely_output += likely_output
        self.worst_output += request.max_tokens
        self.by_feature[purpose.feature_index] += 1
        item = (-number, length, request.messages)
        if len(self.kept) < KEPT:
            heapq.heappush(self.kept, item)
        else:
            heapq.heappushpop(self.kept, item)


class DryChat:
    """A `ChatModel` that sends nothing; its `groups` say what it would have sent, by stage and prompt hash."""

    def __init__(self, endpoint_id: str, model: str, calls: CallStore, can: Capabilities | None, paid: Iterable[str] = ()) -> None:
        self.endpoint_id = endpoint_id
        self.model_id = model
        self.can = can or Capabilities()
        """What the endpoint supports; everything, while that is not known."""
        self.groups: dict[tuple[str, str | None], Group] = defaultdict(Group)
        self._is_probed = can is not None
        self._books = Books(calls)
        # What batches still owe is paid for already.
        self._counted = {_number(request_hash) for request_hash in paid}

    async def probe(self) -> None:
        """Count the question that finds out what an unknown endpoint supports."""
        if not self._is_probed:
            self.groups["probe", None].add(0, probe_request(), Purpose("probe"), len(_array(2)))
            self._is_probed = True

    async def resume(self) -> None:
        """What earlier runs are owed is not waited for."""

    async def close(self) -> None:
        """There is nothing to close."""

    async def chat(self, request: ChatRequest, purpose: Purpose) -> ChatReply:
        """Answer `request`; any text will do."""
        return await self.chat_checked(request, purpose, lambda _: None)

    async def chat_checked(self, request: ChatRequest, purpose: Purpose, check: Check) -> ChatReply:
        """The stored reply; or one that `check` accepts, the same for the same request."""
        key = chat_request_hash(self.endpoint_id, self.model_id, request)
        stored = await self._books.find(key)
        if stored is not None:
            return reply_from_json(stored, key)
        unusable = self._books.calls.unusable(key)
        if unusable is not None:
            raise ModelResponseError("refused" if unusable[0] == "refused" else "truncated", unusable[1])
        reply = self._acceptable(key, request, check)
        number = _number(key)
        if number not in self._counted:
            self._counted.add(number)
            self.groups[purpose.stage, request.prompt_hash].add(number, request, purpose, reply.completion_tokens)
        return reply

    def _acceptable(self, key: str, request: ChatRequest, check: Check) -> ChatReply:
        for text, n_tokens in _made_up(key, request):
            tokens = _answered(text) if request.top_logprobs else None
            reply = ChatReply(text, "stop", self.model_id, tokens, completion_tokens=n_tokens, request_hash=key)
            try:
                check(reply)
            except ModelResponseError:
                continue
            return reply
        raise ValueError(f"no made-up reply fits a request that begins {request.messages[0].content[:80]!r}")


def _number(request_hash: str) -> int:
    return int(request_hash[:16], 16)


def _made_up(key: str, request: ChatRequest) -> Iterator[tuple[str, int]]:
    """A reply of each kind that is ever asked for, with its likely length in tokens; the likeliest kind first."""
    if request.json_schema is not None:
        array = _array(request.json_schema.get("minItems", 1))
        yield array, len(array) + 1
    yield _label(key), LABEL_TOKENS
    yield "0", 2
    texts = request.max_tokens // TOKENS_PER_TEXT
    yield "\n".join(f"{number}. {_label(content_id(key, number))}" for number in range(1, texts + 1)), texts * TEXT_TOKENS


def _label(key: str) -> str:
    """A label about as long as real ones; two requests have the same one once in a million times."""
    nouns = [_NOUNS[int(key[place : place + 8], 16) % len(_NOUNS)] for place in range(0, 32, 8)]
    return f"{', '.join(nouns[:-1])} and {nouns[-1]}"


def _array(n: int) -> str:
    """Judgements as they are answered: each digit, comma and bracket is a token."""
    return f"[{','.join('0' * n)}]"


@lru_cache(maxsize=256)
def _answered(text: str) -> tuple[AnsweredToken, ...]:
    return tuple(AnsweredToken(c, _UNDECIDED.get(c, 0.0), _UNDECIDED if c in _UNDECIDED else {}) for c in text)


class DryLikelihood:
    """A `LikelihoodModel` that computes nothing."""

    def __init__(self, name: str) -> None:
        self.model_id = name

    def log_probabilities(self, prefix: str, continuations: Sequence[str], purpose: Purpose) -> list[Continuation]:
        """All are equally likely."""
        return [Continuation(0.0, 1) for _ in continuations]

    def complete(self, prefix: str, n: int, max_tokens: int, seed: int, purpose: Purpose) -> list[str]:
        """A label made of what it was asked for."""
        return [_label(content_id("prefix", [prefix, seed, i])) for i in range(n)]


class DryEmbedder:
    """An `Embedder` that computes nothing."""

    def __init__(self, name: str) -> None:
        self.model_id = name

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The same vector for every text, shape (n_texts, 1)."""
        return np.ones((len(texts), 1), dtype=np.float32)
