"""Functions of text that can be run, written down as data: what a TruthBench feature fires on, and what a label of it says.

A predicate marks words of `Columns`. It is a frozen value with a JSON form, so that it can be stored, compared and hashed, and
evaluating it twice gives the same marks.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from autolabel.hashing import combine
from autolabel.truth.columns import Columns, Mask
from autolabel.truth.places import PLACES

SPAN = 8
"""Words to either side within which a context must be."""
_BURST_SALT, _WITHIN_SALT = 61, 62
BURST_WORDS = 32


class Predicate(Protocol):
    """Says of each word whether it holds there."""

    def marks(self, columns: Columns) -> Mask:
        """Where it holds, shape (n_words,)."""

    def as_json(self) -> dict[str, Any]:
        """The predicate as JSON; `from_json` gives it back."""


@dataclass(frozen=True, slots=True)
class Words:
    """One of these words, whatever its case."""

    words: tuple[str, ...]

    def marks(self, columns: Columns) -> Mask:
        """See `Predicate`."""
        return columns.among(self.words)

    def as_json(self) -> dict[str, Any]:
        """See `Predicate`."""
        return {"kind": "words", "words": list(self.words)}


@dataclass(frozen=True, slots=True)
class Pattern:
    """A word, as written, that a regular expression matches whole."""

    pattern: str

    def marks(self, columns: Columns) -> Mask:
        """See `Predicate`."""
        compiled = re.compile(self.pattern)
        return columns.by_type(lambda word: compiled.fullmatch(word) is not None)

    def as_json(self) -> dict[str, Any]:
        """See `Predicate`."""
        return {"kind": "pattern", "pattern": self.pattern}


@dataclass(frozen=True, slots=True)
class Place:
    """A word's place in sentence, line or document; `places.PLACES` names them."""

    name: str

    def marks(self, columns: Columns) -> Mask:
        """See `Predicate`."""
        return PLACES[self.name](columns)

    def as_json(self) -> dict[str, Any]:
        """See `Predicate`."""
        return {"kind": "place", "name": self.name}


@dataclass(frozen=True, slots=True)
class Near:
    """A trigger with a context within eight words to either side, or (`absent`) without one."""

    trigger: Predicate
    context: Predicate
    absent: bool = False

    def marks(self, columns: Columns) -> Mask:
        """See `Predicate`."""
        trigger = self.trigger.marks(columns)
        near = columns.near(self.context.marks(columns), SPAN, trigger)
        return trigger & ~near if self.absent else near

    def as_json(self) -> dict[str, Any]:
        """See `Predicate`."""
        parts = {"trigger": self.trigger.as_json(), "context": self.context.as_json()}
        return {"kind": "near", **parts, "absent": self.absent}


@dataclass(frozen=True, slots=True)
class Before:
    """The word before a target: what a feature that predicts the next word fires on."""

    target: Predicate

    def marks(self, columns: Columns) -> Mask:
        """See `Predicate`."""
        return columns.shifted(self.target.marks(columns), 1)

    def as_json(self) -> dict[str, Any]:
        """See `Predicate`."""
        return {"kind": "before", "target": self.target.as_json()}


@dataclass(frozen=True, slots=True)
class Topic:
    """Words of at least five letters in documents that hold at least so many different ones of these words."""

    words: tuple[str, ...]
    at_least: int

    def marks(self, columns: Columns) -> Mask:
        """See `Predicate`."""
        hits = np.flatnonzero(Words(self.words).marks(columns))
        folded = {word: number for number, word in enumerate(dict.fromkeys(columns.lower))}
        number = np.array([folded[word] for word in columns.lower], dtype=np.int64)[columns.kind[hits]]
        distinct = np.unique(np.stack([columns.document[hits], number]), axis=1)[0] if len(hits) else np.empty(0, dtype=np.int64)
        on_topic = np.bincount(distinct, minlength=len(columns.texts)) >= self.at_least
        return on_topic[columns.document] & columns.is_long

    def as_json(self) -> dict[str, Any]:
        """See `Predicate`."""
        return {"kind": "topic", "words": list(self.words), "at_least": self.at_least}


