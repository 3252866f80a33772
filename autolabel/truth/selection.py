"""From what the bank offers to the features of a benchmark: those that a text gives enough evidence for.

The invariant: the same text, seed, families and number give the same features, whatever the machine.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import scipy.sparse

from autolabel.errors import DataError
from autolabel.hashing import content_id
from autolabel.records import Split
from autolabel.truth.bank import Meaning, NearKind
from autolabel.truth.families import offered, union_of
from autolabel.truth.features import FAMILY_SIZES, Candidate, Family, TruthFeature
from autolabel.truth.nuisances import Firing, drawn_nuisances, fired
from autolabel.truth.predicates import Drawn, Predicate
from autolabel.truth.world import Tiles, World

LEAST_TILES: dict[Split, int] = {"train": 25, "validation": 15, "test": 45}
"""Tiles in which a function must hold: a feature that misses three in ten still fills its exam."""
LEAST_DOCUMENTS = 14
DENSITIES = (1e-4, 0.2)
"""Share of words at which a feature may fire: the range that real ones have."""
MOST_TILES = 0.35
"""Share of tiles; a feature that fires in half of them would count as dense."""
NEAR_F1 = 0.9
"""A label that predicts the feature better than this is no near-miss."""
LEAST_NEAR_TILES = 10
WITHIN_A_TILE = ("next_token", "context_dropped")
"""The word after and the word before it share a tile, so this near-miss predicts the tiles; only a reader can tell it from the truth."""
FILLING: tuple[Family, ...] = ("words", "gated")
"""Families that make up for others of which a text gives too few."""
GATED_FAMILIES = ("gated",)
"""Families that are nothing without a context which makes a difference."""
MOST_OVERLAP, MOST_RECALL = 0.05, 0.35
"""Jaccard index of tiles, and share of the feature's tiles, above which a label of another feature is not wrong."""
WRONG_LABELS = 5
OPTIONS = 10
ALIKE_RATE = 4.0
"""How much more or less often a wrong label's function may hold than the feature's."""
NULL_SEED = 1_000_003
"""Added to the seed for the further nulls, so that they are others than the benchmark's own."""
LEAST_CONCEPT, MOST_CONCEPT = 0.04, 0.9
_ABSORBED = (0.05, 0.3)
"""Share of a feature's words that the absorbed one may be."""


@dataclass(frozen=True, slots=True)
class Selected:
    """The features of a benchmark with their firing, those that keep them company, and nulls."""

    features: tuple[TruthFeature, ...]
    """The benchmark's, numbered from 0."""
    company: tuple[Meaning, ...]
    """Functions of near-misses that fire as features of their own, as the neighbours of a real feature do."""
    nulls: tuple[TruthFeature, ...]
    """More features about nothing, to measure false discoveries on."""

    @property
    def n_features(self) -> int:
        """Features of the dictionary, company and nulls included."""
        return len(self.features) + len(self.company) + len(self.nulls)


def sizes(n: int, families: Sequence[Family]) -> dict[Family, int]:
    """How many features of each family make `n` in all, in the proportions of the whole benchmark; at least one of each.

    Raises:
        DataError: there are fewer features than families.
    """
    if n < len(families):
        raise DataError(f"{n} features cannot cover {len(families)} families; ask for at least as many, or name fewer families")
    total = sum(FAMILY_SIZES[family] for family in families)
    exact = {family: n * FAMILY_SIZES[family] / total for family in families}
    found = {family: max(int(exact[family]), 1) for family in families}
    by_rest = sorted(families, key=lambda family: (int(exact[family]) - exact[family], families.index(family)))
    while sum(found.values()) != n:
        short = sum(found.values()) < n
        family = by_rest.pop(0) if short else max(found, key=lambda one: (found[one], one))
        found[family] += 1 if short else -1
        by_rest = by_rest or list(families)
    return found


def select(world: World, seed: int, n: int, families: Sequence[Family], n_nulls: int) -> Selected:
    """Choose features from the bank.

    A family of which the text gives evidence for too few features has fewer; word sets, then gated ones, fill the gap.

    Raises:
        DataError: the text gives evidence for none.
    """
    supply = {family: _usable_of(world, family, seed) for family in families}
    found = {family: list(islice(supply[family], size)) for family, size in sizes(n, families).items()}
    for family in FILLING:
        if family in found:
            found[family] += islice(supply[family], n - sum(map(len, found.values())))
    chosen: list[TruthFeature] = []
    for family in families:
        for number, candidate in enumerate(found[family]):
            nuisances = drawn_nuisances(candidate, number, seed, _absorbed(world, candidate))
            chosen.append(TruthFeature(len(chosen), candidate, nuisances))
    if not any(feature.family != "null" for feature in chosen):
        raise DataError("the text gives enough evidence for no feature at all; use more of it, or more of one kind")
    features = _with_wrong_labels(world, chosen)
    company = _company(world, features)
    start = len(features) + len(company)
    nulls = islice(_usable_of(world, "null", seed + NULL_SEED), n_nulls)
    extra = [
        TruthFeature(start + number, candidate, drawn_nuisances(candidate, number, seed, None))
        for number, candidate in enumerate(nulls)
    ]
    return Selected(tuple(features), tuple(company), tuple(_with_wrong_labels(world, extra, features)))


def firing_of(world: World, feature: TruthFeature) -> Firing:
    """What a feature fires on, nuisances included."""
    candidate = feature.candidate
    key = int(content_id("feature", [candidate.family, candidate.key])[:15], 16)
    marks = world.marks(candidate.meaning.predicate)
    return fired(marks, world.columns, world.places, feature.nuisances, key, candidate.magnitude)


