"""A batch of activations seen by tile: which tiles there are, and which (tile, feature) pairs fire, and where."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autolabel.evidence.firings import FiringBatch
from autolabel.hashing import UInt64
from autolabel.records import SPLITS
from autolabel.sampling import TILE_TOKENS, tile_ids


@dataclass(frozen=True, slots=True)
class Tiles:
    """The tiles of one batch, in the order of their contexts."""

    context: NDArray[np.int64]
    """Row of the batch."""
    place: NDArray[np.int64]
    """Which tile of its context."""
    ids: UInt64
    split: NDArray[np.uint8]
    """Index into `SPLITS`."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """(tile, feature) pairs in which the feature fires, and the activations of each."""

    tile: UInt64
    """Id of the tile."""
    feature: NDArray[np.int32]
    split: NDArray[np.uint8]
    largest: NDArray[np.float32]
    length: NDArray[np.int64]
    positions: NDArray[np.uint8]
    """Tokens of the tile, 0 … 31, all pairs one after the other, ascending within a pair."""
    values: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.tile)

    def select(self, which: NDArray[np.bool_] | NDArray[np.int64]) -> "Pairs":
        """Some of the pairs, in their order (or in the order named)."""
        places = np.flatnonzero(which) if which.dtype == np.bool_ else which
        start = np.cumsum(self.length) - self.length
        lengths = self.length[places]
        begins = np.cumsum(lengths) - lengths
        entries = np.repeat(start[places] - begins, lengths) + np.arange(int(lengths.sum()))
        plain = (self.tile[places], self.feature[places], self.split[places], self.largest[places])
        return Pairs(*plain, lengths, self.positions[entries], self.values[entries])


def tiles_of(batch: FiringBatch) -> Tiles:
    """The tiles of a batch."""
    contexts = batch.contexts
    n_tiles = np.array([context.n_tiles for context in contexts], dtype=np.int64)
    row = np.repeat(np.arange(len(contexts)), n_tiles)
    place = np.arange(int(n_tiles.sum())) - np.repeat(np.cumsum(n_tiles) - n_tiles, n_tiles)
    documents = np.array([context.document.hash for context in contexts], dtype=np.uint64)
    first = np.array([context.first_tile for context in contexts], dtype=np.int64)
    splits = np.array([SPLITS.index(context.document.split) for context in contexts], dtype=np.uint8)
    return Tiles(row, place, tile_ids(documents[row], first[row] + place), splits[row])


def pairs_of(batch: FiringBatch, tiles: Tiles, d_sae: int) -> tuple[Pairs, NDArray[np.int64]]:
    """Group the entries that lie in whole tiles by (tile, feature); also which tile of `tiles` each pair is in."""
    offsets = np.array([c.offset for c in batch.contexts], dtype=np.int64)
    n_tiles = np.array([c.n_tiles for c in batch.contexts], dtype=np.int64)
    first_tile = np.cumsum(n_tiles) - n_tiles
    place, position = np.divmod(batch.positions - offsets[batch.rows], TILE_TOKENS)
    inside = (place >= 0) & (place < n_tiles[batch.rows])
    tile = first_tile[batch.rows[inside]] + place[inside]
    group = tile * d_sae + batch.features[inside]
    # Positions make the keys distinct, so that the fastest sort is also a stable one.
    order = np.argsort(group * TILE_TOKENS + position[inside])
    group = group[order]
    values = batch.values[inside][order]
    start = np.flatnonzero(np.concatenate([[True], group[1:] != group[:-1]])) if len(group) else np.empty(0, dtype=np.int64)
    number, feature = np.divmod(group[start], d_sae)
    pairs = Pairs(
        tile=tiles.ids[number],
        feature=feature.astype(np.int32),
        split=tiles.split[number],
        largest=np.maximum.reduceat(values, start) if len(start) else np.empty(0, dtype=np.float32),
        length=np.diff(np.append(start, len(group))),
        positions=position[inside][order].astype(np.uint8),
        values=values,
    )
    return pairs, number
