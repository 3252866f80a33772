"""One streaming pass over a corpus: exact counts of every feature, and the tiles worth keeping.

The invariants: state is O(features × tiles kept) whatever the corpus size; counts are integers; what is kept is decided by
values and hashes of (seed, feature, document, tile) alone, so the order of documents changes nothing.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autolabel.config import EvidenceSettings
from autolabel.evidence.batches import ActivationBatch
from autolabel.evidence.corpus import Context
from autolabel.evidence.keep import BottomK, strength_keys
from autolabel.evidence.sae import SparseCoder
from autolabel.evidence.spill import Spill
from autolabel.hashing import UInt64
from autolabel.records import SPLITS, Split
from autolabel.sampling import TILE_TOKENS, background_keys, draw_keys, tile_ids

HISTOGRAM_BINS = 64
_HISTOGRAM_ZERO = 32
_BINS_PER_OCTAVE = 4
_FIXED_POINT = 2.0**16


class Counts:
    """Exact integer counts per feature, each array of shape (d_sae,) unless said otherwise."""

    def __init__(self, d_sae: int) -> None:
        self.tokens = np.zeros(d_sae, dtype=np.int64)
        self.contexts = np.zeros(d_sae, dtype=np.int64)
        self.tiles: dict[Split, NDArray[np.int64]] = {split: np.zeros(d_sae, dtype=np.int64) for split in SPLITS}
        self.sums = np.zeros(d_sae, dtype=np.int64)
        """Sum of activations in units of 2^-16: integer sums do not depend on their order."""
        self.largest = np.zeros(d_sae, dtype=np.float32)
        self.histogram = np.zeros((d_sae, HISTOGRAM_BINS), dtype=np.int64)
        """Tokens per activation bin; bin i holds [2^((i−32)/4), 2^((i−31)/4)), the ends open."""
        self.all_tokens = 0
        self.all_contexts = 0
        self.all_tiles: dict[Split, int] = dict.fromkeys(SPLITS, 0)
        self.outliers = 0


@dataclass(frozen=True, slots=True)
class _Tiles:
    """The tiles of one batch, in the order of their contexts."""

    context: NDArray[np.int64]
    """Row of the batch."""
    place: NDArray[np.int64]
    """Which tile of its context."""
    ids: UInt64
    split: NDArray[np.int8]
    """Index into `SPLITS`."""


@dataclass(frozen=True, slots=True)
class _Pairs:
    """The (tile, feature) pairs of one batch in which the feature fires, and the activations of each."""

    tile: NDArray[np.int64]
    feature: NDArray[np.int64]
    largest: NDArray[np.float32]
    start: NDArray[np.int64]
    length: NDArray[np.int64]
    positions: NDArray[np.int64]
    """Token of the context, all pairs one after the other."""
    values: NDArray[np.float32]


class Collector:
    """Takes batches of activations and keeps what evidence is made of."""

    def __init__(self, coder: SparseCoder, settings: EvidenceSettings, seed: int, spill: Spill) -> None:
        self._coder = coder
        self._settings = settings
        self._seed = seed
        self._spill = spill
        self.counts = Counts(coder.d_sae)
        self.strongest = BottomK(coder.d_sae, settings.strongest)
        self.firing: dict[Split, BottomK] = {
            "train": BottomK(coder.d_sae, settings.firing_train),
            "validation": BottomK(coder.d_sae, settings.firing_validation),
            "test": BottomK(coder.d_sae, settings.firing_test),
        }
        self.background: dict[Split, BottomK] = {
            "train": BottomK(1, settings.background_train),
            "validation": BottomK(1, settings.background_validation),
            "test": BottomK(1, settings.background_test),
        }

    def add(self, batch: ActivationBatch) -> None:
        """Count one batch and keep what belongs among the best so far."""
        # Unusable tokens are encoded too: in a product of fixed shape, what a token yields does not depend on the others.
        code = self._coder.encode(batch.activations.flatten(0, 1))
        usable = batch.usable.flatten()[code.tokens]
        context, position = np.divmod(code.tokens[usable].numpy(), batch.usable.shape[1])
        features, values = code.features[usable].numpy(), code.values[usable].float().numpy()
        self._count_tokens(batch, context, features, values)
        tiles = _tiles(batch.contexts)
        pairs = _pairs(batch.contexts, context, position, features, values, self._coder.d_sae)
        for number, split in enumerate(SPLITS):
            self.counts.all_tiles[split] += int((tiles.split == number).sum())
            of_split = pairs.feature[tiles.split[pairs.tile] == number]
            self.counts.tiles[split] += np.bincount(of_split, minlength=self._coder.d_sae)
        self._keep(batch.contexts, tiles, pairs)

    def _count_tokens(
        self, batch: ActivationBatch, context: NDArray[np.int64], features: NDArray[np.int64], values: NDArray[np.float32]
    ) -> None:
        d_sae, counts = self._coder.d_sae, self.counts
        counts.all_tokens += int(batch.usable.sum())
        counts.all_contexts += len(batch.contexts)
        counts.outliers += batch.n_outliers
        counts.tokens += np.bincount(features, minlength=d_sae)
        fired = np.unique(context * d_sae + features)
        counts.contexts += np.bincount(fired % d_sae, minlength=d_sae)
        np.add.at(counts.sums, features, np.rint(values * _FIXED_POINT).astype(np.int64))
        np.maximum.at(counts.largest, features, values)
        bins = np.clip(np.floor(np.log2(values) * _BINS_PER_OCTAVE) + _HISTOGRAM_ZERO, 0, HISTOGRAM_BINS - 1).astype(np.int64)
        np.add.at(counts.histogram.reshape(-1), features * HISTOGRAM_BINS + bins, 1)

    def _keep(self, contexts: list[Context], tiles: _Tiles, pairs: _Pairs) -> None:
        if len(tiles.ids) == 0:
            return
        pair_ids = tiles.ids[pairs.tile]
        draw = draw_keys(self._seed, pairs.feature, pair_ids)
        pair_split = tiles.split[pairs.tile]
        wanted = np.zeros(len(pairs.tile), dtype=bool)
        train = np.flatnonzero(pair_split == SPLITS.index("train"))
        strength = strength_keys(pairs.largest[train], draw[train])
        wanted[train] |= self.strongest.offer(pairs.feature[train], strength, pair_ids[train])
        drawn_for_all = np.zeros(len(tiles.ids), dtype=bool)
        for number, split in enumerate(SPLITS):
            of_split = np.flatnonzero(pair_split == number)
            wanted[of_split] |= self.firing[split].offer(pairs.feature[of_split], draw[of_split], pair_ids[of_split])
            own = np.flatnonzero(tiles.split == number)
            keys = background_keys(self._seed, tiles.ids[own])
            drawn_for_all[own] = self.background[split].offer(np.zeros(len(own), dtype=np.int64), keys, tiles.ids[own])
        wanted |= drawn_for_all[pairs.tile]
        drawn_for_all[pairs.tile[wanted]] = True
        self._spill_tiles(contexts, tiles, np.flatnonzero(drawn_for_all))
        self._spill_pairs(contexts, tiles, pairs, np.flatnonzero(wanted))

    def _window_start(self, context: Context, place: int) -> int:
        """First token of the window of a tile, counted from the start of its context."""
        return max(context.offset + place * TILE_TOKENS - self._settings.left_context_tokens, 0)

    def _spill_tiles(self, contexts: list[Context], tiles: _Tiles, which: NDArray[np.int64]) -> None:
        rows = [self._tile_row(contexts[tiles.context[i]], int(tiles.place[i]), int(tiles.ids[i])) for i in which]
        if rows:
            self._spill.add_tiles({name: [row[name] for row in rows] for name in rows[0]})

    def _tile_row(self, context: Context, place: int, tile: int) -> dict[str, object]:
        document = context.document
        start = context.start + self._window_start(context, place)
        tile_start = context.start + context.offset + place * TILE_TOKENS
        end = tile_start + TILE_TOKENS
        bounds = document.bounds[start : end + 1]
        return {
            "tile": tile,
            "document": document.hash,
            "source_document": document.source_hash,
            "source": document.source,
            "split": document.split,
            "tile_index": context.first_tile + place,
            "text": document.text[bounds[0] : bounds[-1]],
            "token_starts": bounds[:-1] - bounds[0],
            "token_ids": document.token_ids[start:end],
            "n_context_tokens": tile_start - start,
        }

    def _spill_pairs(self, contexts: list[Context], tiles: _Tiles, pairs: _Pairs, which: NDArray[np.int64]) -> None:
        if len(which) == 0:
            return
        starts = np.array([self._window_start(contexts[c], int(p)) for c, p in zip(tiles.context, tiles.place, strict=True)])
        lengths = pairs.length[which]
        entries = np.repeat(pairs.start[which] - np.concatenate([[0], np.cumsum(lengths)[:-1]]), lengths) + np.arange(lengths.sum())
        positions = pairs.positions[entries] - np.repeat(starts[pairs.tile[which]], lengths)
        self._spill.add_firings(
            tiles.ids[pairs.tile[which]], pairs.feature[which], lengths, positions.astype(np.uint8), pairs.values[entries]
        )


def _tiles(contexts: list[Context]) -> _Tiles:
    n_tiles = np.array([context.n_tiles for context in contexts], dtype=np.int64)
    row = np.repeat(np.arange(len(contexts)), n_tiles)
    place = np.arange(n_tiles.sum()) - np.repeat(np.cumsum(n_tiles) - n_tiles, n_tiles)
    documents = np.array([context.document.hash for context in contexts], dtype=np.uint64)
    first = np.array([context.first_tile for context in contexts], dtype=np.int64)
    splits = np.array([SPLITS.index(context.document.split) for context in contexts], dtype=np.int8)
    return _Tiles(row, place, tile_ids(documents[row], first[row] + place), splits[row])


def _pairs(
    contexts: list[Context],
    context: NDArray[np.int64],
    position: NDArray[np.int64],
    features: NDArray[np.int64],
    values: NDArray[np.float32],
    d_sae: int,
) -> _Pairs:
    """Group the entries that lie in whole tiles by (tile, feature), positions ascending within each."""
    offsets = np.array([c.offset for c in contexts], dtype=np.int64)
    n_tiles = np.array([c.n_tiles for c in contexts], dtype=np.int64)
    first_tile = np.cumsum(n_tiles) - n_tiles
    place = (position - offsets[context]) // TILE_TOKENS
    inside = (position >= offsets[context]) & (place < n_tiles[context])
    tile = first_tile[context[inside]] + place[inside]
    group = tile * d_sae + features[inside]
    order = np.argsort(group, kind="stable")
    group = group[order]
    start = np.flatnonzero(np.concatenate([[True], group[1:] != group[:-1]])) if len(group) else np.empty(0, dtype=np.int64)
    sorted_values = values[inside][order]
    return _Pairs(
        tile=group[start] // d_sae,
        feature=group[start] % d_sae,
        largest=np.maximum.reduceat(sorted_values, start) if len(start) else np.empty(0, dtype=np.float32),
        start=start,
        length=np.diff(np.append(start, len(group))),
        positions=position[inside][order],
        values=sorted_values,
    )