@dataclass(frozen=True, slots=True)
class Source:
    """Words of at least five letters in documents of one of these sources."""

    names: tuple[str, ...]

    def marks(self, columns: Columns) -> Mask:
        """See `Predicate`."""
        of_source = np.array([source in self.names for source in columns.sources], dtype=bool)
        return of_source[columns.document] & columns.is_long

    def as_json(self) -> dict[str, Any]:
        """See `Predicate`."""
        return {"kind": "source", "names": list(self.names)}


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Whatever one of several predicates marks."""

    parts: tuple[Predicate, ...]

    def marks(self, columns: Columns) -> Mask:
        """See `Predicate`."""
        result = np.zeros(len(columns), dtype=bool)
        for part in self.parts:
            result |= part.marks(columns)
        return result

    def as_json(self) -> dict[str, Any]:
        """See `Predicate`."""
        return {"kind": "any", "parts": [part.as_json() for part in self.parts]}


@dataclass(frozen=True, slots=True)
class Both:
    """What two predicates both mark."""

    one: Predicate
    other: Predicate

    def marks(self, columns: Columns) -> Mask:
        """See `Predicate`."""
        return self.one.marks(columns) & self.other.marks(columns)

    def as_json(self) -> dict[str, Any]:
        """See `Predicate`."""
        return {"kind": "both", "one": self.one.as_json(), "other": self.other.as_json()}


@dataclass(frozen=True, slots=True)
class Drawn:
    """Words drawn by the hash of (document, place), in bursts as real features fire: about nothing at all (validity §9)."""

    seed: int
    share_of_bursts: float
    """Share of stretches of 32 words in which anything is drawn."""
    share_within: float
    """Share of the words of such a stretch."""

    def marks(self, columns: Columns) -> Mask:
        """See `Predicate`."""
        names, place = columns.names[columns.document], columns.place.astype(np.uint64)
        burst = _uniform(_BURST_SALT, self.seed, names, place // np.uint64(BURST_WORDS)) < self.share_of_bursts
        drawn = np.flatnonzero(burst & columns.is_word)
        marks = np.zeros(len(columns), dtype=bool)
        marks[drawn] = _uniform(_WITHIN_SALT, self.seed, names[drawn], place[drawn]) < self.share_within
        return marks

    def as_json(self) -> dict[str, Any]:
        """See `Predicate`."""
        shares = {"share_of_bursts": self.share_of_bursts, "share_within": self.share_within}
        return {"kind": "drawn", "seed": self.seed, **shares}


def _uniform(*parts: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    return combine(*parts).astype(np.float64) / 2.0**64


_READERS: dict[str, Callable[[Mapping[str, Any]], Predicate]] = {
    "words": lambda found: Words(tuple(found["words"])),
    "pattern": lambda found: Pattern(found["pattern"]),
    "place": lambda found: Place(found["name"]),
    "near": lambda found: Near(from_json(found["trigger"]), from_json(found["context"]), found["absent"]),
    "before": lambda found: Before(from_json(found["target"])),
    "topic": lambda found: Topic(tuple(found["words"]), found["at_least"]),
    "source": lambda found: Source(tuple(found["names"])),
    "any": lambda found: AnyOf(tuple(map(from_json, found["parts"]))),
    "both": lambda found: Both(from_json(found["one"]), from_json(found["other"])),
    "drawn": lambda found: Drawn(found["seed"], found["share_of_bursts"], found["share_within"]),
}


def from_json(found: Mapping[str, Any]) -> Predicate:
    """The predicate that `as_json` wrote.

    Raises:
        ValueError: there is no such kind of predicate.
    """
    reader = _READERS.get(found["kind"])
    if reader is None:
        raise ValueError(f"predicate kind is {found['kind']!r}, expected one of {', '.join(_READERS)}")
    return reader(found)
