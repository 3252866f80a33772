"""What the collector kept, loaded from its spill and indexed for drawing examples."""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse
from numpy.typing import NDArray

from autolabel.evidence.collector import Collector
from autolabel.evidence.copies import SharedRuns
from autolabel.evidence.keep import EMPTY
from autolabel.evidence.spill import Spill
from autolabel.hashing import UInt64
from autolabel.records import SPLITS, Split


@dataclass(frozen=True, slots=True)
class Firing:
    """The activations of one feature in one tile; positions are tokens of the window."""

    positions: NDArray[np.uint8]
    values: NDArray[np.float32]

    @property
    def fires(self) -> bool:
        """Whether there is any."""
        return len(self.values) > 0

    @property
    def largest(self) -> float:
        """The largest activation, 0 where there is none."""
        return float(self.values.max(initial=0.0))


SILENT = Firing(np.empty(0, dtype=np.uint8), np.empty(0, dtype=np.float32))


class Background:
    """The background sample of one split, in hash order: tiles with the strength and peak of every feature in them."""

    def __init__(self, rows: NDArray[np.int64], strengths: scipy.sparse.csr_array, peaks: NDArray[np.uint8]) -> None:
        self.rows = rows
        self.by_tile = strengths
        """Largest activation per tile and feature, shape (n_tiles, d_sae), features ascending within a tile."""
        self.peaks = peaks
        """Token of the window at which each entry of `by_tile` is reached."""
        self._place_of = {row: place for place, row in enumerate(rows.tolist())}
        self._by_feature = strengths.tocsc()

    def strengths(self, feature: int) -> NDArray[np.float32]:
        """Largest activation of `feature` in each tile, 0 where it is silent; shape (n_tiles,)."""
        column = np.zeros(len(self.rows), dtype=np.float32)
        at = slice(self._by_feature.indptr[feature], self._by_feature.indptr[feature + 1])
        column[self._by_feature.indices[at]] = self._by_feature.data[at]
        return column

    def active(self, row: int) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.uint8]]:
        """The features active in the tile with row number `row`, the largest activation of each and the token it is reached at."""
        place = self._place_of[row]
        at = slice(self.by_tile.indptr[place], self.by_tile.indptr[place + 1])
        return self.by_tile.indices[at], self.by_tile.data[at], self.peaks[at]


class Kept:
    """Tiles by row number 0 … n − 1 (in the order of their ids) and the activations of every kept (tile, feature) pair."""

    def __init__(self, collector: Collector, spill: Spill) -> None:
        wanted = [collector.strongest.tiles[collector.strongest.keys != EMPTY]]
        for keep in (*collector.firing.values(), *collector.background.values()):
            wanted.append(keep.tiles[keep.keys != EMPTY])
        self._ids: UInt64 = np.unique(np.concatenate(wanted))
        self.tiles: pa.Table = spill.read_tiles(self._ids).sort_by("tile").combine_chunks()
        firings = spill.read_firings(self._ids).combine_chunks()
        self._positions, self._bounds = _flat(firings, "positions")
        self._values, _ = _flat(firings, "values")
        self._pairs = self._numbered(firings, len(collector.counts.tokens))
        self.background: dict[Split, Background] = {split: self._background(collector, split) for split in SPLITS}

    def rows(self, tile_ids: UInt64) -> NDArray[np.int64]:
        """Row numbers of tiles named by id."""
        return np.searchsorted(self._ids, tile_ids)

    def column(self, name: str) -> NDArray[Any]:
        """One plain column of `tiles`."""
        values: NDArray[Any] = self.tiles[name].to_numpy()
        return values

    def firing(self, feature: int, row: int) -> Firing:
        """The activations of `feature` in tile `row`; `SILENT` where none were kept."""
        start, end = self._pairs.indptr[row : row + 2]
        place = start + np.searchsorted(self._pairs.indices[start:end], feature)
        if place == end or self._pairs.indices[place] != feature:
            return SILENT
        pair = self._pairs.data[place]
        at = slice(self._bounds[pair], self._bounds[pair + 1])
        return Firing(self._positions[at], self._values[at])

    @cached_property
    def texts(self) -> list[str]:
        """Text of each window."""
        texts: list[str] = self.tiles["text"].to_pylist()
        return texts

    @cached_property
    def token_starts(self) -> list[NDArray[np.int32]]:
        """Character at which each token of each window starts."""
        flat, bounds = _flat(self.tiles, "token_starts")
        return [flat[a:b] for a, b in pairwise(bounds)]

    @cached_property
    def token_ids(self) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Token ids of all windows one after the other, left context included, and where each window begins (and the last ends)."""
        return _flat(self.tiles, "token_ids")

    @cached_property
    def shared_runs(self) -> SharedRuns:
        """The 13-token runs that windows of different documents share."""
        return SharedRuns(*self.token_ids, self.column("document"))

    def _numbered(self, firings: pa.Table, d_sae: int) -> scipy.sparse.csr_array:
        """The number of every kept pair by tile row and feature, shape (n_tiles, d_sae)."""
        at = (self.rows(firings["tile"].to_numpy()), firings["feature"].to_numpy())
        numbers = scipy.sparse.csr_array((np.arange(firings.num_rows), at), shape=(len(self._ids), d_sae))
        numbers.sort_indices()
        return numbers

    def _background(self, collector: Collector, split: Split) -> Background:
        """The background sample of a split, for which the pairs of all features were kept."""
        rows = self.rows(collector.background[split].kept(0))
        pairs = self._pairs[rows]
        largest, peaks = self._largest
        strengths = scipy.sparse.csr_array((largest[pairs.data], pairs.indices, pairs.indptr), shape=pairs.shape)
        return Background(rows, strengths, peaks[pairs.data])

    @cached_property
    def _largest(self) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """The largest activation of every kept pair, and the first token of the window that reaches it."""
        if len(self._values) == 0:
            return self._values, self._positions
        largest = np.maximum.reduceat(self._values, self._bounds[:-1])
        lengths = np.diff(self._bounds)
        reached = np.flatnonzero(self._values == np.repeat(largest, lengths))
        _, first = np.unique(np.repeat(np.arange(len(lengths)), lengths)[reached], return_index=True)
        return largest, self._positions[reached[first]]


def _flat(table: pa.Table, name: str) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """The values of a list column one after the other, and where each row's begin; shape (n,) and (n_rows + 1,)."""
    column = table[name]
    lengths = pc.list_value_length(column).to_numpy().astype(np.int64)
    return pc.list_flatten(column).to_numpy(), np.concatenate([[0], np.cumsum(lengths)])
