"""The statistics of rare features: which they are, which tokens they fire on, and what each of their tiles stands for.

Where only the first J of 16 shards of the text are read (stage 1), a second stage runs those of the other documents that hold a
trigger token, and keeps what it finds of rare features. Who decides must not be counted as if nobody had chosen: one half of the
texts, by hash, decides, with its train documents alone, which features are rare and which tokens are their triggers. For given
deciding texts, every other text was read with the same chance, so

- a tile of a document with a trigger token stands for itself: all such documents of the corpus are run;
- a tile of a deciding text stands for itself: it was bound to be read;
- any other tile stands for (1 − J/32) ÷ (J/32) tiles: itself and its like in documents that were not run.

One thing depends on the other half too: only a feature whose train tiles were all kept can be rare, so that train estimates of features
near that limit come out a little low. Validation and test are other documents and know nothing of it.

The sum of these weights estimates the feature's firing tiles in the whole corpus without bias, whatever the triggers leave out. A
uniform sample comes from priority sampling (Duffield, Lund and Thorup 2007, J. ACM 54(6)): the tiles with the smallest
hash ÷ weight, up to where the heaviest would be certain to be drawn (`uniform_sample`). All of this is for a given J.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from autolabel.evidence.keep import BottomK
from autolabel.evidence.spill import among
from autolabel.evidence.tiling import Pairs
from autolabel.hashing import UInt64, combine
from autolabel.records import SPLITS, Split

LATER = len(SPLITS)
"""In a spill, the split numbers of tiles and pairs of the second stage are larger by this: no rule of stage 1 takes them for its own."""
TRIGGER_SHARE = 0.9
"""A feature's triggers are the tokens that together carry this share of its activation …"""
TRIGGERS_PER_FEATURE = 8
"""… but no more of them than this."""
MARGIN = 1.5
"""Features expected to lack tiles are taken along up to this factor above what is wanted: half a split's counts are uncertain."""

_DECIDE_SALT, _AGAIN_SALT = 19, 20
_KINDS = ("shards", "feature", "trigger", "unlike")


def decide(sources: UInt64) -> NDArray[np.bool_]:
    """Which texts are of the half that may decide which features are rare and what triggers them."""
    deciding: NDArray[np.bool_] = combine(_DECIDE_SALT, sources) < np.uint64(1 << 63)
    return deciding


def weight_of_unlike(n_read: int, n_shards: int) -> float:
    """Tiles of the corpus for which one stands whose document neither decided nor holds a trigger, `n_read` of the shards being read."""
    return (2 * n_shards - n_read) / n_read


def trigger_tokens(features: NDArray[np.int64], tokens: NDArray[np.int64], values: NDArray[np.float32]) -> NDArray[np.int64]:
    """The triggers of all features together, ascending, from activations `values` of `features` on `tokens`, one entry each."""
    groups, inverse = np.unique(features << 32 | tokens, return_inverse=True)
    # Exact sums in units of 2^-16, so that the order of the entries does not matter.
    mass = np.bincount(inverse, np.rint(values.astype(np.float64) * 65536), minlength=len(groups))
    owners, ids = groups >> 32, groups & 0xFFFFFFFF
    order = np.lexsort((ids, -mass, owners))
    owners, ids, mass = owners[order], ids[order], mass[order]
    first = np.searchsorted(owners, owners)
    before = np.cumsum(mass) - mass
    before -= before[first] if len(first) else 0
    total = np.bincount(owners, mass)[owners] if len(owners) else mass
    chosen = (before < TRIGGER_SHARE * total) & (np.arange(len(owners)) - first < TRIGGERS_PER_FEATURE)
    return np.unique(ids[chosen])


class UniformSample(NamedTuple):
    """Tiles drawn so that each stands for as many as any other of its owner."""

    drawn: NDArray[np.bool_]
    """Which tiles are in the sample."""
    priorities: NDArray[np.float64]
    """Hash ÷ weight of each tile; the first of a sample, smallest first, are a sample themselves."""
    stands_for: NDArray[np.float64]
    """Tiles that each one drawn stands for, by owner, shape (n_owners,): 1 ÷ threshold."""


