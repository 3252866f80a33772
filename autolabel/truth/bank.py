"""The written part of TruthBench: word sets with their hierarchy, forms of words, places in text, each with its label and near-misses."""

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from autolabel.errors import DataError
from autolabel.resources import resource_dir
from autolabel.truth.predicates import AnyOf, Both, Pattern, Place, Predicate, Words

NearKind = Literal["broader", "narrower", "sibling", "context_dropped"]
NEAR_KINDS: tuple[NearKind, ...] = ("broader", "narrower", "sibling", "context_dropped")
WITHOUT_TOPIC = frozenset(
    {"pronouns", "auxiliaries", "negation", "linking", "determiners", "prepositions", "stance", "time_adverbs"}
) | {
    "numbers",
    "calendar",
    "speech",
    "mind",
    "motion",
    "change",
    "qualities",
}
"""Groups of words that no text is about."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """A label with the function that it names."""

    label: str
    predicate: Predicate


@dataclass(frozen=True, slots=True)
class Entry:
    """A meaning with other ways to say it, and meanings that miss it narrowly."""

    key: str
    meaning: Meaning
    paraphrases: tuple[str, ...]
    near: Mapping[NearKind, Meaning]
    magnitude: str | None = None
    """What grades its activation, for features whose strength has a meaning."""


@dataclass(frozen=True, slots=True)
class WordSet:
    """Words that belong together, and a part of them with a name of its own."""

    key: str
    label: str
    paraphrases: tuple[str, ...]
    words: tuple[str, ...]
    narrow: Meaning
    group: str

    @property
    def meaning(self) -> Meaning:
        """Any of its words."""
        return Meaning(self.label, Words(self.words))


@dataclass(frozen=True, slots=True)
class Group:
    """Word sets with a common meaning: the union of them."""

    key: str
    label: str
    sets: tuple[WordSet, ...]

    @property
    def is_topical(self) -> bool:
        """Whether a text can be about it."""
        return self.key not in WITHOUT_TOPIC

    @property
    def words(self) -> tuple[str, ...]:
        """The words of all its sets."""
        return tuple(word for one in self.sets for word in one.words)

    @property
    def meaning(self) -> Meaning:
        """Any word of any of its sets."""
        return Meaning(self.label, Words(self.words))


@cache
def groups() -> tuple[Group, ...]:
    """The word sets by group, in the file's order."""
    return tuple(_group(found) for found in _read("word_sets.toml")["group"])


@cache
def forms() -> tuple[Entry, ...]:
    """Features of a word's own form."""
    return tuple(_entry(found, _form) for found in _read("forms.toml")["form"])


@cache
def places() -> tuple[Entry, ...]:
    """Features of a word's place in the text."""
    return tuple(_entry(found, _place) for found in _read("places.toml")["feature"])


@cache
def graded() -> tuple[Entry, ...]:
    """Features whose activation has a meaning."""
    return tuple(_entry(found, _form if "pattern" in found else _place) for found in _read("graded.toml")["feature"])


def _read(name: str) -> dict[str, Any]:
    path: Path = resource_dir("data") / "truthbench" / name
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read '{path}': {error}; reinstall autolabel") from None


def _group(found: dict[str, Any]) -> Group:
    sets = tuple(
        WordSet(
            key=one["key"],
            label=one["label"],
            paraphrases=tuple(one["paraphrases"]),
            words=tuple(one["words"]),
            narrow=Meaning(one["narrow"]["label"], Words(tuple(one["narrow"]["words"]))),
            group=found["key"],
        )
        for one in found["set"]
    )
    return Group(found["key"], found["label"], sets)


def _entry(found: dict[str, Any], read: Callable[[dict[str, Any]], Predicate]) -> Entry:
    near = {kind: Meaning(found[kind]["label"], read(found[kind])) for kind in NEAR_KINDS if kind in found}
    meaning = Meaning(found["label"], read(found))
    return Entry(found["key"], meaning, tuple(found["paraphrases"]), near, found.get("magnitude"))


def _form(found: dict[str, Any]) -> Predicate:
    return Pattern(found["pattern"])


def _place(found: dict[str, Any]) -> Predicate:
    """One place, any of several, or two at once."""
    if "any" in found:
        return AnyOf(tuple(map(Place, found["any"])))
    if "places" in found:
        one, other = found["places"]
        return Both(Place(one), Place(other))
    return Place(found["place"])
