"""Recorded replies: what models have said, by the hash of what they were asked, so that nobody pays for it again.

A file holds JSON lines, compressed with xz: first what made it, then a reply per line. Loaded into a database, the replies are its
cache; models that are not at hand are stood in for by it.
"""

import json
import lzma
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autolabel.calls import chat_request_hash, likelihood_request_hash, reply_from_json
from autolabel.errors import DataError, ModelResponseError
from autolabel.records import CallStore, ChatReply, ChatRequest, Continuation, Purpose
from autolabel.store.run_store import RunStore

FORMAT = "autolabel-replies-1"
_KEPT = ("request_hash", "kind", "endpoint_id", "model_requested", "model_served", "prompt_hash", "reply")
_COUNTED = ("prompt_tokens", "cached_tokens", "completion_tokens")
NOT_RECORDED = "no reply to this request was recorded"


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a file of replies says of itself."""

    endpoint_id: str | None
    model: str | None
    """The chat model; None where only likelihoods are recorded."""
    likelihood_model: str | None
    parts: tuple[str, ...] = ()
    """What was measured when they were recorded, such as `scorer detection`; nothing else can be replayed."""


NOT_ANY = Recorded(None, None, None)


def load_replies(path: Path, store: RunStore) -> Recorded:
    """Put recorded replies into a database's cache.

    Raises:
        DataError: the file cannot be read, or is no file of replies; nothing of it is kept then.
    """
    try:
        with lzma.open(path, "rt", encoding="utf-8") as file:
            header = json.loads(next(file, "null"))
            if not isinstance(header, dict) or header.get("format") != FORMAT:
                raise DataError(f"'{path}' holds no recorded replies; name a file that --record wrote")
            rows = [_checked(json.loads(line), number, path) for number, line in enumerate(file, 2)]
    except (OSError, EOFError, lzma.LZMAError, ValueError, RecursionError) as error:
        raise DataError(f"cannot read the replies in '{path}': {error}; name a file that --record wrote") from None
    endpoint_id, model, likelihood_model = (header.get(name) for name in ("endpoint_id", "model", "likelihood_model"))
    parts = header.get("parts", [])
    if not isinstance(parts, list) or not all(
        one is None or isinstance(one, str) for one in (endpoint_id, model, likelihood_model, *parts)
    ):
        raise DataError(f"line 1 of '{path}' names no models; name a file that --record wrote")
    store.insert_many({"llm_calls": rows})
    return Recorded(endpoint_id, model, likelihood_model, tuple(parts))


def _checked(row: Any, number: int, path: Path) -> dict[str, Any]:
    """A row of the cache from a line of a file.

    Raises:
        DataError: it is none.
    """
    try:
        kept: dict[str, Any] = {
            name: str(row[name]) for name in ("request_hash", "kind", "endpoint_id", "model_requested", "model_served")
        }
        kept |= {name: int(row[name]) for name in _COUNTED}
        kept |= {"prompt_hash": row["prompt_hash"] and str(row["prompt_hash"]), "reply": row["reply"]}
        if row["kind"] == "chat":
            reply_from_json(row["reply"], kept["request_hash"])
        elif row["kind"] == "likelihood":
            _continuations(row["reply"])
        else:
            raise ValueError(f"kind is {row['kind']!r}")
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise DataError(f"line {number} of '{path}' is no recorded reply ({error!r}); name a file that --record wrote") from None
    return kept


def _continuations(stored: Mapping[str, Any]) -> list[Continuation]:
    return [Continuation(float(logprob), int(n)) for logprob, n in zip(stored["logprobs"], stored["n_tokens"], strict=True)]


def write_replies(path: Path, store: RunStore, recorded: Recorded, needed: Collection[str] | None = None) -> int:
    """Write the cache of a database into a file, or those replies of it that were needed; how many there are."""
    store.drain(30.0)
    names = ", ".join((*_KEPT, *_COUNTED))
    with store.database.read() as connection:
        found = connection.sql(f"SELECT {names} FROM llm_calls ORDER BY kind, request_hash").to_arrow_table().to_pylist()
    found = [row for row in found if needed is None or row["request_hash"] in needed]
    header = {"format": FORMAT, "endpoint_id": recorded.endpoint_id, "model": recorded.model}
    with replacing(path) as beside, lzma.open(beside, "wt", encoding="utf-8", preset=6) as file:
        file.write(json.dumps(header | {"likelihood_model": recorded.likelihood_model, "parts": recorded.parts}) + "\n")
        for row in found:
            row["reply"] = json.loads(row["reply"])
            file.write(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n")
    return len(found)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file beside `path` to write to, which takes its place when it is whole.

    Raises:
        DataError: it cannot be written there.
    """
    beside = path.with_name(f"{path.name}.new")
    try:
        yield beside
        beside.replace(path)
    except OSError as error:
        raise DataError(f"cannot write '{path}': {error.strerror or error}") from None


