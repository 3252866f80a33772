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
from autolabel.evidence.keep import EMPTY
from autolabel.evidence.spill import Spill
from autolabel.hashing import UInt64
from autolabel.records import SPLITS, Split
from autolabel.sampling import run_hashes


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

    @property
    def peak(self) -> int:
        """Token of the window at which it is largest, the first one if several."""
        return int(self.positions[self.values.argmax()])


SILENT = Firing(np.empty(0, dtype=np.uint8), np.empty(0, dtype=np.float32))


class Background:
    """The background sample of one split, in hash order: tiles with the strength of every feature in them."""

    def __init__(self, rows: NDArray[np.int64], strengths: scipy.sparse.csr_array) -> None:
        self.rows = rows
        self.place_of = {int(row): place for place, row in enumerate(rows)}
        self.by_tile = strengths
        """Largest activation per tile and feature, shape (n_tiles, d_sae)."""
        self._by_feature = strengths.tocsc()

    def strengths(self, feature: int) -> NDArray[np.float32]:
        """Largest activation of `feature` in each tile, 0 where it is silent; shape (n_tiles,)."""
        column = np.zeros(len(self.rows), dtype=np.float32)
        at = slice(self._by_feature.indptr[feature], self._by_feature.indptr[feature + 1])
        column[self._by_feature.indices[at]] = self._by_feature.data[at]
        return column

    def active(self, row: int) -> NDArray[np.int32]:
        """The features active in the tile with row number `row`."""
        place = self.place_of[row]
        active: NDArray[np.int32] = self.by_tile.indices[self.by_tile.indptr[place] : self.by_tile.indptr[place + 1]]
        return active


class Kept:
    """Tiles by row number 0 … n − 1 (in the order of their ids) and the activations of every kept (tile, feature) pair."""

    def __init__(self, collector: Collector, spill: Spill) -> None:
        wanted = [collector.strongest.tiles[collector.strongest.keys != EMPTY]]
        for keep in (*collector.firing.values(), *collector.background.values()):
            wanted.append(keep.tiles[keep.keys != EMPTY])
        self._ids: UInt64 = np.unique(np.concatenate(wanted))
        tiles = spill.read_tiles()
        tiles = tiles.filter(pc.is_in(tiles["tile"], value_set=pa.array(self._ids)))
        self.tiles: pa.Table = tiles.sort_by("tile").combine_chunks()
        firings = spill.read_firings()
        firings = firings.filter(pc.is_in(firings["tile"], value_set=pa.array(self._ids))).combine_chunks()
        self._tile_of = self.rows(firings["tile"].to_numpy())
        self._feature_of: NDArray[np.int64] = firings["feature"].to_numpy().astype(np.int64)
        positions, values = (_flat(firings, name) for name in ("positions", "values"))
        self._bounds: NDArray[np.int64] = positions[1]
        self._positions: NDArray[np.uint8] = positions[0]
        self._values: NDArray[np.float32] = values[0]
        self._by_pair = {pair: i for i, pair in enumerate(zip(self._feature_of.tolist(), self._tile_of.tolist(), strict=True))}
        strengths = self._strengths(len(collector.counts.tokens))
        drawn = {split: self.rows(collector.background[split].kept(0)) for split in SPLITS}
        self.background: dict[Split, Background] = {s: Background(rows, strengths[rows]) for s, rows in drawn.items()}

    def rows(self, tile_ids: UInt64) -> NDArray[np.int64]:
        """Row numbers of tiles named by id."""
        return np.searchsorted(self._ids, tile_ids)

    def column(self, name: str) -> NDArray[Any]:
        """One plain column of `tiles`."""
        values: NDArray[Any] = self.tiles[name].to_numpy()
        return values

    def firing(self, feature: int, row: int) -> Firing:
        """The activations of `feature` in tile `row`; `SILENT` where none were kept."""
        index = self._by_pair.get((feature, row))
        if index is None:
            return SILENT
        at = slice(self._bounds[index], self._bounds[index + 1])
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
    def token_ids(self) -> list[NDArray[np.int32]]:
        """Token ids of each window, left context included."""
        flat, bounds = _flat(self.tiles, "token_ids")
        return [flat[a:b] for a, b in pairwise(bounds)]

    @cached_property
    def runs(self) -> list[frozenset[int]]:
        """Hashes of the 13-token runs of each window, for telling near-copies."""
        return [frozenset(run_hashes(ids).tolist()) for ids in self.token_ids]

    def _strengths(self, d_sae: int) -> scipy.sparse.csr_array:
        """Largest activation of every kept pair, shape (n_tiles, d_sae); complete for tiles of the background sample."""
        largest = np.maximum.reduceat(self._values, self._bounds[:-1]) if len(self._tile_of) else self._values
        strengths = scipy.sparse.csr_array((largest, (self._tile_of, self._feature_of)), shape=(len(self._ids), d_sae))
        strengths.sort_indices()
        return strengths


def _flat(table: pa.Table, name: str) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """The values of a list column one after the other, and where each row's begin; shape (n,) and (n_rows + 1,)."""
    column = table[name]
    lengths = pc.list_value_length(column).to_numpy().astype(np.int64)
    return pc.list_flatten(column).to_numpy(), np.concatenate([[0], np.cumsum(lengths)])
