"""`detection` and `fuzzing`: an LLM is asked of each tile whether the label fits it, or whether its marked words do.

Tiles are packed into prompts at random, without a word on how many fire; one in twenty is asked again in another pack, and how often
the answer flips is stored (validity §14). Small models lose track of packs and are asked about one tile at a time, with nothing to
ask again. Texts come before the label in a prompt, so every label judged on the same tiles shares
the prompt's beginning and a server's prefix cache serves it. Where the endpoint gives token probabilities the prediction is
P(1) / (P(0) + P(1)), else the answer itself; the two are never mixed within a score.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from autolabel import prompts
from autolabel.asking import ask, together
from autolabel.errors import ModelResponseError
from autolabel.hashing import combine
from autolabel.parsing import answer_probabilities, parse_answers
from autolabel.records import AnswerMode, ChatModel, ChatReply, ChatRequest, Example, Label, Message, Prediction, Purpose
from autolabel.rendering import marked_line, numbered, plain_line
from autolabel.scorers.base import ScorerInfo

ASKED_AGAIN = 0.05
"""Share of tiles asked a second time, in another pack."""
_TOP_LOGPROBS = 5
_TOKENS_PER_ANSWER = 3
_PACK_SALT, _AGAIN_SALT = 31, 32
_RENDER: dict[str, Callable[[Example], str]] = {
    "detection": plain_line,
    "fuzzing": lambda example: marked_line(example, example.mark_positions),
}


class JudgeScorer:
    """Asks a chat model about packs of tiles."""

    def __init__(
        self,
        name: Literal["detection", "fuzzing"],
        model: ChatModel,
        answer_mode: AnswerMode,
        tiles_per_prompt: int,
        seed: int,
        tiles_per_group: int | None = None,
    ) -> None:
        """`tiles_per_group` of an exam are judged, all when None."""
        self._model = model
        self._render = _RENDER[name]
        self._tiles_per_prompt = tiles_per_prompt
        self._seed = seed
        self._prompt = prompts.load(name if tiles_per_prompt > 1 else f"{name}_one")
        settings = {"tiles_per_prompt": tiles_per_prompt, "seed": seed} | ({"json_schema": True} if tiles_per_prompt > 1 else {})
        self.info = ScorerInfo(
            name, model.model_id, answer_mode, self._prompt.prompt_hash, settings, tiles_per_group=tiles_per_group
        )

    async def predict(self, labels: Sequence[Label], examples: Sequence[Example], purpose: Purpose) -> list[list[Prediction]]:
        """Judge every label on the same packs, all at once, but begun pack by pack: where few requests fit into the endpoint, those
        that share a pack's texts follow each other while the texts are still cached there."""
        packs = self._packs(examples, _PACK_SALT)
        every = [*packs, *self._packs(self._asked_again(examples), _AGAIN_SALT)]
        answers = await together(
            self._judge(label, pack, texts, purpose)
            for pack, texts in zip(every, map(self._shown, every), strict=True)
            for label in labels
        )
        by_label = [answers[row :: len(labels)] for row in range(len(labels))]
        return [_in_order(examples, found[: len(packs)], found[len(packs) :]) for found in by_label]

    def _packs(self, examples: Sequence[Example], salt: int) -> list[list[Example]]:
        """Examples in packs of at most `tiles_per_prompt`, shuffled by the hash of their windows."""
        shuffled = sorted(examples, key=lambda example: self._draw(example, salt))
        if not shuffled:
            return []
        n_packs = -(-len(shuffled) // self._tiles_per_prompt)
        return [list(pack) for pack in np.array_split(np.array(shuffled, dtype=object), n_packs)]

    def _asked_again(self, examples: Sequence[Example]) -> list[Example]:
        n = round(ASKED_AGAIN * len(examples)) if self._tiles_per_prompt > 1 else 0
        return sorted(examples, key=lambda example: self._draw(example, _AGAIN_SALT))[:n]

    def _draw(self, example: Example, salt: int) -> int:
        return int(combine(salt, self._seed, int(example.window_id[:16], 16)))

    def _shown(self, pack: Sequence[Example]) -> str:
        """The texts of a pack as every label's prompt shows them."""
        lines = map(self._render, pack)
        return next(lines) if self._tiles_per_prompt == 1 else numbered(lines)

    async def _judge(self, label: Label, pack: Sequence[Example], texts: str, purpose: Purpose) -> dict[str, Prediction]:
        n = len(pack)
        request = ChatRequest(
            messages=self._messages(label, texts, n),
            max_tokens=_TOKENS_PER_ANSWER * n + 8,
            top_logprobs=_TOP_LOGPROBS if self.info.answer_mode == "probability" else 0,
            json_schema=answer_schema(n) if n > 1 else None,
            prompt_hash=self._prompt.prompt_hash,
        )
        try:
            reply, values = await ask(self._model, request, purpose, lambda reply: self._values(reply, n))
        except ModelResponseError as error:
            return {e.window_id: Prediction(e.window_id, None, error.status, str(error)) for e in pack}
        return {
            e.window_id: Prediction(e.window_id, value, request_hash=reply.request_hash)
            for e, value in zip(pack, values, strict=True)
        }

    def _messages(self, label: Label, texts: str, n: int) -> tuple[Message, ...]:
        if self._tiles_per_prompt == 1:
            return self._prompt.render(text=texts, label=label.text)
        return self._prompt.render(texts=texts, label=label.text, n=n)

    def _values(self, reply: ChatReply, n: int) -> tuple[ChatReply, list[float]]:
        answers = parse_answers(reply, n)
        if self.info.answer_mode == "binary":
            return reply, [float(answer) for answer in answers]
        probabilities = answer_probabilities(reply, n)
        if probabilities is None:
            raise ModelResponseError("unparsable", "the reply carries no token probabilities for its answers")
        return reply, [round(p, 6) for p in probabilities]


def answer_schema(n: int) -> dict[str, Any]:
    """JSON schema of the answers to a pack of `n` tiles, for endpoints that hold an LLM to one."""
    return {"type": "array", "items": {"type": "integer", "enum": [0, 1]}, "minItems": n, "maxItems": n}


def _in_order(
    examples: Sequence[Example], first: Sequence[dict[str, Prediction]], again: Sequence[dict[str, Prediction]]
) -> list[Prediction]:
    """One label's answers, found pack by pack, in the order of the examples."""
    answers, second = ({window_id: p for pack in found for window_id, p in pack.items()} for found in (first, again))
    return [_joined(answers[e.window_id], second.get(e.window_id)) for e in examples]


def _joined(first: Prediction, again: Prediction | None) -> Prediction:
    if again is None or again.value is None or first.value is None:
        return first
    return Prediction(first.window_id, first.value, first.status, first.error, first.request_hash, again.value)