def _usable_of(world: World, family: Family, seed: int) -> Iterator[Candidate]:
    """The candidates of a family that the text gives evidence for."""
    return (usable for candidate in offered(family, seed) if (usable := _usable(world, candidate)) is not None)


def _usable(world: World, candidate: Candidate) -> Candidate | None:
    """The candidate with those of its near-misses that are some, or None where the text lacks evidence for it."""
    if candidate.family == "union":
        ordered = _by_share(world, candidate)
        if ordered is None:
            return None
        candidate = ordered
    tiles = world.tiles_of(candidate.meaning.predicate)
    if not _is_frequent_enough(world, candidate.meaning.predicate, tiles):
        return None
    near: dict[NearKind, Meaning] = {
        kind: meaning
        for kind, meaning in candidate.near.items()
        if (candidate.family, kind) == WITHIN_A_TILE or _is_near_miss(world, world.tiles_of(meaning.predicate), tiles)
    }
    if candidate.family != "null" and not near:
        return None
    return None if candidate.family in GATED_FAMILIES and "context_dropped" not in near else replace(candidate, near=near)


def _by_share(world: World, candidate: Candidate) -> Candidate | None:
    """A union with its largest concept first, or None when one of them is most of it or next to nothing."""
    counts = {concept: world.count(concept.meaning.predicate) for concept in candidate.concepts}
    shares = [count / max(sum(counts.values()), 1) for count in counts.values()]
    if min(shares) < LEAST_CONCEPT or max(shares) > MOST_CONCEPT:
        return None
    return union_of(sorted(counts, key=lambda concept: (-counts[concept], concept.key)))


def _is_frequent_enough(world: World, predicate: Predicate, tiles: Tiles) -> bool:
    if len(tiles) > MOST_TILES * world.n_tiles:
        return False
    for split, least in LEAST_TILES.items():
        own = world.split_tiles(tiles, split)
        if len(own) < least or world.n_source_documents_of(own) < LEAST_DOCUMENTS:
            return False
    if isinstance(predicate, Drawn):
        return True
    low, high = DENSITIES
    return bool(low <= world.count(predicate) / len(world.columns) <= high)


def _is_near_miss(world: World, named: Tiles, tiles: Tiles) -> bool:
    exact = world.exact(named, tiles)
    return exact.n_named >= LEAST_NEAR_TILES and exact.f1 <= NEAR_F1


def _absorbed(world: World, candidate: Candidate) -> str | None:
    """The word that another feature may have taken over: one that is some of the feature, but not much."""
    counts = {word: world.columns.count([word]) for word in candidate.absorbable}
    total = max(sum(counts.values()), 1)
    low, high = _ABSORBED
    able = [word for word, count in counts.items() if low <= count / total <= high]
    return min(able, key=lambda word: content_id("absorbed", [candidate.key, word]), default=None)


def _with_wrong_labels(world: World, features: Sequence[TruthFeature], others: Sequence[TruthFeature] = ()) -> list[TruthFeature]:
    """The features, each with labels of others that fire about as often on other tiles."""
    pool = list({one.label: one.candidate.meaning for one in (*others, *features) if one.family != "null"}.values())
    held = _incidence(world, [world.tiles_of(meaning.predicate) for meaning in pool])
    own = _incidence(world, [world.tiles_of(feature.candidate.meaning.predicate) for feature in features])
    both = (own @ held.T).toarray()
    n_held, n_own = np.asarray(held.sum(axis=1)).ravel(), np.asarray(own.sum(axis=1)).ravel()
    jaccard = both / np.maximum(n_own[:, None] + n_held[None, :] - both, 1)
    result = []
    for row, feature in enumerate(features):
        ratio = np.abs(np.log(np.maximum(n_held, 1) / max(n_own[row], 1)))
        apart = (jaccard[row] <= MOST_OVERLAP) & (both[row] <= MOST_RECALL * max(n_own[row], 1))
        taken = {feature.label, *(meaning.label for meaning in feature.candidate.near.values())}
        able = [i for i in np.flatnonzero(apart).tolist() if pool[i].label not in taken]
        ranked = sorted(
            able, key=lambda i: (ratio[i] > np.log(ALIKE_RATE), content_id("wrong", [feature.candidate.key, pool[i].label]))
        )
        n = max(WRONG_LABELS, OPTIONS - 1 - len(feature.candidate.near))
        result.append(replace(feature, wrong=tuple(pool[i] for i in ranked[:n])))
    return result


def _incidence(world: World, tiles: Sequence[Tiles]) -> scipy.sparse.csr_array:
    """Which tiles each function holds in, shape (n_functions, n_tiles)."""
    bounds = np.cumsum([0, *map(len, tiles)])
    columns = np.concatenate([np.empty(0, dtype=np.int32), *tiles])
    return scipy.sparse.csr_array((np.ones(len(columns)), columns, bounds), shape=(len(tiles), world.n_tiles))


def _company(world: World, features: Iterable[TruthFeature]) -> list[Meaning]:
    """The functions of near-misses that are no features themselves, each once."""
    own = {feature.candidate.meaning.predicate for feature in features}
    near = {meaning.predicate: meaning for feature in features for meaning in feature.candidate.near.values()}
    return [
        meaning
        for predicate, meaning in near.items()
        if predicate not in own and len(world.tiles_of(predicate)) <= MOST_TILES * world.n_tiles
    ]