def uniform_sample(owners: NDArray[np.int64], weights: NDArray[np.float64], draws: UInt64, n_owners: int, k: int) -> UniformSample:
    """Draw at most `k` tiles of each owner so that the sample is uniform over what they stand for.

    With a threshold t on hash ÷ weight, a tile is drawn with chance min(1, weight · t) and counts as max(weight, 1 ÷ t) tiles, which
    makes sums unbiased (priority sampling; t is the (k + 1)-th smallest hash ÷ weight). All count alike where t is at most
    1 ÷ (the owner's largest weight), so t is never more than that.
    """
    uniform = ((combine(_AGAIN_SALT, draws) >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
    priorities = uniform / weights
    heaviest = np.ones(n_owners)
    np.maximum.at(heaviest, owners, weights)
    drawn = uniform * heaviest[owners] <= weights
    order = np.lexsort((priorities, owners, ~drawn))[: int(drawn.sum())]
    rank = np.arange(len(order)) - np.searchsorted(owners[order], owners[order])
    stands_for = heaviest.copy()
    stands_for[owners[order[rank == k]]] = 1 / priorities[order[rank == k]]
    drawn[order[rank >= k]] = False
    return UniformSample(drawn, priorities, stands_for)


@dataclass
class Rare:
    """What the second stage looks for and what it has found."""

    shards: tuple[int, int]
    """How many shards of the text stage 1 read, and of how many."""
    features: NDArray[np.int64]
    """The rare ones, ascending."""
    triggers: NDArray[np.int64]
    """Token ids, ascending."""
    unlike: UInt64
    """Documents of stage 1 with kept tiles of rare features that neither decided nor hold a trigger, ascending."""
    quotas: dict[Split, int]
    """Tiles to keep per feature."""
    found: dict[Split, NDArray[np.int64]] = field(default_factory=dict)
    """Tiles of stage 2 in which each rare feature fires."""
    firing: dict[Split, BottomK] = field(init=False)
    """Uniform samples of these tiles, with the one more that sets the threshold (see `uniform_sample`)."""

    def __post_init__(self) -> None:
        n = len(self.features)
        self.found = {split: self.found.get(split, np.zeros(n, dtype=np.int64)) for split in SPLITS}
        self.firing = {split: BottomK(n, self.quotas[split] + 1) for split in SPLITS}
        self._is_trigger = np.zeros(int(self.triggers.max(initial=-1)) + 1, dtype=bool)
        self._is_trigger[self.triggers] = True

    def is_triggered(self, token_ids: NDArray[np.int32]) -> bool:
        """Whether a document holds a trigger."""
        known = token_ids[token_ids < len(self._is_trigger)]
        return bool(self._is_trigger[known].any())

    def places(self, features: NDArray[np.integer]) -> NDArray[np.int64]:
        """Place of each feature among the rare ones, −1 for others."""
        if len(self.features) == 0:
            return np.full(len(features), -1, dtype=np.int64)
        at = np.minimum(np.searchsorted(self.features, features), len(self.features) - 1)
        return np.where(self.features[at] == features, at, -1)

    def weights(self, documents: UInt64, later: NDArray[np.bool_], per_sampled: NDArray[np.float64]) -> NDArray[np.float64]:
        """Tiles of the corpus that each sampled firing tile of a rare feature stands for.

        Args:
            documents: the tiles' documents.
            later: which were found in stage 2.
            per_sampled: how many firing tiles of stage 1 there were for each of the feature's that was sampled.
        """
        alone = np.where(among(documents, self.unlike), weight_of_unlike(*self.shards), 1.0)
        return np.where(later, 1.0, alone * per_sampled)

    def estimates(
        self, split: Split, places: NDArray[np.int64], weights: NDArray[np.float64], later: NDArray[np.bool_]
    ) -> NDArray[np.float64]:
        """Firing tiles of each rare feature in a split of the whole corpus, from its sampled tiles; shape (n_features,)."""
        of_first: NDArray[np.float64] = np.bincount(places[~later], weights[~later], minlength=len(self.features)).astype(
            np.float64
        )
        return of_first + self.found[split]

    def count(self, pairs: Pairs) -> None:
        """Count pairs of stage 2, all of rare features; splits are plain here."""
        for number, split in enumerate(SPLITS):
            self.found[split] += np.bincount(self.places(pairs.feature[pairs.split == number]), minlength=len(self.features))

    def offer(self, pairs: Pairs, draws: UInt64) -> NDArray[np.bool_]:
        """Offer pairs of stage 2; returns which may be in the samples."""
        return self._each(pairs, draws, "offer")

    def is_live(self, pairs: Pairs, draws: UInt64) -> NDArray[np.bool_]:
        """Which of any pairs are in the samples of stage 2."""
        return self._each(pairs, draws, "holds")

    @property
    def n_kept(self) -> int:
        """Pairs in the samples."""
        return sum(keep.n_kept for keep in self.firing.values())

    def table(self) -> pa.Table:
        """Everything but the samples, which follow from the pairs of the spill."""
        values = (np.array(self.shards), self.features, self.triggers, self.unlike)
        kinds = np.repeat(np.arange(len(_KINDS), dtype=np.uint8), [len(column) for column in values])
        is_feature = kinds == _KINDS.index("feature")
        columns: dict[str, NDArray[np.generic]] = {
            "kind": kinds,
            "value": np.concatenate([one.astype(np.uint64) for one in values]),
        }
        for split in SPLITS:
            counts = np.zeros(len(kinds), dtype=np.int64)
            counts[is_feature] = self.found[split]
            columns[split] = counts
        return pa.table(columns)

    @classmethod
    def from_table(cls, table: pa.Table, quotas: dict[Split, int]) -> "Rare":
        """What `table` gave, with empty samples."""
        kinds, values = table["kind"].to_numpy(), table["value"].to_numpy()
        shards, features, triggers, unlike = (values[kinds == number] for number in range(len(_KINDS)))
        found = {split: table[split].to_numpy()[kinds == _KINDS.index("feature")].copy() for split in SPLITS}
        return cls((int(shards[0]), int(shards[1])), features.astype(np.int64), triggers.astype(np.int64), unlike, quotas, found)

    def _each(self, pairs: Pairs, draws: UInt64, method: str) -> NDArray[np.bool_]:
        found = np.zeros(len(pairs), dtype=bool)
        again = combine(_AGAIN_SALT, draws)
        for number, split in enumerate(SPLITS):
            own = np.flatnonzero(pairs.split == number + LATER)
            found[own] = getattr(self.firing[split], method)(self.places(pairs.feature[own]), again[own])
        return found
