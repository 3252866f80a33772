"""What every protocol of others has in common: one question for a label, packs of questions for a score, and what both cost."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, ClassVar, Protocol

from autolabel.asking import ask, together
from autolabel.errors import ModelResponseError
from autolabel.hashing import content_id
from autolabel.prompts import Prompt
from autolabel.records import ChatModel, ChatReply, ChatRequest, Label, Purpose
from autolabel.truth.nuisances import Firing
from autolabel.truth.peers.excerpts import Excerpt, Reader, n_shared
from autolabel.truth.world import World

CountTokens = Callable[[str], int]


@dataclass(frozen=True, slots=True)
class PeerScore:
    """What a protocol makes of a label."""

    value: float | None
    """In the protocol's own unit, higher is better, at most 1; None where it gives no score."""
    chance: float
    """The best that answers can come to which are the same for every example."""
    n_examples: int
    n_failed: int
    """Examples without a usable answer."""
    n_calls: int
    shared: int
    """Test positives that share a token with a text which the protocol's labeler is shown."""
    details: dict[str, Any] = field(default_factory=dict)
    """More numbers, ready for JSON."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Requests, and tokens of what they say (a chat template adds a few to each message)."""

    label_calls: int
    label_tokens: int
    score_calls: int
    score_tokens: int


class Peer(Protocol):
    """A protocol that labels features and scores labels."""

    @property
    def name(self) -> str:
        """Names it in tables, and as the method of its labels."""

    async def label(self, feature: int) -> Label:
        """Its label for a feature, or the status and error of the attempt."""

    async def score(self, feature: int, text: str, purpose: Purpose) -> PeerScore:
        """Its score of a label for a feature."""

    def cost(self, feature: int, text: str, count_tokens: CountTokens) -> Cost:
        """What `label` and `score` send, without sending it."""


@dataclass(frozen=True, slots=True)
class Pack:
    """One request of a score, and whether the right answer is yes for each of its examples."""

    request: ChatRequest
    truths: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class Sheet:
    """All packs of a score."""

    packs: tuple[Pack, ...]
    positives: tuple[Excerpt, ...]
    details: dict[str, Any] = field(default_factory=dict)


Answers = list[tuple[bool, bool | None]]
"""The right answer with the one given, or None, for every example."""


