"""From a function's marks to activations as real features show them: misses, false fires, strengths, smear, absorption.

Everything is drawn by the hash of (feature, document, place), so that text in another order changes nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.special
from numpy.typing import NDArray

from autolabel.hashing import combine, content_id
from autolabel.sampling import TILE_TOKENS
from autolabel.truth.columns import Columns, Mask
from autolabel.truth.features import Candidate, Nuisances

MISSES, FALSE_FIRES, SPREADS = (0.0, 0.1, 0.3), (0.0, 0.2), (0.3, 0.8)
_MISS_SALT, _FALSE_SALT, _STRENGTH_SALT = 71, 72, 73
CROWDED = 2
"""Words marked in each stretch of 32 tokens from which on a feature counts as firing on stretches, not on words."""
GRADED_SPREAD = 0.1
_SCALE = 4.0
"""Typical activation; the unit means nothing."""


@dataclass(frozen=True, slots=True)
class Firing:
    """Where a feature fires, ascending by token, and how strongly; shapes (n,)."""

    tokens: NDArray[np.int64]
    """Number of the token among all tokens of the text."""
    values: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class TokenPlaces:
    """Which tokens the words of columns are made of; shapes (n_words,)."""

    first: NDArray[np.int64]
    last: NDArray[np.int64]
    ends_document: Mask
    """Whether the word's last token is the last of its document."""


def drawn_nuisances(candidate: Candidate, number: int, seed: int, absorbed: str | None) -> Nuisances:
    """The nuisances of the feature that is `number`-th of its family: misses, false fires and spread in every combination.

    A null feature and a graded one have none but what their own function brings: the first misses nothing, the second says with its
    strength what is meant.
    """
    if candidate.family == "null":
        return Nuisances(spread=SPREADS[number % 2])
    code = int(content_id("nuisances", [candidate.family, seed])[:8], 16) + number
    miss, rest = MISSES[code % 3], code // 3
    return Nuisances(
        miss=miss,
        false_fires=FALSE_FIRES[rest % 2],
        spread=GRADED_SPREAD if candidate.magnitude else SPREADS[(rest // 2) % 2],
        smear=(code % 4 == 3),
        last_piece=(code % 5 == 4),
        absorbed=absorbed if (code % 7 < 2) else None,
    )


def fired(marks: Mask, columns: Columns, places: TokenPlaces, nuisances: Nuisances, key: int, magnitude: str | None) -> Firing:
    """The activations of a feature that a function marks; `key` tells its draws from other features'."""
    marks = marks & ~columns.among([nuisances.absorbed]) if nuisances.absorbed else marks
    document, place = columns.names[columns.document], columns.place.astype(np.uint64)
    kept = marks.copy()
    if nuisances.miss:
        kept &= _uniform(_MISS_SALT, key, document, place) >= nuisances.miss
    if nuisances.false_fires:
        rate = nuisances.false_fires * _places(marks, places) / max(int((~marks & columns.is_word).sum()), 1)
        kept |= ~marks & columns.is_word & (_uniform(_FALSE_SALT, key, document, place) < rate)
    words = np.flatnonzero(kept)
    noise = scipy.special.ndtri(np.clip(_uniform(_STRENGTH_SALT, key, document[words], place[words]), 1e-9, 1 - 1e-9))
    graded = np.ones(len(words)) if magnitude is None else MAGNITUDES[magnitude](columns, words)
    values = (_SCALE * graded * np.exp(nuisances.spread * noise)).astype(np.float32)
    tokens = (places.last if nuisances.last_piece else places.first)[words]
    return _smeared(tokens, values, places, words) if nuisances.smear else Firing(tokens, values)


def _places(marks: Mask, places: TokenPlaces) -> int:
    """How many places a feature fires at; one that fires on most words of a stretch counts as many as there are stretches of 32 tokens,
    or its false fires, spread over all text, would outnumber the tiles that it fires in."""
    n_words = int(marks.sum())
    n_stretches = len(np.unique(places.first[marks] // TILE_TOKENS))
    return n_words if n_words < CROWDED * n_stretches else n_stretches


def _smeared(tokens: NDArray[np.int64], values: NDArray[np.float32], places: TokenPlaces, words: NDArray[np.int64]) -> Firing:
    """Also fire, at half strength, on the next token of the document where nothing else fires."""
    follows = ~(places.ends_document[words] & (tokens == places.last[words]))
    after, halves = tokens[follows] + 1, values[follows] / 2
    free = ~np.isin(after, tokens)
    joined, strengths = np.concatenate([tokens, after[free]]), np.concatenate([values, halves[free]])
    order = np.argsort(joined)
    return Firing(joined[order], strengths[order].astype(np.float32))


def _uniform(*parts: NDArray[np.uint64] | int) -> NDArray[np.float64]:
    uniform: NDArray[np.float64] = combine(*parts).astype(np.float64) / 2.0**64
    return uniform


def _by_type(measure: Callable[[str], float]) -> Callable[[Columns, NDArray[np.int64]], NDArray[np.float64]]:
    def of(columns: Columns, words: NDArray[np.int64]) -> NDArray[np.float64]:
        kinds, place = np.unique(columns.kind[words], return_inverse=True)
        return np.array([measure(columns.types[kind]) for kind in kinds], dtype=np.float64)[place]

    return of


def _value(word: str) -> float:
    """Digits by the logarithm of what they say; a false fire on a word is as weak as the number 1."""
    return np.log1p(float(word[:15])) if word.isdecimal() and float(word[:15]) > 0 else 0.7


def _depth(columns: Columns, words: NDArray[np.int64]) -> NDArray[np.float64]:
    """How far into its sentence a word is, in tens of words."""
    first = np.flatnonzero(np.diff(columns.sentence, prepend=-1))
    depth: NDArray[np.float64] = 0.1 + (words - first[columns.sentence[words]]) / 10
    return depth


MAGNITUDES: dict[str, Callable[[Columns, NDArray[np.int64]], NDArray[np.float64]]] = {
    "value": _by_type(_value),
    "length": _by_type(lambda word: max(len(word) - 3, 1) / 4),
    "vowels": _by_type(lambda word: max(sum(letter in "aeiouAEIOU" for letter in word), 1) / 2),
    "depth": _depth,
}
"""What grades the activation of a graded feature: (columns, word numbers) → factors > 0."""
