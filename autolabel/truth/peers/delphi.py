"""EleutherAI's delphi (v0.1.1, late 2025): 40 marked examples for a label; detection and fuzzing on 50 + 50, five to a prompt.

Kept as they are there: one list for labeler and test (`quantiles`), no splits by document, random negatives, marks at the same places in
all negatives of a feature, a pack lost whose reply is not five answers. Unlike there: text is escaped onto one line, and a reply without an
explanation is no label.
"""

import math
from collections.abc import Sequence
from random import Random
from typing import ClassVar, Literal

from autolabel import prompts
from autolabel.errors import ModelResponseError
from autolabel.records import ChatModel, ChatRequest
from autolabel.rendering import escape, mark
from autolabel.sampling import TILE_TOKENS
from autolabel.truth.nuisances import Firing
from autolabel.truth.peers.base import Answers, Pack, ProtocolPeer, Sheet, asked, rates
from autolabel.truth.peers.excerpts import Excerpt, Reader
from autolabel.truth.peers.quantiles import SAMPLER_SEED, Drawn, draw
from autolabel.truth.peers.replies import explanation, first_array
from autolabel.truth.world import World

MIN_EXAMPLES = 200
"""Tiles below which delphi leaves a feature out."""
NEGATIVES = 50
PACK = 5
MARKED_SHARE = 0.3
"""Share of an example's own largest activation above which a token is marked."""
LISTED_ACTIVATIONS = 11
ALWAYS_MARKED = TILE_TOKENS - TILE_TOKENS // 4
"""The token that is marked in every negative: where peaks would be if examples were centred."""
_LABEL_TOKENS, _ANSWER_TOKENS = 200, 32


class Delphi(ProtocolPeer):
    """delphi with one of its two scorers."""

    name = "delphi"
    chance: ClassVar[float] = 0.5

    def __init__(
        self,
        world: World,
        firings: Sequence[Firing],
        model: ChatModel,
        evidence_set_id: str,
        sae_id: str,
        seed: int,
        *,
        scorer: Literal["detection", "fuzz"] = "detection",
        leaky: bool = True,
        min_examples: int = MIN_EXAMPLES,
    ) -> None:
        """As every peer; not `leaky`, it tests on tiles that its labeler is not shown."""
        super().__init__(world, firings, model, evidence_set_id, sae_id, seed)
        self.scorer, self._leaky, self._min_examples = scorer, leaky, min_examples
        self._explain, self._judge = prompts.load("peer_delphi_explain"), prompts.load(f"peer_delphi_{scorer}")

    def _drawn(self, reader: Reader) -> Drawn:
        tiles = reader.tiles_by_strength()
        if len(tiles) < self._min_examples:
            raise ModelResponseError(
                "failed", f"it fires in {len(tiles)} tiles, and delphi leaves out features with fewer than {self._min_examples}"
            )
        return draw(tiles.tolist(), self._leaky)

    def _shown(self, feature: int) -> list[Excerpt]:
        reader = self._reader(feature)
        return [reader.tile(tile) for tile in self._drawn(reader).shown]

    def _label_request(self, feature: int, shown: Sequence[Excerpt]) -> ChatRequest:
        largest = float(self._firings[feature].values.max())
        lines = [f"Example {number}: {_described(one, largest)}" for number, one in enumerate(shown, start=1)]
        return asked(self._explain, _LABEL_TOKENS, examples="\n".join(lines))

    def _read_label(self, text: str) -> str:
        return explanation(text)

    def _sheet(self, feature: int, text: str) -> Sheet:
        reader = self._reader(feature)
        positives = [reader.tile(tile) for tile in self._drawn(reader).tested]
        silent = reader.silent_tiles().tolist()
        random = self._random(feature, "negatives")
        negatives = [reader.tile(tile) for tile in random.sample(silent, min(NEGATIVES, len(silent)))]
        lines = [(self._positive_line(one), True) for one in positives]
        wrong = wrong_marks(positives)
        lines += [(mark(one.tokens, wrong) if self.scorer == "fuzz" else escape(one.text), False) for one in negatives]
        random.shuffle(lines)
        packs = [self._pack(lines[start : start + PACK], text) for start in range(0, len(lines), PACK)]
        return Sheet(tuple(packs), tuple(positives), {"scorer": self.scorer, "leaky": self._leaky})

    def _positive_line(self, one: Excerpt) -> str:
        return mark(one.tokens, marked(one)) if self.scorer == "fuzz" else escape(one.text)

    def _pack(self, lines: Sequence[tuple[str, bool]], text: str) -> Pack:
        examples = "\n".join(f"Example {number}: {line}" for number, (line, _) in enumerate(lines))
        request = asked(self._judge, _ANSWER_TOKENS, label=text, examples=examples)
        return Pack(request, tuple(truth for _, truth in lines))

    def _read_answers(self, text: str, n: int) -> list[bool]:
        if n != PACK:
            raise ModelResponseError("unparsable", f"the last pack has {n} examples, and delphi reads replies of {PACK} only")
        return first_array(text, PACK)

    def _value(self, answers: Answers) -> float | None:
        return rates(answers)["balanced_accuracy"]


def marked(one: Excerpt) -> list[int]:
    """The places that are marked in a firing example."""
    return one.above(MARKED_SHARE * one.max_activation)


def wrong_marks(positives: Sequence[Excerpt]) -> list[int]:
    """The places that are marked in every negative: as many as tokens fire in a positive on average."""
    n = math.ceil(sum(len(one.above(0.0)) for one in positives) / max(len(positives), 1))
    others = [place for place in range(TILE_TOKENS) if place != ALWAYS_MARKED]
    return [ALWAYS_MARKED, *Random(SAMPLER_SEED).sample(others, min(max(n, 1) - 1, len(others)))]


def _described(one: Excerpt, largest: float) -> str:
    """An example with its marks, and the strengths of its marked tokens from 0 to 10 below."""
    places = marked(one)
    listed = [
        f'("{escape(one.tokens[place])}" : {min(10, math.ceil(10 * one.activations[place] / largest))})'
        for place in places[:LISTED_ACTIVATIONS]
    ]
    return f"{mark(one.tokens, places)}\nActivations: {', '.join(listed)}"
