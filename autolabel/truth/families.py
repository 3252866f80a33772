"""The families of TruthBench: which features the bank offers under a seed.

Seeds 0 and 1 offer disjoint features: word sets, forms and places are dealt out between even and odd seeds by hash, and what is
combined from word sets is combined from those of one side. A new family is a function here, a line in `OFFERS` and a size in
`features.FAMILY_SIZES`.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Protocol, TypeVar

from autolabel.hashing import content_id
from autolabel.truth.bank import Entry, Group, Meaning, NearKind, WordSet, forms, graded, groups, places
from autolabel.truth.features import Candidate, Family
from autolabel.truth.predicates import AnyOf, Before, Drawn, Near, Source, Topic, Words

COMBINED = 600
"""Combinations that a family tries at most."""
NULL_RATES = ((0.004, 0.05), (0.01, 0.08), (0.03, 0.06), (0.08, 0.1), (0.02, 0.2), (0.15, 0.05))
"""Shares of bursts and within bursts of null features: the range that real ones have."""
SOURCE_LABELS: dict[str, tuple[str, tuple[str, ...]]] = {
    "sotu": (
        "political speeches",
        ("addresses of a president to congress", "formal speeches about the nation", "text of an orator"),
    ),
    "wikitext-2": ("encyclopaedia articles", ("text from an encyclopaedia", "articles that describe a subject", "reference works")),
    "tatoeba-english": ("short everyday sentences", ("simple sentences of daily life", "phrases for learners", "plain talk")),
    "package-docs": ("software documentation", ("manuals of a programming library", "docstrings", "text that explains functions")),
    "package-code": ("program source code", ("Python code", "statements of a programming language", "lines of a program")),
}
TOPIC_WORDS = 3
"""Different words of a set that a document on its topic holds."""

Keyed = TypeVar("Keyed", bound="_HasKey")


class _HasKey(Protocol):
    @property
    def key(self) -> str:
        """Names it within its kind."""


def offered(family: Family, seed: int) -> Iterator[Candidate]:
    """The candidates of a family in the order in which they are tried."""
    return islice(OFFERS[family](seed), COMBINED)


def side(kind: str, entries: Sequence[Keyed], seed: int) -> list[Keyed]:
    """Those of `entries` that seeds as even (or odd) as this one use, in an order of the seed's own."""
    dealt = sorted(entries, key=lambda entry: content_id("dealt", [kind, entry.key]))[seed % 2 :: 2]
    return sorted(dealt, key=lambda entry: content_id("order", [kind, seed, entry.key]))


def _word_sets(seed: int) -> list[WordSet]:
    """One side's word sets; every group is divided, so that both sides have all sorts."""
    own = [one for group in groups() for one in side(f"words {group.key}", group.sets, seed + _number(group.key))]
    return sorted(own, key=lambda one: content_id("order", ["words", seed, one.key]))


def _number(key: str) -> int:
    return int(content_id("number", key)[:4], 16)


def _group_of(one: WordSet) -> Group:
    return next(group for group in groups() if group.key == one.group)


def _sibling(one: WordSet) -> WordSet | None:
    others = [other for other in _group_of(one).sets if other.key != one.key]
    return min(others, key=lambda other: content_id("sibling", [one.key, other.key])) if others else None


def _near_words(one: WordSet) -> dict[NearKind, Meaning]:
    """A word set's near-misses."""
    sibling = _sibling(one)
    near: dict[NearKind, Meaning] = {"broader": _group_of(one).meaning, "narrower": one.narrow}
    return near | ({} if sibling is None else {"sibling": sibling.meaning})


def _words(seed: int) -> Iterator[Candidate]:
    for one in _word_sets(seed):
        yield Candidate("words", one.key, one.meaning, one.paraphrases, _near_words(one), absorbable=one.words)


def _from_entries(family: Family, entries: Sequence[Entry], seed: int) -> Iterator[Candidate]:
    for entry in side(family, entries, seed):
        yield Candidate(family, entry.key, entry.meaning, entry.paraphrases, entry.near)


