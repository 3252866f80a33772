"""The words of a feature's train windows, one after the other, and which of them it fires on: what rules are induced from.

The invariant: only train windows are read, and the half that a word belongs to follows from its source document alone.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from autolabel.hashing import content_id
from autolabel.predicates import LONGEST_ENTRY, SPAN, Window
from autolabel.records import Example, FeatureEvidence

ECHO = 0.75
"""A word that fires right behind another one, at most so strongly beside it, is taken for its echo: a feature often smears on."""
MOST_WEIGHT = 20.0
"""Most that a word of a silent tile counts for: of a rare feature it would be thousands, on the word of ten tiles."""


@dataclass(frozen=True, slots=True)
class Occurrence:
    """A word where it stands."""

    word: str | None
    """Case-folded, as are the next two; None for a word too long for a rule, or beyond the window's edge."""
    word_before: str | None
    word_after: str | None
    written: str
    written_before: str | None
    written_after: str | None
    near: frozenset[str]
    """The other words within `SPAN` words, case-folded."""
    fires: bool
    weight: float
    """How many words of the text it stands for, against one of a firing window: more where it is of a tile drawn at random."""
    half: int
    """0 or 1, by source document."""


class Part:
    """Some of the occurrences, with what usually stands near a word among them."""

    def __init__(self, words: Sequence[Occurrence]) -> None:
        self.words = words
        self.fires = [one for one in words if one.fires]
        self.silent = [one for one in words if not one.fires]
        self.read: dict[tuple[str, ...], Any] = {}
        """What was read from them already, by what was asked."""

    @cached_property
    def near_silent(self) -> Counter[str]:
        """For each word, near how many of the silent occurrences it stands."""
        return Counter(word for one in self.silent for word in one.near)


class Text:
    """All occurrences in the tiles of a feature's train windows; echoes of firing words are left out."""

    def __init__(self, evidence: FeatureEvidence) -> None:
        windows = read_windows(evidence)
        self.n_firing = sum(example.fires for example in windows)
        """Windows that fire."""
        n_random = sum(example.stratum == "random" for example in windows)
        rate = min(max(evidence.firing_rate, 1e-6), 1.0)
        stands_for = (1 - rate) / rate * self.n_firing / max(n_random, 1)
        self._silent_weight = min(max(stands_for, 1.0), MOST_WEIGHT)
        self.words: list[Occurrence] = []
        for example in windows:
            self._read(example)

    @cached_property
    def whole(self) -> Part:
        """All occurrences."""
        return Part(self.words)

    @cached_property
    def halves(self) -> tuple[Part, Part]:
        """The occurrences of either half of the source documents."""
        return Part([one for one in self.words if one.half == 0]), Part([one for one in self.words if one.half == 1])

    def _read(self, example: Example) -> None:
        window = Window(example)
        strength = _strengths(example, window)
        in_tile = {window.word[position] for position in range(example.n_context_tokens, len(window.word))}
        half = int(content_id("half", example.source_document_id)[:4], 16) % 2
        weight = self._silent_weight if example.stratum == "random" else 1.0
        written, folded = window.written, window.folded
        known = [word if len(word) <= LONGEST_ENTRY else None for word in folded]
        for i in range(len(written)):
            is_echo = i > 0 and 0 < strength[i] <= ECHO * strength[i - 1]
            if i not in in_tile or is_echo:
                continue
            self.words.append(
                Occurrence(
                    word=known[i],
                    word_before=known[i - 1] if i > 0 else None,
                    word_after=known[i + 1] if i + 1 < len(known) else None,
                    written=written[i],
                    written_before=written[i - 1] if i > 0 else None,
                    written_after=written[i + 1] if i + 1 < len(written) else None,
                    near=frozenset(folded[max(i - SPAN, 0) : i] + folded[i + 1 : i + SPAN + 1]),
                    fires=strength[i] > 0,
                    weight=weight,
                    half=half,
                )
            )


def read_windows(evidence: FeatureEvidence) -> list[Example]:
    """The train windows that rules are induced from, each once: firing ones, the strongest, and silent ones of either group."""
    train = evidence.of("train")
    found = {e.window_id: e for e in train if e.fires or e.stratum in ("hard", "random")}
    return [found[window_id] for window_id in sorted(found)]


def _strengths(example: Example, window: Window) -> list[float]:
    """By word, the largest activation on its tokens; 0 throughout a window that counts as silent."""
    strengths = [0.0] * len(window.written)
    for position, activation in zip(example.positions, example.activations, strict=True):
        word = window.word[position]
        if word >= 0 and example.fires:
            strengths[word] = max(strengths[word], activation)
    return strengths