@dataclass
class RecordedChat:
    """A `ChatModel` that only knows recorded replies."""

    endpoint_id: str
    model_id: str
    calls: CallStore

    async def chat(self, request: ChatRequest, purpose: Purpose) -> ChatReply:
        """The recorded reply.

        Raises:
            ModelResponseError: there is none.
        """
        key = chat_request_hash(self.endpoint_id, self.model_id, request)
        stored = self.calls.get(key)
        if stored is None:
            raise ModelResponseError("failed", NOT_RECORDED)
        return reply_from_json(stored, key)


@dataclass
class RecordedLikelihood:
    """A `LikelihoodModel` that only knows recorded log-probabilities."""

    model_id: str
    calls: CallStore

    def log_probabilities(self, prefix: str, continuations: Sequence[str], purpose: Purpose) -> list[Continuation]:
        """The recorded log-probabilities.

        Raises:
            ModelResponseError: there are none.
        """
        stored = self.calls.get(likelihood_request_hash(self.model_id, prefix, continuations))
        if stored is None:
            raise ModelResponseError("failed", NOT_RECORDED)
        return _continuations(stored)

    def complete(self, prefix: str, n: int, max_tokens: int, seed: int, purpose: Purpose) -> list[str]:
        """Nothing was completed when replies were recorded.

        Raises:
            ModelResponseError: always.
        """
        raise ModelResponseError("failed", NOT_RECORDED)


class TracedCalls:
    """A `CallStore` that notes which requests each part of a benchmark needed, so that tokens are counted whoever answered.

    It holds all replies in memory: a benchmark has thousands, asks for most of them, and a database is slow to ask one by one.
    """

    def __init__(self, store: RunStore) -> None:
        """Read every reply that the database holds."""
        self._store = store
        self._under: set[str] = set()
        self.needed: set[str] = set()
        """The hashes of all requests answered while something was traced."""
        store.drain(30.0)
        with store.database.read() as connection:
            found = connection.execute("SELECT request_hash, reply FROM llm_calls").fetchall()
        self._known: dict[str, Mapping[str, Any]] = {request_hash: json.loads(reply) for request_hash, reply in found}

    @contextmanager
    def tracing(self) -> Iterator[set[str]]:
        """The hashes of the requests answered inside; one part at a time."""
        before, self._under = self._under, set()
        try:
            yield self._under
        finally:
            self.needed |= self._under
            self._under = before

    def holds(self, request_hash: str) -> bool:
        """See `CallStore`."""
        return request_hash in self._known

    def get(self, request_hash: str) -> Mapping[str, Any] | None:
        """See `CallStore`."""
        return self.get_many([request_hash]).get(request_hash)

    def get_many(self, request_hashes: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        """See `CallStore`."""
        found = {request_hash: self._known[request_hash] for request_hash in request_hashes if request_hash in self._known}
        self._under.update(found)
        return found

    def unusable(self, request_hash: str) -> tuple[str, str] | None:
        """See `CallStore`."""
        return self._store.unusable(request_hash)

    def record(self, call: Mapping[str, Any] | None, attempt: Mapping[str, Any]) -> None:
        """See `CallStore`."""
        self.record_many([(call, attempt)])

    def record_many(self, answered: Sequence[tuple[Mapping[str, Any] | None, Mapping[str, Any]]]) -> None:
        """See `CallStore`."""
        self._store.record_many(answered)
        self._under.update(attempt["request_hash"] for _, attempt in answered)
        self._known.update({call["request_hash"]: call["reply"] for call, _ in answered if call is not None})

    def sending(self, attempt: Mapping[str, Any]) -> int:
        """See `CallStore`."""
        return self._store.sending(attempt)

    def sent(self, ticket: int) -> None:
        """See `CallStore`."""
        self._store.sent(ticket)

    def tokens(self, request_hashes: set[str]) -> tuple[int, int, int]:
        """Input, cached and output tokens of the accepted replies to these requests."""
        self._store.drain(30.0)
        with self._store.database.read() as connection:
            row = connection.execute(
                "SELECT coalesce(sum(prompt_tokens), 0), coalesce(sum(cached_tokens), 0), coalesce(sum(completion_tokens), 0) "
                "FROM llm_calls WHERE request_hash IN (SELECT unnest($wanted))",
                {"wanted": sorted(request_hashes)},
            ).fetchone()
        assert row is not None
        return int(row[0]), int(row[1]), int(row[2])
