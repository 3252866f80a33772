"""Do the intervals hold what they promise? Exams are drawn again and again from a population of which the exact score is known.

The population is every test tile, in three groups as in an exam: tiles in which the feature fires, tiles in which a near-miss's
function holds and the feature is silent, and all other silent tiles. The judge is one that errs: the label's own function plus noise
that belongs to the tile, so that its predictions have an exact score over the population.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.special
from numpy.typing import NDArray

from autolabel.hashing import combine, content_id
from autolabel.metrics import label_score
from autolabel.ranking import Exam
from autolabel.records import STRATA
from autolabel.truth.bank import NEAR_KINDS
from autolabel.truth.built import Built, Shipped
from autolabel.truth.resampling import Measured, mean_of
from autolabel.truth.world import Tiles

DRAWS = 40
"""Exams drawn for each label."""
PAIRS = 50
"""Labels whose exams are drawn: true ones and near-misses in turn."""
NOISES = (0.0, 0.5)
"""Standard deviations of the judge's noise, in units of the distance between yes and no."""
_NOISE_SALT = 81
_LEAST = 40
"""Tiles that each group of a population must hold."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """How often the 95% interval of `label_score` holds the population's own."""

    noise: float
    tiles: int
    """Tiles of each stratum in an exam."""
    covered: Measured
    """Mean over labels, of each of which so many exams are drawn."""
    width: float
    bias: float
    """Mean of score minus exact score."""


def measure_coverage(built: Built, tiles: int = 20) -> list[Coverage]:
    """Coverage for a judge that never errs and for one that does, over labels of features with enough tiles."""
    chosen = _chosen(built)
    return [_coverage(built, chosen, noise, tiles) for noise in NOISES] if chosen else []


def _chosen(built: Built) -> list[Shipped]:
    """True labels and near-misses that do not predict perfectly what fires, one of each feature."""
    found = []
    for number, feature in enumerate(built.features):
        able = [one for one in built.shipped[feature.index] if one.shipped.relation in ("true", *NEAR_KINDS) and one.exact.f1 < 1]
        if able and min(map(len, _population(built, feature.index))) >= _LEAST:
            found.append(able[number % len(able)])
    return sorted(found, key=lambda one: content_id("coverage", one.label.label_id))[:PAIRS]


def _population(built: Built, index: int) -> list[Tiles]:
    """Test tiles of the three strata."""
    world = built.world
    fired = world.split_tiles(built.fired[index], "test")
    near = [meaning.predicate for meaning in built.feature(index).candidate.near.values()]
    held = np.unique(np.concatenate([fired[:0], *(world.split_tiles(world.tiles_of(one), "test") for one in near)]))
    hard = np.setdiff1d(held, fired)
    everything = world.split_tiles(np.arange(world.n_tiles, dtype=np.int32), "test")
    return [fired, hard.astype(np.int32), np.setdiff1d(everything, np.union1d(fired, hard)).astype(np.int32)]


def _coverage(built: Built, chosen: Sequence[Shipped], noise: float, tiles: int) -> Coverage:
    shares, widths, errors = [], [], []
    for one in chosen:
        strata = _population(built, one.label.feature_index)
        exact = _exact_score(built, one, strata, noise)
        generator = np.random.default_rng(int(one.label.label_id[:8], 16))
        holds = []
        for _ in range(DRAWS):
            drawn = [generator.choice(group, tiles, replace=False) for group in strata]
            everything = np.concatenate(drawn)
            names = np.repeat(STRATA, tiles)
            found = label_score(_values(built, one, everything, noise), names, _documents(built, everything), 0)
            if found.value is not None and found.low is not None and found.high is not None:
                holds.append(float(found.low <= exact <= found.high))
                widths.append(found.high - found.low)
                errors.append(found.value - exact)
        shares.append(float(np.mean(holds)))
    return Coverage(noise, tiles, mean_of(shares), float(np.mean(widths)), float(np.mean(errors)))


def _exact_score(built: Built, one: Shipped, strata: Sequence[Tiles], noise: float) -> float:
    """`label_score` over the whole population, its groups weighing the same."""
    everything = np.concatenate(list(strata))
    names = np.repeat(STRATA, [len(group) for group in strata])
    exam = Exam.of(names, _documents(built, everything))
    return float((3 * exam.average_precision(_values(built, one, everything, noise))[0] - 1) / 2)


def _values(built: Built, one: Shipped, tiles: Tiles, noise: float) -> NDArray[np.float64]:
    """What the judge says of tiles: always the same of the same tile."""
    named = built.world.tiles_of(one.shipped.predicate) if one.shipped.predicate is not None else tiles[:0]
    values = np.isin(tiles, named).astype(np.float64)
    if noise:
        key = int(one.label.label_id[:15], 16)
        uniform = combine(_NOISE_SALT, key, built.world.tile_id[tiles]).astype(np.float64) / 2.0**64
        values += noise * scipy.special.ndtri(np.clip(uniform, 1e-9, 1 - 1e-9))
    return values


def _documents(built: Built, tiles: Tiles) -> NDArray[np.int32]:
    documents: NDArray[np.int32] = built.world.source_of_document[built.world.tile_document[tiles]]
    return documents
