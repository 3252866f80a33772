"""What a rule may look at, beginning with a word on which a feature fires: the word, its form, or those of its neighbours.

The invariant: a rule read from occurrences fires on the same words as the predicate it becomes.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter
from typing import Any, Literal

from autolabel import patterns
from autolabel.labelers.occurrences import Occurrence

SHORTEST_LENGTH, LONGEST_LENGTH = 4, 14
"""Letters of the patterns `words of at least …`."""
LONGEST_AFFIX = 5
_NAMED = tuple(patterns.compiled(shape) for shape in patterns.named_shapes())


@dataclass(frozen=True, slots=True)
class View:
    """One way to look at an occurrence."""

    name: str
    key: Callable[[Occurrence], str | None]
    """The word looked at; None where the window ends."""
    patterns_of: Callable[[str], tuple[str, ...]] | None
    """The patterns that stand for it; None where the word stands for itself."""
    side: Literal["before", "after"] | None
    """Set where it is a neighbour that is looked at: the rule fires on the word before or after it."""
    cost: float
    """F1 that a rule of this view must be better by: the simplest explanation first."""


@lru_cache(maxsize=65_536)
def named_patterns(word: str) -> tuple[str, ...]:
    """The shapes with a name that a word has, and how many digits it has."""
    found = [shape.pattern for shape in _NAMED if patterns.matches(shape, word)]
    return (*found, rf"\d{{{len(word)}}}") if word.isdecimal() and word.isascii() and len(word) < 10 else tuple(found)


@lru_cache(maxsize=65_536)
def all_patterns(word: str) -> tuple[str, ...]:
    """`named_patterns`, and the patterns of a word's length, beginning and end."""
    found, n = list(named_patterns(word)), len(word)
    plain = word.replace("’", "'")
    if n > patterns.LONGEST_WORD or not (plain.isascii() and plain.replace("'", "").isalpha()):
        return tuple(found)
    stem, apostrophe, end = plain.rpartition("'")
    if apostrophe:
        return (*found, rf"[A-Za-z]+['’]{end}") if stem.isalpha() and end.islower() else tuple(found)
    found += [f"[A-Za-z]{{{n}}}", *(f"[A-Za-z]{{{k},}}" for k in range(SHORTEST_LENGTH, min(n, LONGEST_LENGTH) + 1))]
    if n > 1 and word[1:].islower():
        found += [patterns.prefix(word[:k].lower()) for k in range(1, min(LONGEST_AFFIX, n))]
        found += [f"[A-Z][a-z]{{{n - 1}}}"] if word[0].isupper() else []
    found += [patterns.suffix(word[-k:]) for k in range(1, min(LONGEST_AFFIX + 1, n)) if word[-k:].islower()]
    return tuple(found)


VIEWS = (
    View("word", attrgetter("word"), None, None, 0.0),
    View("form", attrgetter("written"), all_patterns, None, 0.05),
    View("before", attrgetter("word_after"), None, "before", 0.02),
    View("after", attrgetter("word_before"), None, "after", 0.02),
    View("before_form", attrgetter("written_after"), named_patterns, "before", 0.04),
    View("after_form", attrgetter("written_before"), named_patterns, "after", 0.04),
)


@dataclass(frozen=True, slots=True)
class InducedRule:
    """A rule as it was read from occurrences."""

    view: View
    weights: Mapping[str, float]
    """By word or by pattern: the share of its occurrences on which the feature fires."""
    context: tuple[str, ...] = ()
    """Words of which one must be near, or (`absent`) none; empty where nothing is asked of the context."""
    absent: bool = False

    def names(self, one: Occurrence) -> bool:
        """Whether its trigger is there, whatever stands around it."""
        key = self.view.key(one)
        if key is None:
            return False
        if self.view.patterns_of is None:
            return key in self.weights
        return not self.weights.keys().isdisjoint(self.view.patterns_of(key))

    def fires(self, one: Occurrence) -> bool:
        """Whether it fires there."""
        return self.names(one) and (not self.context or one.near.isdisjoint(self.context) == self.absent)

    def as_json(self) -> dict[str, Any]:
        """The predicate."""
        rule: dict[str, Any] = {"kind": "words", "weights": dict(sorted(self.weights.items()))}
        if self.view.patterns_of is not None:
            parts = [{"kind": "regex", "pattern": pattern, "weight": weight} for pattern, weight in self.weights.items()]
            rule = parts[0] if len(parts) == 1 else {"kind": "any", "parts": parts}
        if self.view.side is not None:
            rule = {"kind": self.view.side, "target": rule}
        if self.context:
            rule = {"kind": "near", "trigger": rule, "context": list(self.context), "absent": self.absent}
        return rule


@dataclass(frozen=True, slots=True)
class Tally:
    """Occurrences by what a view sees of them: how many fire, and how many do not (by weight)."""

    fires: Mapping[str, float]
    silent: Mapping[str, float]
    n_fires: int

    @classmethod
    def of(cls, words: Iterable[Occurrence], view: View, *, weighted: bool = True) -> "Tally":
        """Count; every silent occurrence as one, unless `weighted`."""
        fires: dict[str, float] = {}
        silent: dict[str, float] = {}
        n_fires = 0
        for one in words:
            n_fires += one.fires
            key = view.key(one)
            if key is not None:
                counted, weight = (fires, 1.0) if one.fires else (silent, one.weight if weighted else 1.0)
                counted[key] = counted.get(key, 0.0) + weight
        return cls(fires, silent, n_fires)

    def counts(self, keys: Iterable[str]) -> tuple[float, float]:
        """Firing occurrences of these keys, and others."""
        hits = alarms = 0.0
        for key in keys:
            hits += self.fires.get(key, 0.0)
            alarms += self.silent.get(key, 0.0)
        return hits, alarms

    def share(self, keys: Iterable[str]) -> float:
        """Share of the occurrences of these keys that fire, with half an occurrence more counted as silent: caution where there are few."""
        hits, alarms = self.counts(keys)
        return round(hits / (hits + alarms + 0.5), 4)


def f1(hits: float, alarms: float, n_fires: float) -> float:
    """F1 by occurrence; 0 where nothing fires and nothing is named."""
    return 2 * hits / max(hits + alarms + n_fires, 1e-9)


def f1_of(rule: InducedRule, words: Sequence[Occurrence]) -> float:
    """F1 of a rule over occurrences."""
    named = [one for one in words if rule.fires(one)]
    hits = sum(one.fires for one in named)
    return f1(hits, sum(one.weight for one in named if not one.fires), sum(one.fires for one in words))
