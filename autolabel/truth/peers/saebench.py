"""SAEBench's autointerp (2025): windows of 21 tokens; 10 strongest and 5 by importance for a label, 2 + 2 and 10 random ones for a score.

Kept as they are there: strongest windows without overlap, others drawn by squared activation among what is weaker than those, random
windows that count as silent unseen, one reply for all fourteen, an example answer that gives away how many fire, plain accuracy, to which
"None" comes at .71; a reply that is no list is dropped. Unlike there: documents are not cut into rows of 128 tokens, neighbouring active
tokens share a mark, and replies may be longer than 30 and 33 tokens, because here one that was cut off is no reply: of a label the first
line counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from autolabel import prompts
from autolabel.errors import ModelResponseError
from autolabel.parsing import named_numbers
from autolabel.records import ChatRequest
from autolabel.rendering import mark, numbered
from autolabel.scorers.saebench import (
    ACTIVE_SHARE,
    CHANCE,
    RANDOM,
    REACH,
    STRONGEST,
    STRONGEST_SHOWN,
    TEMPERATURE,
    WEIGHTED,
    WEIGHTED_SHOWN,
    question,
)
from autolabel.truth.peers.base import Answers, Pack, ProtocolPeer, Sheet, asked
from autolabel.truth.peers.excerpts import Excerpt, Reader
from autolabel.truth.peers.replies import activates_on

_LABEL_TOKENS = 200


@dataclass(frozen=True, slots=True)
class Windows:
    """What is drawn for one feature."""

    shown: tuple[Excerpt, ...]
    """Strongest first."""
    tested: tuple[tuple[Excerpt, bool], ...]
    """Windows with whether they count as active, shuffled."""
    least: float
    """The activation above which a token is active."""
    n_random_active: int
    """Random windows that count as silent and are active."""


class SaeBench(ProtocolPeer):
    """SAEBench's labels and its score."""

    name = "saebench"
    chance: ClassVar[float] = CHANCE

    def _windows(self, feature: int) -> Windows:
        reader, random = self._reader(feature), self._random(feature, "windows")
        strongest = [reader.around(token, REACH) for token in reader.peaks(STRONGEST, REACH, REACH)]
        if len(strongest) < STRONGEST:
            raise ModelResponseError("failed", f"it has {len(strongest)} peaks, and SAEBench needs {STRONGEST}")
        by_chance = self._random_windows(reader, random)
        weighted = self._weighted(reader, random, min(one.activations[REACH] for one in strongest))
        least = ACTIVE_SHARE * max(one.max_activation for one in strongest)
        random.shuffle(strongest)
        random.shuffle(weighted)
        shown = [*strongest[:STRONGEST_SHOWN], *weighted[:WEIGHTED_SHOWN]]
        firing = [*strongest[STRONGEST_SHOWN:], *weighted[WEIGHTED_SHOWN:]]
        tested = [(one, bool(one.above(least))) for one in firing] + [(one, False) for one in by_chance]
        random.shuffle(tested)
        active = sum(bool(one.above(least)) for one in by_chance)
        return Windows(tuple(sorted(shown, key=lambda one: -one.max_activation)), tuple(tested), least, active)

    def _random_windows(self, reader: Reader, random: Random) -> list[Excerpt]:
        """Windows around uniform places that have room for one."""
        windows: list[Excerpt] = []
        while len(windows) < RANDOM:
            place = random.randrange(self._world.n_tokens)
            if reader.has_room(place, REACH):
                windows.append(reader.around(place, REACH))
        return windows

    def _weighted(self, reader: Reader, random: Random, below: float) -> list[Excerpt]:
        """Windows whose centres are drawn by squared activation, among those weaker than every strongest one."""
        tokens, values = reader.firing.tokens, reader.firing.values.astype(np.float64)
        able = (values < below) & reader.rooms(tokens, REACH)
        if able.sum() < WEIGHTED:
            raise ModelResponseError("failed", f"it has {able.sum()} weaker activations, and SAEBench needs {WEIGHTED}")
        weights: NDArray[np.float64] = values[able] ** 2
        generator = np.random.default_rng(random.getrandbits(64))
        centres = generator.choice(tokens[able], WEIGHTED, replace=False, p=weights / weights.sum())
        return [reader.around(int(token), REACH) for token in centres]

    def _shown(self, feature: int) -> tuple[Excerpt, ...]:
        return self._windows(feature).shown

    def _label_request(self, feature: int, shown: Sequence[Excerpt]) -> ChatRequest:
        least = self._windows(feature).least
        lines = numbered(mark(one.tokens, one.above(least)) for one in shown)
        return asked(prompts.load("peer_saebench"), _LABEL_TOKENS, TEMPERATURE, examples=lines)

    def _read_label(self, text: str) -> str:
        return activates_on(text)

    def _sheet(self, feature: int, text: str) -> Sheet:
        windows = self._windows(feature)
        request = question(text, [one.text for one, _ in windows.tested], self._random(feature, "sample"))
        truths = tuple(active for _, active in windows.tested)
        positives = tuple(one for one, active in windows.tested if active)
        return Sheet((Pack(request, truths),), positives, {"n_random_active": windows.n_random_active})

    def _read_answers(self, text: str, n: int) -> list[bool]:
        return named_numbers(text, n)

    def _value(self, answers: Answers) -> float | None:
        if any(answer is None for _, answer in answers):
            return None
        return float(np.mean([answer == truth for truth, answer in answers]))
