"""Who says whether a label is the right one: a forced choice among ten, by a model that is never the one under test (validity §10)."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from autolabel import prompts
from autolabel.asking import ask, together
from autolabel.errors import ModelResponseError
from autolabel.hashing import content_id
from autolabel.parsing import parse_choice
from autolabel.records import ChatModel, ChatRequest, Embedder, Purpose
from autolabel.truth.features import TruthFeature
from autolabel.truth.selection import OPTIONS

_ANSWER_TOKENS = 4


class Referee(Protocol):
    """Chooses among options the one that means what a label means."""

    @property
    def model_id(self) -> str:
        """The model that chooses."""

    async def choose(self, asked: Sequence[tuple[int, str, Sequence[str]]]) -> list[int | None]:
        """For each (feature, label, options): the number of the option chosen; None where no usable answer came."""


def options_of(feature: TruthFeature) -> list[str]:
    """The ten options: the right label, near-misses and wrong ones, shuffled by hash."""
    texts = [feature.label, *(one.text for one in feature.labels if one.relation not in ("true", "paraphrase"))]
    distinct = list(dict.fromkeys(texts))[:OPTIONS]
    return sorted(distinct, key=lambda text: content_id("option", [feature.candidate.family, feature.candidate.key, text]))


class EmbeddingReferee:
    """The option whose embedding is nearest."""

    def __init__(self, model: Embedder) -> None:
        self._model = model

    @property
    def model_id(self) -> str:
        """The encoder."""
        return self._model.model_id

    async def choose(self, asked: Sequence[tuple[int, str, Sequence[str]]]) -> list[int | None]:
        """See `Referee`; always answers."""
        texts = list(dict.fromkeys(text for _, label, options in asked for text in (label, *options)))
        place = {text: number for number, text in enumerate(texts)}
        vectors = self._model.embed(texts)
        return [int(np.argmax(vectors[[place[o] for o in options]] @ vectors[place[label]])) for _, label, options in asked]


class ChoosingReferee:
    """A chat model that is shown the label and the numbered options."""

    def __init__(self, model: ChatModel) -> None:
        self._model = model
        self._prompt = prompts.load("choose")

    @property
    def model_id(self) -> str:
        """The chat model."""
        return self._model.model_id

    async def choose(self, asked: Sequence[tuple[int, str, Sequence[str]]]) -> list[int | None]:
        """See `Referee`."""
        return await together(self._choose(*one) for one in asked)

    async def _choose(self, feature: int, label: str, options: Sequence[str]) -> int | None:
        shown = "\n".join(f"{number}. {option}" for number, option in enumerate(options))
        request = ChatRequest(
            messages=self._prompt.render(label=label, options=shown),
            max_tokens=_ANSWER_TOKENS,
            prompt_hash=self._prompt.prompt_hash,
        )
        try:
            return await ask(self._model, request, Purpose("score", feature), lambda reply: parse_choice(reply.text, len(options)))
        except ModelResponseError:
            return None