def _pairs(kind: str, seed: int) -> Iterator[tuple[WordSet, WordSet]]:
    """Two word sets of different groups each, drawn by hash without end in sight."""
    sets = _word_sets(seed)
    drawn = [(one, other) for one in sets for other in sets if one.group != other.group]
    yield from sorted(drawn, key=lambda pair: content_id(kind, [seed, pair[0].key, pair[1].key]))


def _gated(seed: int) -> Iterator[Candidate]:
    """A trigger near a context; every third one unless the context is near."""
    for number, (trigger, context) in enumerate(_pairs("gated", seed)):
        other = _sibling(context)
        with_context = Meaning(
            f"{trigger.label} with {context.label} nearby", Near(trigger.meaning.predicate, context.meaning.predicate)
        )
        without = Meaning(f"{trigger.label}, unless {context.label} are nearby", Near(*_parts(trigger, context), absent=True))
        near: dict[NearKind, Meaning] = {"context_dropped": trigger.meaning}
        if number % 3 == 2:
            said = (
                f"{trigger.label} where {context.label} are absent",
                f"{trigger.label} without any {context.label} close by",
                f"{trigger.label} except next to {context.label}",
            )
            near |= {"sibling": with_context}
            near |= {
                "narrower": Meaning(
                    f"{trigger.narrow.label}, unless {context.label} are nearby",
                    Near(trigger.narrow.predicate, context.meaning.predicate, absent=True),
                )
            }
            yield Candidate("gated", f"{trigger.key}_unless_{context.key}", without, said, near)
            continue
        said = (
            f"{trigger.label} within a few words of {context.label}",
            f"{trigger.label} when the text around them holds {context.label}",
            f"{trigger.label}, but only close to {context.label}",
        )
        group = _group_of(context)
        near |= {
            "broader": Meaning(
                f"{trigger.label} with {group.label} nearby", Near(trigger.meaning.predicate, group.meaning.predicate)
            )
        }
        near |= {
            "narrower": Meaning(
                f"{trigger.narrow.label} with {context.label} nearby", Near(trigger.narrow.predicate, context.meaning.predicate)
            )
        }
        if other is not None:
            near |= {"sibling": Meaning(f"{trigger.label} with {other.label} nearby", Near(*_parts(trigger, other)))}
        yield Candidate("gated", f"{trigger.key}_near_{context.key}", with_context, said, near)


def _parts(trigger: WordSet, context: WordSet) -> tuple[Words, Words]:
    return Words(trigger.words), Words(context.words)


def _topic(seed: int) -> Iterator[Candidate]:
    """What a document is about, then where it comes from."""
    topical = [group for group in groups() if group.is_topical]
    dealt = sorted(topical, key=lambda group: content_id("dealt", ["topic", group.key]))
    own = dealt[seed % 2 :: 2]
    for group in sorted(own, key=lambda group: content_id("order", ["topic", seed, group.key])):
        for one in group.sets:
            other = _sibling(one)
            near: dict[NearKind, Meaning] = {
                "broader": Meaning(f"texts about {group.label}", Topic(group.words, TOPIC_WORDS)),
                "context_dropped": one.meaning,
            }
            if other is not None:
                near["sibling"] = Meaning(f"texts about {other.label}", Topic(other.words, TOPIC_WORDS))
            said = (
                f"passages whose subject is {one.label}",
                f"documents that deal with {one.label}",
                f"any word in a text on {one.label}",
            )
            meaning = Meaning(f"texts about {one.label}", Topic(one.words, TOPIC_WORDS))
            yield Candidate("topic", f"topic_{one.key}", meaning, said, near)
    yield from _sources(seed)