class ProtocolPeer(ABC):
    """A peer that asks one question for a label and judges examples in packs, each asked once."""

    name: ClassVar[str]
    chance: ClassVar[float]

    def __init__(
        self, world: World, firings: Sequence[Firing], model: ChatModel, evidence_set_id: str, sae_id: str, seed: int
    ) -> None:
        """`firings` holds what every feature fires on, by its number."""
        self._world, self._firings, self._model = world, firings, model
        self._evidence_set_id, self._sae_id, self._seed = evidence_set_id, sae_id, seed

    async def label(self, feature: int) -> Label:
        """Ask once; a reply that cannot be used is recorded as what it was."""
        request: ChatRequest | None = None
        shown: Sequence[Excerpt] = ()
        try:
            shown = self._shown(feature)
            request = self._label_request(feature, shown)
            reply, text = await ask(
                self._model, request, Purpose("label", feature), lambda reply: (reply, self._read_label(reply.text)), attempts=1
            )
        except ModelResponseError as error:
            return self._recorded(feature, request, shown, status=error.status, error=str(error))
        return self._recorded(
            feature, request, shown, status="ok", text=text, model_served=reply.model_served, request_hash=reply.request_hash
        )

    async def score(self, feature: int, text: str, purpose: Purpose) -> PeerScore:
        """Ask all packs at once; a pack whose reply cannot be used is without answers."""
        try:
            sheet = self._sheet(feature, text)
        except ModelResponseError as error:
            return PeerScore(None, self.chance, 0, 0, 0, 0, {"left_out": str(error)})
        found = await together(self._answers(pack, purpose) for pack in sheet.packs)
        answers = [pair for pack in found for pair in pack]
        return PeerScore(
            value=self._value(answers),
            chance=self.chance,
            n_examples=len(answers),
            n_failed=sum(answer is None for _, answer in answers),
            n_calls=len(sheet.packs),
            shared=n_shared(sheet.positives, self._shown(feature)),
            details=sheet.details | rates(answers),
        )

    def cost(self, feature: int, text: str, count_tokens: CountTokens) -> Cost:
        """What would be sent; nothing where the protocol leaves the feature out."""
        try:
            label = [self._label_request(feature, self._shown(feature))]
            packs = [pack.request for pack in self._sheet(feature, text).packs]
        except ModelResponseError:
            return Cost(0, 0, 0, 0)
        label_tokens, score_tokens = (
            sum(count_tokens(message.content) for request in requests for message in request.messages)
            for requests in (label, packs)
        )
        return Cost(len(label), label_tokens, len(packs), score_tokens)

    @abstractmethod
    def _shown(self, feature: int) -> Sequence[Excerpt]:
        """What the labeler is shown. Raises ModelResponseError where the protocol leaves the feature out, as the next does."""

    @abstractmethod
    def _label_request(self, feature: int, shown: Sequence[Excerpt]) -> ChatRequest:
        """The question for a label."""

    @abstractmethod
    def _read_label(self, text: str) -> str:
        """The label in a reply. Raises ModelResponseError where there is none."""

    @abstractmethod
    def _sheet(self, feature: int, text: str) -> Sheet:
        """The questions for a score. Raises ModelResponseError where the protocol leaves the feature out."""

    @abstractmethod
    def _read_answers(self, text: str, n: int) -> list[bool]:
        """The answers in a reply. Raises ModelResponseError where they cannot be told."""

    @abstractmethod
    def _value(self, answers: Answers) -> float | None:
        """The score that the answers come to."""

    def _reader(self, feature: int) -> Reader:
        return Reader(self._world, self._firings[feature])

    def _random(self, feature: int, what: str) -> Random:
        """Draws for one purpose and feature, the same in every run."""
        return Random(int(content_id("peer", [self.name, what, self._seed, feature])[:15], 16))

    async def _answers(self, pack: Pack, purpose: Purpose) -> Answers:
        def read(reply: ChatReply) -> list[bool]:
            return self._read_answers(reply.text, len(pack.truths))

        answers: Sequence[bool | None]
        try:
            answers = await ask(self._model, pack.request, purpose, read, attempts=1)
        except ModelResponseError:
            answers = [None] * len(pack.truths)
        return list(zip(pack.truths, answers, strict=True))

    def _recorded(self, feature: int, request: ChatRequest | None, shown: Sequence[Excerpt], **outcome: Any) -> Label:
        prompt_hash = request.prompt_hash if request else None
        firsts = [excerpt.first for excerpt in shown]
        determinants = [self._evidence_set_id, feature, self.name, prompt_hash, self._model.model_id, 0, firsts, self._seed]
        return Label(
            label_id=content_id("label", determinants),
            evidence_set_id=self._evidence_set_id,
            sae_id=self._sae_id,
            feature_index=feature,
            method=self.name,
            prompt_hash=prompt_hash,
            model_requested=self._model.model_id,
            origin="baseline",
            **outcome,
        )


def asked(prompt: Prompt, max_tokens: int, temperature: float = 0.0, **variables: object) -> ChatRequest:
    """A prompt, filled, as a request."""
    return ChatRequest(prompt.render(**variables), max_tokens, temperature, prompt_hash=prompt.prompt_hash)


def rates(answers: Answers) -> dict[str, float | None]:
    """The share of answered positives that got a yes, that of negatives that got a no, and balanced and plain accuracy."""
    hits = [answer for truth, answer in answers if truth and answer is not None]
    rejects = [not answer for truth, answer in answers if not truth and answer is not None]
    recall, specificity = _share(hits), _share(rejects)
    balanced = None if recall is None or specificity is None else (recall + specificity) / 2
    return {"recall": recall, "specificity": specificity, "balanced_accuracy": balanced, "accuracy": _share(hits + rejects)}


def _share(flags: Sequence[bool]) -> float | None:
    return sum(flags) / len(flags) if flags else None
