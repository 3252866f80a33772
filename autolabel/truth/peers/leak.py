"""How much of a score is memory: the memoriser under delphi's draws as they are, under disjoint draws, and under splits by document."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

import numpy as np

from autolabel.hashing import content_id
from autolabel.records import Split
from autolabel.truth.nuisances import Firing
from autolabel.truth.peers.delphi import NEGATIVES
from autolabel.truth.peers.excerpts import Reader
from autolabel.truth.peers.memoriser import RareWords, Reading, on_tiles
from autolabel.truth.peers.quantiles import draw
from autolabel.truth.world import Tiles, World

EXAM_TILES = 20
"""Tiles of each kind in a test by our split: as many as in an exam."""
RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class LeakRow:
    """The memoriser of one feature."""

    feature: int
    n_tiles: int
    """Tiles that fire."""
    shared: float
    """Share of delphi's test positives that its labeler is shown."""
    leaky: Reading
    """Tested as delphi does."""
    disjoint: Reading
    """Tested on other tiles of the same documents."""
    ours: Reading
    """Having read train text, tested on test text."""


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean over features with its 95% interval, by resampling features."""

    value: float
    low: float
    high: float


def leak_rows(
    world: World, firings: Sequence[Firing], features: Sequence[int], seed: int, n_tiles: int | None = None
) -> Iterator[LeakRow]:
    """Measure the features that fire often enough for all three.

    With `n_tiles`, each is measured as if no more than so many tiles of it had been seen, a random sample of them: as rare features
    are, and frequent ones in less text.
    """
    words = RareWords(world)
    for feature in features:
        row = _row(world, words, firings[feature], feature, seed, n_tiles)
        if row is not None:
            yield row


def mean(values: Sequence[float], seed: int) -> Mean:
    """Mean of some features' values.

    Raises:
        ValueError: there are none.
    """
    if not values:
        raise ValueError("there are no values; a mean needs at least one")
    array = np.asarray(values, dtype=np.float64)
    drawn = np.random.default_rng(seed).integers(0, len(array), (RESAMPLES, len(array)))
    low, high = np.quantile(array[drawn].mean(axis=1), [0.025, 0.975])
    return Mean(float(array.mean()), float(low), float(high))


def _row(world: World, words: RareWords, firing: Firing, feature: int, seed: int, n_tiles: int | None) -> LeakRow | None:
    reader = Reader(world, firing)
    random = Random(int(content_id("leak", [seed, feature])[:15], 16))
    ordered, silent = reader.tiles_by_strength(), reader.silent_tiles()
    if n_tiles is not None and n_tiles < len(ordered):
        ordered = ordered[sorted(random.sample(range(len(ordered)), n_tiles))]

    def some(tiles: Sequence[int], n: int) -> list[int]:
        return random.sample(tiles, min(n, len(tiles)))

    def of(split: Split, tiles: Tiles) -> list[int]:
        return [int(tile) for tile in world.split_tiles(tiles, split)]

    test = some(of("test", ordered), EXAM_TILES)
    test_silent = some(of("test", silent), EXAM_TILES)
    leaky, disjoint = (draw(ordered.tolist(), leaky) for leaky in (True, False))
    ours = draw(of("train", ordered), leaky=False)
    if not (test and test_silent and disjoint.tested and ours.shown):
        return None
    negatives = some(silent.tolist(), NEGATIVES)
    memory = words.memorise(firing, leaky.shown)
    return LeakRow(
        feature=feature,
        n_tiles=len(ordered),
        shared=len(set(leaky.tested) & set(leaky.shown)) / len(leaky.tested),
        leaky=on_tiles(words, memory, leaky.tested, negatives),
        disjoint=on_tiles(words, memory, disjoint.tested, negatives),
        ours=on_tiles(words, words.memorise(firing, ours.shown), test, test_silent),
    )