def _sources(seed: int) -> Iterator[Candidate]:
    names = sorted(SOURCE_LABELS, key=lambda name: content_id("dealt", ["source", name]))[seed % 2 :: 2]
    for name in names:
        label, said = SOURCE_LABELS[name]
        other = min((one for one in SOURCE_LABELS if one != name), key=lambda one: content_id("sibling", [name, one]))
        near: dict[NearKind, Meaning] = {
            "broader": Meaning(f"{label} or {SOURCE_LABELS[other][0]}", Source((name, other))),
            "sibling": Meaning(SOURCE_LABELS[other][0], Source((other,))),
        }
        yield Candidate("topic", f"source_{name}", Meaning(label, Source((name,))), said, near)


def _next_token(seed: int) -> Iterator[Candidate]:
    """The word before a word of a set: what a feature that predicts the set fires on."""
    for one in _word_sets(seed):
        near: dict[NearKind, Meaning] = {"context_dropped": one.meaning}
        for kind, other in _near_words(one).items():
            near[kind] = Meaning(f"the word before {other.label}", Before(other.predicate))
        said = (
            f"whatever comes right before {one.label}",
            f"the next word is one of {one.label}",
            f"predicts {one.label} next",
        )
        meaning = Meaning(f"the word before {one.label}", Before(one.meaning.predicate))
        yield Candidate("next_token", f"before_{one.key}", meaning, said, near)


def _union(seed: int) -> Iterator[Candidate]:
    """Two or three word sets of different groups; `selection` puts the largest first."""
    sets = _word_sets(seed)
    drawn = [
        (a, b, c)
        for i, a in enumerate(sets)
        for j, b in enumerate(sets[:i])
        for c in sets[:j]
        if len({a.group, b.group, c.group}) == 3
    ]
    known: set[str] = set()
    for number, three in enumerate(sorted(drawn, key=lambda three: content_id("union", [seed, *(one.key for one in three)]))):
        union = union_of(three[:2] if number % 3 == 0 else three)
        if union.key not in known:
            known.add(union.key)
            yield union


def union_of(parts: Sequence[WordSet]) -> Candidate:
    """The feature that fires on any word of these sets, in this order."""
    meanings = tuple(one.meaning for one in parts)
    labels = [one.label for one in parts]
    said = (
        ", or ".join(labels),
        f"several unrelated things: {', '.join(labels)}",
        " / ".join(labels),
    )
    near: dict[NearKind, Meaning] = {"narrower": meanings[0]}
    if (other := _sibling(parts[-1])) is not None:
        near["broader"] = _any_of((*meanings, other.meaning))
        near["sibling"] = _any_of((*meanings[:-1], other.meaning))
    key = "_".join(sorted(one.key for one in parts))
    return Candidate("union", key, _any_of(meanings), said, near, concepts=tuple(parts))


def _any_of(meanings: Sequence[Meaning]) -> Meaning:
    return Meaning("; ".join(one.label for one in meanings), AnyOf(tuple(one.predicate for one in meanings)))


def _graded(seed: int) -> Iterator[Candidate]:
    """Functions whose activation says how much, not only whether."""
    for entry in side("graded", graded(), seed):
        yield Candidate("graded", entry.key, entry.meaning, entry.paraphrases, entry.near, magnitude=entry.magnitude)


def _null(seed: int) -> Iterator[Candidate]:
    """Features about nothing; their right label is none."""
    number = 0
    while True:
        bursts, within = NULL_RATES[number % len(NULL_RATES)]
        meaning = Meaning("nothing", Drawn(1000 * seed + number, bursts, within))
        yield Candidate("null", f"null_{number}", meaning, (), {})
        number += 1


OFFERS: dict[Family, Callable[[int], Iterator[Candidate]]] = {
    "words": _words,
    "form": lambda seed: _from_entries("form", forms(), seed),
    "place": lambda seed: _from_entries("place", places(), seed),
    "gated": _gated,
    "topic": _topic,
    "next_token": _next_token,
    "union": _union,
    "graded": _graded,
    "null": _null,
}
"""Family → its candidates under a seed, most wanted first."""
