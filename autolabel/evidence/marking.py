"""What fuzzing marks in tiles where a feature is silent: as many tokens as in its firing tiles, at peaks of features that fire
about as often, never at positions drawn at random (validity §2)."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autolabel.evidence.draws import marks
from autolabel.evidence.kept import Background, Kept, Rows
from autolabel.records import Split

MarksOfPlaces = Callable[[NDArray[np.int64], NDArray[np.int64] | int], NDArray[np.uint32]]


class NegativeMarks:
    """Chooses the marks of negatives."""

    def __init__(self, kept: Kept, log_rates: NDArray[np.float64]) -> None:
        """`log_rates`, shape (d_sae,), are logarithms of how often each feature fires."""
        self._kept = kept
        self._log_rates = log_rates
        self._by_rate = {split: PeaksByRate(background, log_rates) for split, background in kept.background.items()}

    def for_split(self, split: Split, features: NDArray[np.int64], firing: Rows) -> MarksOfPlaces:
        """What to mark in background tiles of a split; `firing`, shape (n_features, k), are the firing tiles drawn for `features`.

        The function returned takes places in the background sample, shape (n_features, n), −1 for none, and the rank of the first
        among the negatives of their stratum; a negative gets as many marks as the firing tile of its rank.
        """
        owners = np.broadcast_to(features[:, None], firing.shape)
        pairs = self._kept.pairs_at(owners.ravel(), np.maximum(firing, 0).ravel())
        numbers = np.where(firing >= 0, np.bitwise_count(marks(self._kept, pairs)).reshape(firing.shape), 0).astype(np.int64)
        n_firing = (firing >= 0).sum(axis=1)
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


class PeaksByRate:
    """The features active in each background tile of a split, in the order of their firing rates, and where each peaks."""

    def __init__(self, background: Background, log_rates: NDArray[np.float64]) -> None:
        by_tile = background.by_tile
        self._log_rates = log_rates
        distinct, self._rank = np.unique(log_rates, return_inverse=True)
        self._n_rates = len(distinct)
        tiles = np.repeat(np.arange(by_tile.shape[0]), np.diff(by_tile.indptr))
        keys = self._key(tiles, by_tile.indices.astype(np.int64))
        order = np.argsort(keys)
        self._keys = keys[order]
        self._rates = np.append(log_rates[by_tile.indices[order]], np.inf)
        self._peaks = np.uint32(1) << background.peaks[order].astype(np.uint32)
        self._bounds = by_tile.indptr.astype(np.int64)
        filled = np.flatnonzero(np.diff(self._bounds))
        self._all_peaks = np.zeros(by_tile.shape[0], dtype=np.uint32)
        if len(filled):
            self._all_peaks[filled] = np.bitwise_or.reduceat(self._peaks, self._bounds[filled])

    def _key(self, tiles: NDArray[np.int64], features: NDArray[np.int64]) -> NDArray[np.int64]:
        """Ascends by tile, within one by firing rate, then by feature, so that a binary search finds a feature's place in any tile."""
        return (tiles * self._n_rates + self._rank[features]) * len(self._rank) + features

    def peaks(self, features: NDArray[np.int64], places: NDArray[np.int64], numbers: NDArray[np.int64]) -> NDArray[np.uint32]:
        """Bits of the first `numbers` distinct peaks in each tile, of the other features nearest in firing rate, rarer ones first."""
        keys, low, high = self._key(places, features), self._bounds[places], self._bounds[places + 1]
        above = np.searchsorted(self._keys, keys)
        below = above - 1
        is_own = above < high
        is_own[is_own] = self._keys[above[is_own]] == keys[is_own]
        above += is_own
        takes_all = ~is_own & (np.bitwise_count(self._all_peaks[places]) <= numbers)
        found = np.where(takes_all, self._all_peaks[places], np.uint32(0))
        wanted = np.where(takes_all, 0, numbers)
        self._walk(found, np.arange(len(features)), self._log_rates[features], wanted, below, above, low, high)
        return found

    def _walk(self, found: NDArray[np.uint32], *columns: NDArray[Any]) -> None:
        """Go step by step outwards from each feature's own rate, until it has its number of peaks in `found` or the tile ends."""
        while True:
            number, rate, wanted, below, above, low, high = columns
            goes_on = (wanted > 0) & ((below >= low) | (above < high))
            number, rate, wanted, below, above, low, high = columns = tuple(column[goes_on] for column in columns)
            if len(number) == 0:
                return
            down = np.where(below >= low, rate - self._rates[below], np.inf)
            up = np.where(above < high, self._rates[above] - rate, np.inf)
            descends = down <= up
            peaks = self._peaks[np.where(descends, below, above)]
            wanted -= peaks & ~found[number] != 0
            found[number] |= peaks
            below -= descends
            above += ~descends
