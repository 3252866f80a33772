"""What is drawn for a feature, and the small rules of drawing: order, quantiles, marks."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from autolabel.evidence.kept import Firing
from autolabel.records import ExampleKind, Split, Stratum

N_QUANTILES = 10
MARK_FRACTION = 0.5

EvidenceStatus = Literal["alive", "silent", "too_few", "dense"]


@dataclass(frozen=True, slots=True)
class Drawn:
    """One example of a feature: tile row, why it was drawn, and the feature's activations there."""

    row: int
    split: Split
    kind: ExampleKind
    stratum: Stratum | None
    in_exam: bool
    sample_rank: int
    quantile: int | None
    inclusion_weight: float
    firing: Firing
    marks: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class StratumCount:
    """How many tiles a group holds, how many were drawn, and how many were passed over as near-copies."""

    split: Split
    stratum: Stratum
    n_tiles: int
    n_sampled: int
    n_near_copies: int


@dataclass
class FeatureDraw:
    """Everything drawn for one feature."""

    feature: int
    status: EvidenceStatus
    threshold: float = 0.0
    neighbours: list[int] = field(default_factory=list)
    examples: list[Drawn] = field(default_factory=list)
    strata: list[StratumCount] = field(default_factory=list)

    def drawn(self, split: Split, *strata: Stratum) -> list[Drawn]:
        """The examples of one split that stand for one of `strata`."""
        return [example for example in self.examples if example.split == split and example.stratum in strata]


def take(source: Iterable[int], n: int, taken: set[int]) -> list[int]:
    """The first `n` rows of `source` that are not in `taken`, which they join."""
    found: list[int] = []
    for row in source:
        if len(found) >= n:
            break
        if row not in taken:
            taken.add(row)
            found.append(row)
    return found


def marks(firing: Firing) -> tuple[int, ...]:
    """The tokens on which the feature reaches at least half of its largest activation in the tile."""
    return tuple(int(p) for p in firing.positions[firing.values >= MARK_FRACTION * firing.values.max()])


def quantiles(firings: list[Firing]) -> list[int]:
    """The tenth each tile falls into by strength among these, 0 = strongest."""
    order = np.argsort([-firing.largest for firing in firings], kind="stable")
    tenths = np.empty(len(firings), dtype=np.int64)
    tenths[order] = np.arange(len(firings)) * N_QUANTILES // max(len(firings), 1)
    found: list[int] = tenths.tolist()
    return found
