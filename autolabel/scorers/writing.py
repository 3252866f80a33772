"""Texts that an LLM writes from a label: what a reader of the label expects the feature to fire on.

Two scorers use them, and a text that was written for one is written for the other: the request is the same.
"""

from dataclasses import dataclass

from autolabel import prompts
from autolabel.asking import ask
from autolabel.errors import ModelResponseError
from autolabel.parsing import parse_texts
from autolabel.records import ChatModel, ChatReply, ChatRequest, Label, Purpose
from autolabel.rendering import escape

TEXTS = 6
"""Texts written from each label."""
TOKENS_PER_TEXT = 60
"""Room for each in a reply."""


@dataclass(frozen=True, slots=True)
class Texts:
    """What was written from one label."""

    texts: tuple[str, ...]
    n_lacking: int
    """How many fewer they are than were asked for."""
    request_hash: str


class Writer:
    """An LLM that writes texts in which a feature with a given label would fire."""

    def __init__(self, model: ChatModel, n: int = TEXTS) -> None:
        """`n` texts are asked for."""
        self._model, self.n = model, n
        self._prompt = prompts.load("generate")

    @property
    def prompt_hash(self) -> str:
        """Names the prompt."""
        return self._prompt.prompt_hash

    async def write(self, label: Label, purpose: Purpose) -> Texts:
        """Ask for the texts of a label, again where less than half of them arrived.

        The label is shown on one line with line ends and marks escaped: whatever it says, it is a label.

        Raises:
            ModelResponseError: no reply could be used.
        """
        request = ChatRequest(
            messages=self._prompt.render(label=escape(label.text or ""), n=self.n),
            max_tokens=TOKENS_PER_TEXT * self.n,
            prompt_hash=self._prompt.prompt_hash,
        )
        return await ask(self._model, request, purpose, self._read)

    def _read(self, reply: ChatReply) -> Texts:
        texts = tuple(parse_texts(reply.text, self.n))
        if 2 * len(texts) < self.n:
            raise ModelResponseError("unparsable", f"the reply holds {len(texts)} of {self.n} texts: {reply.text[:80]!r}")
        return Texts(texts, self.n - len(texts), reply.request_hash)
