"""What fuzzing marks in tiles where a feature is silent: as many tokens as in its firing tiles, at peaks of features that fire
about as often, never at positions drawn at random (validity §2)."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from autolabel.evidence.draws import marks
from autolabel.evidence.kept import Background, Kept, Rows
from autolabel.records import Split

_REACHES = (8, 48)
"""So many features on either side of a feature's firing rate are tried, then so many, then all of a tile's."""

MarksOfPlaces = Callable[[NDArray[np.int64], NDArray[np.int64] | int], NDArray[np.uint32]]


class NegativeMarks:
    """Chooses the marks of negatives."""

    def __init__(self, kept: Kept, log_rates: NDArray[np.float64]) -> None:
        """`log_rates`, shape (d_sae,), are logarithms of how often each feature fires."""
        self._kept = kept
        self._log_rates = log_rates
        self._by_rate = {split: _ByRate(background, log_rates) for split, background in kept.background.items()}

    def for_split(self, split: Split, features: NDArray[np.int64], firing: Rows) -> MarksOfPlaces:
        """What to mark in background tiles of a split; `firing`, shape (n_features, k), are the firing tiles drawn for `features`.

        The function returned takes places in the background sample, shape (n_features, n), −1 for none, and the rank of the first
        among the negatives of their stratum; a negative gets as many marks as the firing tile of its rank.
        """
        owners = np.broadcast_to(features[:, None], firing.shape)
        pairs = self._kept.pairs_at(owners.ravel(), np.maximum(firing, 0).ravel())
        numbers = np.where(firing >= 0, np.bitwise_count(marks(self._kept, pairs)).reshape(firing.shape), 0).astype(np.int64)
        n_firing = (firing >= 0).sum(axis=1)
        if firing.shape[1] == 0:
            numbers = np.ones((len(features), 1), dtype=np.int64)
        numbers[n_firing == 0, 0] = 1

        def of(places: NDArray[np.int64], first_rank: NDArray[np.int64] | int) -> NDArray[np.uint32]:
            ranks = np.arange(places.shape[1])[None, :] + np.broadcast_to(first_rank, (len(features),))[:, None]
            wanted = np.take_along_axis(numbers, ranks % np.maximum(n_firing, 1)[:, None], axis=1)
            found = np.zeros(places.shape, dtype=np.uint32)
            there = places >= 0
            of_pair = np.broadcast_to(features[:, None], places.shape)[there]
            found[there] = self._by_rate[split].peaks(of_pair, places[there], wanted[there])
            return found

        return of


class _ByRate:
    """The features active in each background tile of a split, in the order of their firing rates, and where each peaks."""

    def __init__(self, background: Background, log_rates: NDArray[np.float64]) -> None:
        by_tile = background.by_tile
        tiles = np.repeat(np.arange(by_tile.shape[0]), np.diff(by_tile.indptr))
        order = np.lexsort((by_tile.indices, log_rates[by_tile.indices], tiles))
        self._features = by_tile.indices[order].astype(np.int64)
        self._rates = log_rates[self._features]
        self._peaks = background.peaks[order].astype(np.uint32)
        self._bounds = by_tile.indptr.astype(np.int64)
        self._log_rates = log_rates
        # One ascending key over all tiles finds a rate within a tile by a single binary search.
        self._spread = float(self._rates.max(initial=0.0) - self._rates.min(initial=0.0)) + 1.0
        self._keys = self._rates + tiles * self._spread

    def peaks(self, features: NDArray[np.int64], places: NDArray[np.int64], numbers: NDArray[np.int64]) -> NDArray[np.uint32]:
        """Bits of the first `numbers` distinct peaks in each tile, of the other features nearest in firing rate."""
        found = np.zeros(len(features), dtype=np.uint32)
        left = np.arange(len(features))
        for reach in (*_REACHES, int(np.diff(self._bounds).max(initial=1))):
            found[left], lacking = self._nearest(features[left], places[left], numbers[left], reach)
            left = left[lacking]
        return found

    def _nearest(
        self, features: NDArray[np.int64], places: NDArray[np.int64], numbers: NDArray[np.int64], reach: int
    ) -> tuple[NDArray[np.uint32], NDArray[np.bool_]]:
        """The same among `reach` features on either side, and where more would have been needed and are there."""
        rates = self._log_rates[features]
        low, high = self._bounds[places], self._bounds[places + 1]
        middle = np.clip(np.searchsorted(self._keys, rates + places * self._spread), low, high)
        at = middle[:, None] + np.arange(-reach, reach)[None, :]
        inside = (at >= low[:, None]) & (at < high[:, None])
        at = np.where(inside, at, 0)
        if len(self._features) == 0:
            return np.zeros(len(features), dtype=np.uint32), np.zeros(len(features), dtype=bool)
        others = self._features[at]
        inside &= others != features[:, None]
        distance = np.where(inside, np.abs(self._rates[at] - rates[:, None]), np.inf)
        # What lies beyond the reach on one side may be nearer than what lies within it on the other.
        cut = np.stack([middle - reach > low, middle + reach < high], axis=1)
        nearest_beyond = np.where(cut, distance[:, [0, -1]], np.inf).min(axis=1)
        inside &= distance <= nearest_beyond[:, None]
        distance[~inside] = np.inf
        order = np.lexsort((others, distance), axis=1)
        bits = np.where(inside, np.uint32(1) << self._peaks[at], np.uint32(0))
        bits = np.take_along_axis(bits, order, axis=1)
        found = np.zeros(len(features), dtype=np.uint32)
        left = numbers.copy()
        for column in range(bits.shape[1]):
            fresh = (bits[:, column] & ~found != 0) & (left > 0)
            found[fresh] |= bits[fresh, column]
            left[fresh] -= 1
        lacking = (left > 0) & cut.any(axis=1)
        return found, lacking
