"""The k best entries per feature under a 64-bit key: the one data structure behind strongest windows and uniform samples.

The invariant: what is kept are the k smallest of all (key, tile) ever offered, so order, batching and merging change nothing.
"""

import numpy as np
from numpy.typing import NDArray

from autolabel.hashing import UInt64

EMPTY = np.uint64(0xFFFFFFFFFFFFFFFF)


class BottomK:
    """For each of `n_features` features the `k` tiles with the smallest keys, smallest first."""

    def __init__(self, n_features: int, k: int) -> None:
        self.k = k
        self.keys: UInt64 = np.full((n_features, k), EMPTY, dtype=np.uint64)
        self.tiles: UInt64 = np.zeros((n_features, k), dtype=np.uint64)

    def offer(self, features: NDArray[np.int64], keys: UInt64, tiles: UInt64) -> NDArray[np.bool_]:
        """Offer entries, tiles distinct per feature; returns which of them are now among the k best of their feature."""
        admitted: NDArray[np.bool_] = keys <= self.keys[features, -1]
        candidates = np.flatnonzero(admitted)
        if len(candidates) == 0:
            return admitted
        touched = np.unique(features[candidates])
        n_state = len(touched) * self.k
        all_features = np.concatenate([np.repeat(touched, self.k), features[candidates]])
        all_keys = np.concatenate([self.keys[touched].ravel(), keys[candidates]])
        all_tiles = np.concatenate([self.tiles[touched].ravel(), tiles[candidates]])
        order = np.lexsort((all_tiles, all_keys, all_features))
        first = np.searchsorted(all_features[order], touched)
        best = order[first[:, None] + np.arange(self.k)]
        self.keys[touched] = all_keys[best]
        self.tiles[touched] = all_tiles[best]
        kept = np.zeros(len(all_features), dtype=bool)
        kept[best.ravel()] = True
        admitted[candidates] = kept[n_state:]
        return admitted

    def kept(self, feature: int) -> UInt64:
        """The tiles kept for `feature`, best first."""
        filled: UInt64 = self.tiles[feature][self.keys[feature] != EMPTY]
        return filled


def strength_keys(values: NDArray[np.float32], draw: UInt64) -> UInt64:
    """Keys that are smaller the larger the (positive) value is; equal values are told apart by the hash `draw`."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32).astype(np.uint64)
    keys: UInt64 = ((np.uint64(0xFFFFFFFF) - bits) << np.uint64(32)) | (draw >> np.uint64(32))
    return keys
