"""What a free-text label stands for: mapped blindly to the nearest function that is known, and to the concepts it names."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autolabel.records import Embedder, Label
from autolabel.truth.bank import WordSet, groups
from autolabel.truth.baselines import spoken
from autolabel.truth.built import Built
from autolabel.truth.predicates import Predicate

NONE_BELOW = 0.35
"""Cosine below which a label is taken to mean none of the functions."""
ALIKE = 0.6
"""Cosine from which a part of a label names a word set."""
_QUOTED = re.compile(r'"([^"]+)"')
_PARTS = re.compile(r";|,| or | and | / ")


@dataclass(frozen=True, slots=True)
class Mapped:
    """The function a label was taken for; None for none."""

    text: str | None
    predicate: Predicate | None
    cosine: float


class Mapper:
    """Takes a label for the shipped label nearest to it, of whatever feature it is: it does not know whose label it reads."""

    def __init__(self, built: Built, embedder: Embedder) -> None:
        meanings = {
            one.shipped.text: one.shipped.predicate
            for shipped in built.shipped.values()
            for one in shipped
            if one.shipped.relation != "paraphrase" and one.shipped.predicate is not None
        }
        self._texts = sorted(meanings)
        self._predicates = [meanings[text] for text in self._texts]
        self._embedder = embedder
        self._vectors: NDArray[np.float32] = embedder.embed(self._texts)

    def map(self, labels: Sequence[str]) -> list[Mapped]:
        """What each label is taken for."""
        if not labels:
            return []
        cosines = self._embedder.embed(list(labels)) @ self._vectors.T
        best = cosines.argmax(axis=1)
        found = []
        for row, column in enumerate(best.tolist()):
            cosine = float(cosines[row, column])
            known = cosine >= NONE_BELOW
            found.append(Mapped(self._texts[column] if known else None, self._predicates[column] if known else None, cosine))
        return found


class ConceptReader:
    """Which word sets a label names: by the words it quotes, else by the meaning of its parts."""

    def __init__(self, embedder: Embedder) -> None:
        self._sets = [one for group in groups() for one in group.sets]
        self._embedder = embedder
        self._vectors = embedder.embed([one.label for one in self._sets])

    def recall(self, built: Built, index: int, label: Label) -> float:
        """Share of a union's places that belong to concepts which the label names (mass-weighted)."""
        concepts = built.feature(index).candidate.concepts
        mass = {concept.key: built.world.count(concept.meaning.predicate) for concept in concepts}
        named = self.named(spoken(label))
        return sum(mass[one.key] for one in concepts if one.key in named) / sum(mass.values())

    def named(self, text: str) -> set[str]:
        """Keys of the word sets that a label names."""
        quoted = {word.casefold() for word in _QUOTED.findall(text)}
        if quoted:
            return {one.key for one in self._sets if quoted & set(one.words)}
        parts = [part.strip() for part in (text, *text.split(";"), *_PARTS.split(text)) if part.strip()]
        distinct = list(dict.fromkeys(parts))
        cosines = self._embedder.embed(distinct) @ self._vectors.T
        best = cosines.argmax(axis=1)
        return {self._key(column) for row, column in enumerate(best.tolist()) if cosines[row, column] >= ALIKE}

    def _key(self, column: int) -> str:
        one: WordSet = self._sets[column]
        return one.key
