"""Plain data that passes between the parts, and the protocols behind which models and stores stand.

Nothing here imports a model library, a database or an HTTP client: the parts that do implement these protocols.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")

ExampleKind = Literal["strongest", "firing", "background", "lookalike", "neighbour", "same_document"]
Stratum = Literal["firing", "hard", "random"]
"""The three groups of an exam, weighted equally in `label_score` (validity §1)."""
STRATA: tuple[Stratum, ...] = ("firing", "hard", "random")

LabelStatus = Literal["ok", "refused", "truncated", "unparsable", "failed"]
AnswerMode = Literal["probability", "binary", "rating"]
"""What kind of number a scorer's prediction is; scores of different modes are never averaged or compared (validity §14)."""
ScorerName = Literal["detection", "fuzzing", "likelihood", "embedding", "rule", "generation", "saebench", "fade"]
"""Scorers that a run can be told to use; the last three ask questions of their own in place of the exam."""
Metric = (
    Literal["label_score", "auroc", "balanced_accuracy", "recall", "flip_rate", "lift_null", "beyond_token"]
    | Literal["precision", "population_precision", "population_recall", "pearson"]
    | Literal["label_score_shrunk", "p_value", "q_value", "p_correct"]
    | Literal["intruder", "hit_rate", "reciprocal_rank", "protocol", "clarity", "responsiveness", "purity"]
    | Literal["f1", "recovered"]
)
"""What a score says: of ranks and answers on the exam, of the whole corpus, of a label among all labels of a run, of questions beside
the exam, and of features whose meaning is known (TruthBench)."""


@dataclass(frozen=True, slots=True)
class Example:
    """A window as evidence about one feature.

    `text` is the shown text; its first `n_context_tokens` tokens are left context and the rest is the tile. `token_starts[i]`
    is the character at which token i starts, so token i is `text[token_starts[i]:token_starts[i+1]]`. `positions` index tokens
    of the window (context included); `activations` are the feature's values there, unnormalised and > 0. A tile that does not
    fire has neither.
    """

    window_id: str
    document_id: str
    source_document_id: str
    tile_index: int
    split: Split
    kind: ExampleKind
    stratum: Stratum | None
    text: str
    token_starts: tuple[int, ...]
    n_context_tokens: int
    positions: tuple[int, ...] = ()
    activations: tuple[float, ...] = ()
    max_activation: float = 0.0
    quantile: int | None = None
    sample_rank: int = 0
    in_exam: bool = False
    mark_positions: tuple[int, ...] = ()
    """Where fuzzing marks this window: the feature's own peaks where it fires, else the peaks of another feature of like rate."""

    @property
    def fires(self) -> bool:
        """Whether this window stands for the feature firing (for a dense feature: above its stated threshold)."""
        return self.stratum == "firing" or (self.stratum is None and self.kind in ("strongest", "firing"))

    @property
    def tokens(self) -> tuple[str, ...]:
        """The text of each token, context included."""
        ends = (*self.token_starts[1:], len(self.text))
        return tuple(self.text[start:end] for start, end in zip(self.token_starts, ends, strict=True))


@dataclass(frozen=True, slots=True)
class FeatureEvidence:
    """Everything a labeler or scorer may know about one feature."""

    sae_id: str
    evidence_set_id: str
    feature_index: int
    evidence_status: Literal["alive", "silent", "too_few", "dense"]
    firing_rate: float
    max_activation: float
    examples: tuple[Example, ...]

    def of(self, split: Split, *kinds: ExampleKind) -> tuple[Example, ...]:
        """The examples of one split, of the given kinds (all kinds when none is given), in stored order."""
        return tuple(e for e in self.examples if e.split == split and (not kinds or e.kind in kinds))

    def exam(self, split: Split) -> tuple[Example, ...]:
        """The fixed exam of a split: firing, hard and random tiles, the same for every label of this feature."""
        return tuple(e for e in self.examples if e.split == split and e.in_exam)


