"""A label that knows nothing but the rare words of the windows it was shown: what it scores above chance is a leak.

It names no word on which the feature fires, so it holds whatever else came with the shown windows: names, numbers, odd spellings.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from autolabel.hashing import content_id
from autolabel.metrics import auroc
from autolabel.ranking import Exam
from autolabel.records import Example, Label
from autolabel.scorers.rule import rule_value
from autolabel.truth.nuisances import Firing
from autolabel.truth.world import World
from autolabel.words import words_of

RARE_SHARE = 5e-4
"""Share of all tiles that may hold a word that counts as rare."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a rule scores, in three units that are all 0 for chance and 1 for perfect."""

    ranked: float
    """2·AUROC − 1."""
    label_score: float
    """(AP − 1/3) / (2/3), the three groups of an exam weighted equally; silent tiles of one kind stand for both of the others."""
    balanced: float
    """2·balanced accuracy − 1, a tile counting as named that holds any of its words."""


class RareWords:
    """The words of each tile, and in how many tiles each is."""

    def __init__(self, world: World) -> None:
        self._world = world
        columns = world.columns
        known: dict[str, int] = {}
        of_type = np.array([known.setdefault(word, len(known)) for word in columns.lower], dtype=np.int64)
        self._words = list(known)
        tiles = world.tile_of_token[world.places.first].astype(np.int64)
        counted = (tiles >= 0) & columns.is_word
        pairs = np.unique(tiles[counted] * len(known) + of_type[columns.kind[counted]])
        self._tile: NDArray[np.int64] = pairs // max(len(known), 1)
        self._word: NDArray[np.int64] = pairs % max(len(known), 1)
        self._n_tiles_of = np.bincount(self._word, minlength=len(known))
        self._of_type = of_type

    def of_tile(self, tile: int) -> list[str]:
        """The words of a tile, case-folded, each once; a word belongs to the tile in which it begins."""
        low, high = np.searchsorted(self._tile, [tile, tile + 1])
        return [self._words[word] for word in self._word[low:high].tolist()]

    def memorise(self, firing: Firing, shown: Iterable[int]) -> dict[str, Any]:
        """The predicate of a memoriser that is shown these tiles: their rare words, the rarer the heavier, no word that ever fires."""
        return self._memory(firing, {word for tile in shown for word in self.of_tile(tile)})

    def memorise_windows(self, firing: Firing, shown: Iterable[Example]) -> dict[str, Any]:
        """The same of a memoriser that is shown windows of an evidence set; their left context is not memorised."""
        return self._memory(firing, {word for one in shown for word in words_of(one)[one.n_context_tokens :]})

    def _memory(self, firing: Firing, words: Set[str]) -> dict[str, Any]:
        most = max(RARE_SHARE * self._world.n_tiles, 1.0)
        top = np.log(max(self._world.n_tiles, 2))
        known = sorted(word for word in words - self._fired(firing) if word in self._number)
        counts = {word: int(self._n_tiles_of[self._number[word]]) for word in known}
        weights = {word: round(float(1 - np.log(n) / top), 6) for word, n in counts.items() if 0 < n <= most}
        return {"kind": "words", "weights": weights}

    def values(self, predicate: Mapping[str, Any], tiles: Sequence[int]) -> list[float]:
        """What a predicate of words says of each tile, as `scorers.rule` has it: its largest weight, 0 where it names no word."""
        weights: Mapping[str, float] = predicate["weights"]
        return [max((weights.get(word, 0.0) for word in self.of_tile(tile)), default=0.0) for tile in tiles]

    @cached_property
    def _number(self) -> dict[str, int]:
        return {word: number for number, word in enumerate(self._words)}

    def _fired(self, firing: Firing) -> set[str]:
        """The words of which any token fires anywhere."""
        places, columns = self._world.places, self._world.columns
        words = np.searchsorted(places.first, firing.tokens, side="right") - 1
        return {self._words[number] for number in np.unique(self._of_type[columns.kind[words[words >= 0]]]).tolist()}


def memoriser_label(evidence_set_id: str, sae_id: str, feature: int, predicate: Mapping[str, Any]) -> Label:
    """A memoriser's predicate as a label of its own, for whatever scores labels by their rules."""
    return Label(
        label_id=content_id("label", [evidence_set_id, feature, "memoriser", predicate]),
        evidence_set_id=evidence_set_id,
        sae_id=sae_id,
        feature_index=feature,
        status="ok",
        method="memoriser",
        text="rare words of the windows shown",
        predicate=predicate,
        origin="baseline",
    )


def on_tiles(words: RareWords, predicate: Mapping[str, Any], firing: Sequence[int], silent: Sequence[int]) -> Reading:
    """What a predicate scores on firing and silent tiles."""
    yes, no = words.values(predicate, firing), words.values(predicate, silent)
    return _reading([*yes, *no, *no], ["firing"] * len(yes) + ["hard"] * len(no) + ["random"] * len(no))


def on_exam(predicate: Mapping[str, Any], exam: Sequence[Example]) -> Reading:
    """What a predicate scores on the fixed exam of a feature."""
    return _reading([rule_value(predicate, example) for example in exam], [str(example.stratum) for example in exam])


def _reading(values: ArrayLike, strata: Sequence[str]) -> Reading:
    array: NDArray[np.float64] = np.asarray(values, dtype=np.float64)
    fires = np.array([stratum == "firing" for stratum in strata])
    clusters = np.arange(len(strata))
    area = auroc(array, fires, clusters).value
    if area is None:
        raise ValueError(f"{int(fires.sum())} of {len(fires)} tiles fire; some that do and some that do not are needed")
    precision = float(Exam.of(strata, clusters).average_precision(array)[0])
    named = array > 0
    return Reading(2 * area - 1, (3 * precision - 1) / 2, float(named[fires].mean() - named[~fires].mean()))
