"""Texts written from a label, run through the feature's function: what the label makes a reader expect, put to the test."""

from collections.abc import Mapping

from autolabel import prompts
from autolabel.asking import ask, together
from autolabel.errors import ModelResponseError
from autolabel.parsing import parse_texts
from autolabel.records import ChatModel, ChatRequest, Purpose
from autolabel.truth.built import Built
from autolabel.truth.columns import Columns
from autolabel.truth.features import Family

TEXTS = 5
_TOKENS_PER_TEXT = 60
WRITABLE: frozenset[Family] = frozenset({"words", "form", "place", "gated", "next_token", "union", "graded"})
"""Families of which one sentence can be an instance; a topic needs a document."""


class Writer:
    """An LLM that writes texts in which a feature with a given label would fire."""

    def __init__(self, model: ChatModel, features: frozenset[int]) -> None:
        """`features` are those for which texts are written."""
        self._model = model
        self._features = features
        self._prompt = prompts.load("generate")

    async def precision(self, built: Built, labels: Mapping[int, str]) -> dict[int, float]:
        """Share of the texts on which the feature's function holds, by feature; a label from which nothing was written has none."""
        asked = [
            (index, text) for index, text in labels.items() if index in self._features and built.feature(index).family in WRITABLE
        ]
        found = await together(self._hits(built, index, text) for index, text in asked)
        return {index: share for (index, _), share in zip(asked, found, strict=True) if share is not None}

    async def _hits(self, built: Built, index: int, label: str) -> float | None:
        request = ChatRequest(
            messages=self._prompt.render(label=label, n=TEXTS),
            max_tokens=_TOKENS_PER_TEXT * TEXTS,
            prompt_hash=self._prompt.prompt_hash,
        )
        try:
            texts = await ask(self._model, request, Purpose("score", index), lambda reply: parse_texts(reply.text, TEXTS))
        except ModelResponseError:
            return None
        return sum(holds(built, index, text) for text in texts) / len(texts)


def holds(built: Built, index: int, text: str) -> bool:
    """Whether a feature's function, without its nuisances, holds anywhere in a text."""
    columns = Columns([text], ["written"], [0])
    return bool(len(columns) and built.feature(index).candidate.meaning.predicate.marks(columns).any())
