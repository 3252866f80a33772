"""What a TruthBench feature is: a function of text, what a right label of it says, and what labels that miss it say."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from autolabel.truth.bank import NEAR_KINDS, Meaning, NearKind, WordSet
from autolabel.truth.predicates import Predicate

Family = Literal["words", "form", "place", "gated", "topic", "next_token", "union", "graded", "null"]
FAMILY_SIZES: dict[Family, int] = {
    "words": 50,
    "form": 25,
    "place": 15,
    "gated": 30,
    "topic": 20,
    "next_token": 20,
    "union": 20,
    "graded": 8,
    "null": 12,
}
"""Features of each family in the whole benchmark of 200."""
FAMILIES: tuple[Family, ...] = tuple(FAMILY_SIZES)
Relation = Literal["true", "paraphrase", "broader", "narrower", "sibling", "context_dropped", "wrong"]
RELATIONS: tuple[Relation, ...] = ("true", "paraphrase", *NEAR_KINDS, "wrong")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A feature that the bank offers; whether it is used depends on the text."""

    family: Family
    key: str
    meaning: Meaning
    paraphrases: tuple[str, ...]
    near: Mapping[NearKind, Meaning]
    concepts: tuple[WordSet, ...] = ()
    """What a union is of, the largest first."""
    magnitude: str | None = None
    """What grades its activation; see `nuisances.MAGNITUDES`."""
    absorbable: tuple[str, ...] = ()
    """Words of which one may be left to another feature (absorption)."""


@dataclass(frozen=True, slots=True)
class Nuisances:
    """How a feature's firing differs from its function, as real features do."""

    miss: float = 0.0
    """Share of the places at which it stays silent."""
    false_fires: float = 0.0
    """Places at which it fires for no reason, as a share of those it should fire at."""
    spread: float = 0.3
    """Standard deviation of the logarithm of its activations."""
    smear: bool = False
    """Whether it also fires, at half strength, on the token after."""
    last_piece: bool = False
    """Whether it fires on the last token of a word instead of the first."""
    absorbed: str | None = None
    """A word on which it is silent because another feature has taken it over."""


@dataclass(frozen=True, slots=True)
class ShippedLabel:
    """A label of which it is known how it stands to a feature."""

    text: str
    relation: Relation
    predicate: Predicate | None
    """The function that it names; None for nothing, the meaning of null features."""


@dataclass(frozen=True, slots=True)
class TruthFeature:
    """A feature of the benchmark with everything that is known of it."""

    index: int
    candidate: Candidate
    nuisances: Nuisances
    wrong: tuple[Meaning, ...] = ()
    """Meanings of other features that fire about as often."""

    @property
    def family(self) -> Family:
        """Its family."""
        return self.candidate.family

    @property
    def label(self) -> str:
        """The right label."""
        return self.candidate.meaning.label

    @property
    def labels(self) -> tuple[ShippedLabel, ...]:
        """All labels that it ships with: the right one and its paraphrases, near-misses, wrong ones. A null feature has only wrong ones."""
        true = self.candidate.meaning
        right: list[ShippedLabel] = []
        if self.family != "null":
            right = [ShippedLabel(true.label, "true", true.predicate)]
            right += [ShippedLabel(text, "paraphrase", true.predicate) for text in self.candidate.paraphrases]
        near = [ShippedLabel(one.label, kind, one.predicate) for kind, one in self.candidate.near.items()]
        return (*right, *near, *(ShippedLabel(one.label, "wrong", one.predicate) for one in self.wrong))
