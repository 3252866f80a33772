"""The k smallest 64-bit keys per feature: the one data structure behind strongest windows and uniform samples.

The invariant: what is kept are the k smallest of all keys ever offered, so order, batching and merging change nothing. Which
(tile, feature) pair a key stands for is not held: a pair's key follows from the pair, so whoever has the pair can ask `holds`.
"""

import numpy as np
from numpy.typing import NDArray

from autolabel.hashing import UInt64

EMPTY = np.uint64(0xFFFFFFFFFFFFFFFF)
WAITING_KEYS = 1 << 20
"""Keys that wait to be sorted in; larger is faster per key and admits more that is displaced later."""
_CHUNK_ROWS = 1 << 14
_MANY = 4
"""A feature with more than so many times k waiting keys is sorted in by itself."""


class BottomK:
    """For each of `n_features` features the `k` smallest keys, ascending."""

    def __init__(self, n_features: int, k: int) -> None:
        self.k = k
        self.keys: UInt64 = np.full((n_features, k), EMPTY, dtype=np.uint64)
        self._worst: UInt64 = np.full(n_features, EMPTY, dtype=np.uint64)
        self._waiting: list[tuple[NDArray[np.int64], UInt64]] = []
        self._n_waiting = 0

    def offer(self, features: NDArray[np.int64], keys: UInt64) -> NDArray[np.bool_]:
        """Offer keys, distinct per feature; returns which may be among the k smallest (seldom one that is not, never less)."""
        admitted: NDArray[np.bool_] = keys <= self._worst[features]
        if admitted.any():
            self._waiting.append((features[admitted], keys[admitted]))
            self._n_waiting += len(self._waiting[-1][0])
        if self._n_waiting >= WAITING_KEYS:
            self.settle()
        return admitted

    def holds(self, features: NDArray[np.int64], keys: UInt64) -> NDArray[np.bool_]:
        """Which of these keys, all offered before, are among the k smallest of their feature."""
        self.settle()
        held: NDArray[np.bool_] = keys <= self._worst[features]
        return held

    def merge(self, other: "BottomK") -> None:
        """Take over the keys of a collection of other text."""
        other.settle()
        features, places = np.nonzero(other.keys != EMPTY)
        self.offer(features, other.keys[features, places])

    def load(self, keys: UInt64) -> None:
        """Replace everything by the keys of an earlier collection, shape (n_features, k), ascending."""
        self.keys, self._worst = keys, keys[:, -1].copy()
        self._waiting, self._n_waiting = [], 0

    @property
    def n_bytes(self) -> int:
        """Memory that the keys take, those that wait included."""
        return self.keys.nbytes + self._worst.nbytes + sum(f.nbytes + k.nbytes for f, k in self._waiting)

    @property
    def n_kept(self) -> int:
        """Keys held, all features together."""
        self.settle()
        return int((self.keys != EMPTY).sum())

    def settle(self) -> None:
        """Sort in what waits."""
        if not self._n_waiting:
            return
        features, keys = (np.concatenate(parts) for parts in zip(*self._waiting, strict=True))
        self._waiting, self._n_waiting = [], 0
        order = np.argsort(features.astype(np.uint16) if len(self.keys) <= 1 << 16 else features, kind="stable")
        features, keys = features[order], keys[order]
        first = np.flatnonzero(np.concatenate([[True], features[1:] != features[:-1]]))
        counts = np.diff(np.append(first, len(features)))
        many = counts > _MANY * self.k
        for start, count in zip(first[many].tolist(), counts[many].tolist(), strict=True):
            row = features[start]
            together = np.concatenate([self.keys[row], keys[start : start + count]])
            self.keys[row] = np.sort(np.partition(together, self.k - 1)[: self.k])
        self._settle_few(features[first[~many]], first[~many], counts[~many], keys)
        touched = features[first]
        self._worst[touched] = self.keys[touched, -1]

    def _settle_few(self, touched: NDArray[np.int64], first: NDArray[np.int64], counts: NDArray[np.int64], keys: UInt64) -> None:
        """Sort in keys of features that have not many each, as the rows of a matrix."""
        for start in range(0, len(touched), _CHUNK_ROWS):
            chunk = slice(start, start + _CHUNK_ROWS)
            rows, numbers = touched[chunk], counts[chunk]
            block = np.full((len(rows), self.k + int(numbers.max())), EMPTY, dtype=np.uint64)
            block[:, : self.k] = self.keys[rows]
            line = np.repeat(np.arange(len(rows)), numbers)
            rank = np.arange(len(line)) - np.repeat(np.cumsum(numbers) - numbers, numbers)
            block[line, self.k + rank] = keys[first[chunk][line] + rank]
            block.sort(axis=1)
            self.keys[rows] = block[:, : self.k]


def strength_keys(values: NDArray[np.float32], draw: UInt64) -> UInt64:
    """Keys that are smaller the larger the (positive) value is; equal values are told apart by the hash `draw`."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32).astype(np.uint64)
    keys: UInt64 = ((np.uint64(0xFFFFFFFF) - bits) << np.uint64(32)) | (draw >> np.uint64(32))
    return keys