@dataclass(frozen=True, slots=True)
class Label:
    """One attempt at saying what a feature means. `text` is present exactly when `status` is `ok`."""

    label_id: str
    evidence_set_id: str
    sae_id: str
    feature_index: int
    status: LabelStatus
    method: str
    text: str | None = None
    predicate: Mapping[str, Any] | None = None
    """A rule that runs without an LLM: `{"kind": "tokens", "weights": {token text: weight}}`."""
    prompt_hash: str | None = None
    model_requested: str | None = None
    model_served: str | None = None
    request_hash: str | None = None
    sample_number: int = 0
    shown_window_ids: tuple[str, ...] = ()
    origin: Literal["run", "baseline", "imported", "human"] = "run"
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a scorer says of one example under one label: higher = more likely to fire; no value exactly when status is not ok."""

    window_id: str
    value: float | None
    status: Literal["ok", "refused", "truncated", "unparsable", "failed"] = "ok"
    error: str | None = None
    request_hash: str | None = None
    asked_again: float | None = None
    """The answer to the same question in another pack, where it was asked twice (validity §14)."""
    inclusion: float | None = None
    """Probability with which the tile was drawn for judging; None where all were."""


@dataclass(frozen=True, slots=True)
class Message:
    """One chat turn."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One chat completion, and nothing that cannot change its answer (no time-outs, no retries)."""

    messages: tuple[Message, ...]
    max_tokens: int
    temperature: float = 0.0
    top_logprobs: int = 0
    """How many alternatives to return for each answered token; 0 asks for no token probabilities."""
    json_schema: Mapping[str, Any] | None = None
    """The shape of the answer, for endpoints that can enforce one; the answer is parsed tolerantly either way."""
    seed: int | None = None
    sample_number: int = 0
    """Tells apart repeated draws of the same request above temperature 0, and re-asks after an unusable reply."""
    prompt_hash: str | None = None


@dataclass(frozen=True, slots=True)
class AnsweredToken:
    """One token of a reply with its log-probability (nats) and the alternatives the endpoint named."""

    text: str
    logprob: float
    alternatives: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ChatReply:
    """A reply that arrived whole. Whether it can be used is for the caller's parser to say."""

    text: str
    finish_reason: Literal["stop", "length", "refusal"]
    model_served: str
    tokens: tuple[AnsweredToken, ...] | None = None
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    request_hash: str = ""


@dataclass(frozen=True, slots=True)
class Purpose:
    """What a call was made for; goes into the ledger, never into the request's hash."""

    stage: Literal["probe", "calibrate", "label", "validate", "score", "null"]
    feature_index: int | None = None


class ChatModel(Protocol):
    """An LLM that answers chat turns: a remote endpoint or a local model."""

    @property
    def model_id(self) -> str:
        """Names the model in stored rows."""

    async def chat(self, request: ChatRequest, purpose: Purpose) -> ChatReply:
        """Answer `request`, from the cache when it was answered before.

        Raises:
            ModelResponseError: this reply cannot be used.
            EndpointError: no reply can be had from this endpoint.
        """


@dataclass(frozen=True, slots=True)
class Continuation:
    """Log-probability (nats, summed over `n_tokens` tokens) of a continuation after a prefix."""

    logprob: float
    n_tokens: int


class LikelihoodModel(Protocol):
    """A model that says how likely given continuations are after a text."""

    @property
    def model_id(self) -> str:
        """Names the model in stored rows."""

    def log_probabilities(self, prefix: str, continuations: Sequence[str], purpose: Purpose) -> list[Continuation]:
        """log p(continuation | prefix) for each continuation, in order; the prefix is run once."""

    def complete(self, prefix: str, n: int, max_tokens: int, seed: int, purpose: Purpose) -> list[str]:
        """`n` continuations of `prefix`, the first greedy and the rest sampled from `seed`, each cut at the first line end."""


class Embedder(Protocol):
    """A sentence-embedding model."""

    @property
    def model_id(self) -> str:
        """Names the model in stored rows."""

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors, shape (n_texts, d)."""


class Subject(Protocol):
    """The model whose features are labelled, together with what reads its features off: text in, activations of every feature out."""

    def feature_activations(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The largest activation of every feature in each text, shape (n_texts, d_sae), 0 where it is silent.

        Tokens that count for nothing in collected evidence (special ones, outliers of norm) count for nothing here. Safe to call
        from several threads.
        """


class CallStore(Protocol):
    """Where replies are kept so that nothing is paid for twice. Values are JSON-ready mappings; safe to use from several threads."""

    def holds(self, request_hash: str) -> bool:
        """Whether this request may have been answered before: never wrongly no, seldom wrongly yes; opens no file."""

    def get(self, request_hash: str) -> Mapping[str, Any] | None:
        """The accepted reply to this request, or None."""

    def get_many(self, request_hashes: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        """The accepted replies to those of these requests that have one, with one read."""

    def unusable(self, request_hash: str) -> tuple[str, str] | None:
        """Status and message of the refused or truncated reply that an unfinished run of the same job was given, or None."""

    def record(self, call: Mapping[str, Any] | None, attempt: Mapping[str, Any]) -> None:
        """Keep an attempt and, when it was accepted, its reply; returns once both are safe from a crash."""

    def record_many(self, answered: Sequence[tuple[Mapping[str, Any] | None, Mapping[str, Any]]]) -> None:
        """`record` for several at once, with one write to the disk."""

    def sending(self, attempt: Mapping[str, Any]) -> int:
        """Note that an attempt is being sent, so that a crash leaves a trace of it; a ticket for `sent`."""

    def sent(self, ticket: int) -> None:
        """The attempt's outcome is recorded."""
