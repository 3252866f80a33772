"""Neuronpedia (2026): a label from lists of the strongest tokens, and its `recall_alt` score from the 20 strongest texts.

Kept as they are there: labeler and score read the same strongest texts; the judge sees the activations and says whether the label fits
them; beside at most five silent texts stand five decoys that are the same for every feature; plain accuracy, to which a judge who always
agrees comes at .67; a reply that cannot be read counts as disagreement. Unlike there: no logits (functions have none), activations
rounded to one decimal place, silent texts drawn at random where Neuronpedia has whatever lies in its database.
"""

import json
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from autolabel import prompts
from autolabel.errors import ModelResponseError
from autolabel.prompts import Prompt
from autolabel.records import ChatRequest
from autolabel.rendering import escape
from autolabel.truth.peers.base import Answers, Pack, ProtocolPeer, Sheet, asked
from autolabel.truth.peers.excerpts import Excerpt, Reader
from autolabel.truth.peers.replies import explanation, match

SHOWN, TESTED, SILENT = 10, 20, 5
REACH = 24
"""Tokens to either side of a peak."""
DECOYS: tuple[tuple[tuple[str, ...], tuple[int, ...]], ...] = (
    (("The", " parcel", " from", " Lisbon", " came", " on", " Friday", ",", " two", " weeks", " late", "."), (3, 8)),
    ((" x", " =", " rows", "[", "0", "]", " if", " rows", " else", " None"), (6,)),
    ((" Water", " boils", " sooner", " in", " the", " mountains", ",", " so", " eggs", " take", " longer"), (5,)),
    (("Category", ":", " Lighthouses", " built", " in", " the", " 1890s"), (1,)),
    ((" the", " jury", " did", " not", " believe", " a", " word", " of", " it"), (4, 7)),
)
"""Made-up documents and where an imagined neuron fires in them, at 10."""
_DRAWS = 200
_LABEL_TOKENS, _ANSWER_TOKENS = 300, 200


class Neuronpedia(ProtocolPeer):
    """Neuronpedia's labels from maximal activations, and its own score."""

    name = "neuronpedia"
    chance: ClassVar[float] = TESTED / (TESTED + SILENT + len(DECOYS))

    def _shown(self, feature: int) -> list[Excerpt]:
        return self._strongest(self._reader(feature), SHOWN)

    def _strongest(self, reader: Reader, n: int) -> list[Excerpt]:
        """The texts around the strongest peaks, of which no two share a token or are the same."""
        found = {one.text: one for token in reader.peaks(2 * n, 2 * REACH) if (one := reader.around(token, REACH)).fires}
        if not found:
            raise ModelResponseError("failed", "it fires nowhere")
        return list(found.values())[:n]

    def _label_request(self, feature: int, shown: Sequence[Excerpt]) -> ChatRequest:
        after = [one.tokens[one.peak + 1] if one.peak + 1 < len(one.tokens) else "" for one in shown]
        return asked(
            _prompt("peer_neuronpedia"),
            _LABEL_TOKENS,
            after="\n".join(escape(token.strip()) for token in after),
            tokens="\n".join(escape(one.tokens[one.peak].strip()) for one in shown),
            texts="\n".join(escape(one.text) for one in shown),
        )

    def _read_label(self, text: str) -> str:
        return explanation(text)

    def _sheet(self, feature: int, text: str) -> Sheet:
        reader = self._reader(feature)
        positives = self._strongest(reader, TESTED)
        silent = self._silent(feature, reader)
        decoys = [Excerpt(-1, tokens, tuple(10.0 * (i in fires) for i in range(len(tokens)))) for tokens, fires in DECOYS]
        packs = [Pack(_record(one, text), (True,)) for one in positives]
        packs += [Pack(_record(one, text), (False,)) for one in [*silent, *decoys]]
        return Sheet(tuple(packs), tuple(positives), {"n_silent": len(silent), "n_decoys": len(decoys)})

    def _silent(self, feature: int, reader: Reader) -> list[Excerpt]:
        """Texts of random places in which the feature does not fire; fewer than five where they are hard to find."""
        random = self._random(feature, "silent")
        places = (random.randrange(self._world.n_tokens) for _ in range(_DRAWS))
        silent = (one for place in places if not (one := reader.around(place, REACH)).fires)
        return [one for one, _ in zip(silent, range(SILENT), strict=False)]

    def _read_answers(self, text: str, n: int) -> list[bool]:
        return [match(text)] * n

    def _value(self, answers: Answers) -> float | None:
        if all(answer is None for _, answer in answers):
            return None
        return float(np.mean([bool(answer) == truth for truth, answer in answers]))


def _record(one: Excerpt, label: str) -> ChatRequest:
    """One text with its activations, the largest of which is 10, and the label."""
    largest = one.max_activation or 1.0
    pairs = [
        {"token": token, "activation": _short(10 * value / largest)}
        for token, value in zip(one.tokens, one.activations, strict=True)
    ]
    record = json.dumps({"activations": pairs, "explanation": label}, separators=(",", ":"), ensure_ascii=False)
    return asked(_prompt("peer_neuronpedia_score"), _ANSWER_TOKENS, record=record)


def _short(value: float) -> float | int:
    rounded = round(value, 1)
    return int(rounded) if rounded == int(rounded) else rounded


def _prompt(role: str) -> Prompt:
    return prompts.load(role)
