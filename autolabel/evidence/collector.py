"""One streaming pass over a corpus: exact counts of every feature, and the tiles worth keeping.

The invariants: state is O(features × tiles kept) whatever the corpus size; counts are integers; what is kept is decided by
values and hashes of (seed, feature, document, tile) alone, so the order of documents changes nothing, and merging the collectors
of two halves of a corpus equals one pass over the whole.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from autolabel.config import EvidenceSettings
from autolabel.evidence.corpus import Context, CorpusCounts
from autolabel.evidence.counts import Counts
from autolabel.evidence.firings import FiringBatch
from autolabel.evidence.keep import BottomK, strength_keys
from autolabel.evidence.rare import LATER, Rare
from autolabel.evidence.spill import Spill
from autolabel.evidence.tiling import Pairs, Tiles, pairs_of, tiles_of
from autolabel.hashing import UInt64
from autolabel.records import SPLITS, Split
from autolabel.sampling import TILE_TOKENS, background_keys, draw_keys

_TRAIN = SPLITS.index("train")


class Collector:
    """Takes batches of activations and keeps what evidence is made of."""

    def __init__(self, d_sae: int, settings: EvidenceSettings, seed: int, spill: Spill) -> None:
        self.d_sae = d_sae
        self.settings = settings
        self.seed = seed
        self.spill = spill
        self.counts = Counts(d_sae)
        self.corpus = CorpusCounts()
        self.strongest = BottomK(d_sae, settings.strongest)
        quotas = {split: (getattr(settings, f"firing_{split}"), getattr(settings, f"background_{split}")) for split in SPLITS}
        self.firing: dict[Split, BottomK] = {split: BottomK(d_sae, firing) for split, (firing, _) in quotas.items()}
        self.background: dict[Split, BottomK] = {split: BottomK(1, background) for split, (_, background) in quotas.items()}
        self.rare: Rare | None = None
        """What a second stage looks for, once it has begun."""

    @property
    def quotas(self) -> dict[Split, int]:
        """Firing tiles kept per feature."""
        return {split: keep.k for split, keep in self.firing.items()}

    @property
    def samples(self) -> dict[str, BottomK]:
        """Every sample of tiles by feature, by name."""
        return {"strongest": self.strongest, **{f"firing_{split}": self.firing[split] for split in SPLITS}}

    @property
    def state_bytes(self) -> int:
        """Memory that the state takes."""
        kept = (*self.samples.values(), *self.background.values())
        arrays = [getattr(self.counts, name) for name in (*Counts.names(), "largest", "histogram")]
        return int(sum(array.nbytes for array in arrays) + sum(keep.n_bytes for keep in kept))

    def add(self, batch: FiringBatch) -> None:
        """Count one batch and keep what belongs among the best so far."""
        counts = self.counts
        counts.all_tokens += batch.n_tokens
        counts.all_contexts += len(batch.contexts)
        counts.outliers += batch.n_outliers
        if not batch.contexts:
            return
        for context in batch.contexts:
            if context.start == 0:
                self.corpus.count(context.document)
        tiles = tiles_of(batch)
        for number, split in enumerate(SPLITS):
            counts.all_tiles[split] += int((tiles.split == number).sum())
        if len(batch.features):
            counts.add_entries(batch.features, batch.values)
            fired = np.sort(batch.rows * self.d_sae + batch.features)
            first = np.concatenate([[True], fired[1:] != fired[:-1]])
            counts.contexts += np.bincount(fired[first] % self.d_sae, minlength=self.d_sae)
        pairs, tile_of_pair = pairs_of(batch, tiles, self.d_sae)
        for number, split in enumerate(SPLITS):
            counts.tiles(split).__iadd__(np.bincount(pairs.feature[pairs.split == number], minlength=self.d_sae))
        self._keep(batch.contexts, tiles, pairs, tile_of_pair)

    def add_rare(self, batch: FiringBatch) -> None:
        """Keep what fires of rare features in text of the second stage; nothing else is counted there."""
        rare = self.rare
        if rare is None:
            raise RuntimeError("there is no second stage before it is known what it looks for")
        own = rare.places(batch.features) >= 0
        entries = {name: getattr(batch, name)[own] for name in ("rows", "positions", "features", "values")}
        if not own.any():
            return
        tiles = tiles_of(batch)
        pairs, tile_of_pair = pairs_of(replace(batch, **entries), tiles, self.d_sae)
        rare.count(pairs)
        later = replace(pairs, split=pairs.split + np.uint8(LATER))
        wanted = rare.offer(later, draw_keys(self.seed, later.feature.astype(np.int64), later.tile))
        for i in np.unique(tile_of_pair[wanted]).tolist():
            row = self._tile_row(batch.contexts[tiles.context[i]], int(tiles.place[i]), int(tiles.ids[i]))
            self.spill.add_tile(row | {"split": row["split"] + LATER})
        if wanted.any():
            self.spill.add_pairs(later.select(wanted))

    def merge(self, other: "Collector") -> None:
        """Take over what was collected from other text, by the same features, settings and seed."""
        self.counts.merge(other.counts)
        self.corpus.merge(other.corpus)
        for mine, theirs in zip(self.samples.values(), other.samples.values(), strict=True):
            mine.merge(theirs)
        for split in SPLITS:
            self.background[split].merge(other.background[split])
        other.spill.cut()
        for batch in other.spill.tiles():
            self.spill.add_tiles(batch)
        for pairs in other.spill.pairs():
            self.spill.add_pairs(pairs)

    def compact(self, factor: float = 1.0) -> None:
        """Rid the spill of what has been displaced, when it holds more than `factor` times what it needs to at most."""
        n_background = sum(keep.n_kept for keep in self.background.values())
        per_tile = int(self.counts.fired.sum()) / max(self.counts.n_tiles, 1)
        needed = sum(keep.n_kept for keep in self.samples.values()) + n_background * per_tile
        needed += 0 if self.rare is None else self.rare.n_kept
        self.spill.cut()
        if self.spill.n_pairs > factor * needed:
            self.spill.compact(self.is_live, self.is_drawn)

    def is_live(self, pairs: Pairs) -> NDArray[np.bool_]:
        """Which pairs are in some sample, or in a tile of the background sample."""
        feature = pairs.feature.astype(np.int64)
        draw = draw_keys(self.seed, feature, pairs.tile)
        live = self.is_drawn(pairs.tile, pairs.split)
        for number, split in enumerate(SPLITS):
            own = np.flatnonzero(pairs.split == number)
            live[own] |= self.firing[split].holds(feature[own], draw[own])
        train = np.flatnonzero(pairs.split == _TRAIN)
        live[train] |= self.strongest.holds(feature[train], strength_keys(pairs.largest[train], draw[train]))
        return live if self.rare is None else live | self.rare.is_live(pairs, draw)

    def is_drawn(self, tiles: UInt64, splits: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Which tiles are in the background sample of their split."""
        drawn = np.zeros(len(tiles), dtype=bool)
        keys = background_keys(self.seed, tiles)
        for number, split in enumerate(SPLITS):
            own = np.flatnonzero(splits == number)
            drawn[own] = self.background[split].holds(np.zeros(len(own), dtype=np.int64), keys[own])
        return drawn

    def _keep(self, contexts: list[Context], tiles: Tiles, pairs: Pairs, tile_of_pair: NDArray[np.int64]) -> None:
        if len(tiles.ids) == 0:
            return
        feature = pairs.feature.astype(np.int64)
        draw = draw_keys(self.seed, feature, pairs.tile)
        wanted = np.zeros(len(pairs), dtype=bool)
        train = np.flatnonzero(pairs.split == _TRAIN)
        wanted[train] |= self.strongest.offer(feature[train], strength_keys(pairs.largest[train], draw[train]))
        drawn = np.zeros(len(tiles.ids), dtype=bool)
        keys = background_keys(self.seed, tiles.ids)
        for number, split in enumerate(SPLITS):
            of_split = np.flatnonzero(pairs.split == number)
            wanted[of_split] |= self.firing[split].offer(feature[of_split], draw[of_split])
            own = np.flatnonzero(tiles.split == number)
            drawn[own] = self.background[split].offer(np.zeros(len(own), dtype=np.int64), keys[own])
        wanted |= drawn[tile_of_pair]
        drawn[tile_of_pair[wanted]] = True
        for i in np.flatnonzero(drawn).tolist():
            self.spill.add_tile(self._tile_row(contexts[tiles.context[i]], int(tiles.place[i]), int(tiles.ids[i])))
        if wanted.any():
            self.spill.add_pairs(pairs.select(wanted))

    def _tile_row(self, context: Context, place: int, tile: int) -> dict[str, Any]:
        document = context.document
        tile_start = context.start + context.offset + place * TILE_TOKENS
        start = max(tile_start - self.settings.left_context_tokens, context.start)
        end = tile_start + TILE_TOKENS
        bounds = document.bounds[start : end + 1]
        return {
            "tile": tile,
            "document": document.hash,
            "source_document": document.source_hash,
            "source": document.source,
            "document_name": document.name,
            "split": SPLITS.index(document.split),
            "tile_index": context.first_tile + place,
            "text": document.text[bounds[0] : bounds[-1]],
            "token_starts": bounds[:-1] - bounds[0],
            "token_ids": document.token_ids[start:end],
            "n_context_tokens": tile_start - start,
        }


def collector_tables(collector: Collector) -> dict[str, pa.Table]:
    """The state without the spill as tables: a row per feature, a row per key of the background sample, and the second stage's."""
    names = (*Counts.names(), "largest")
    columns: dict[str, pa.Array] = {name: pa.array(getattr(collector.counts, name)) for name in names}
    columns["histogram"] = pa.FixedSizeListArray.from_arrays(
        pa.array(collector.counts.histogram.reshape(-1)), collector.counts.histogram.shape[1]
    )
    for name, keep in collector.samples.items():
        keep.settle()
        columns[name] = pa.FixedSizeListArray.from_arrays(pa.array(keep.keys.reshape(-1)), keep.k)
    drawn = {split: keep.keys[0][: keep.n_kept] for split, keep in collector.background.items()}
    splits = np.repeat(np.arange(len(SPLITS), dtype=np.uint8), [len(keys) for keys in drawn.values()])
    background = pa.table({"split": pa.array(splits), "key": pa.array(np.concatenate(list(drawn.values())))})
    tables = {"features": pa.table(columns), "background": background}
    return tables if collector.rare is None else tables | {"rare": collector.rare.table()}


def restore(collector: Collector, tables: dict[str, pa.Table]) -> None:
    """Put what `collector_tables` gave into an empty collector."""
    features, background = tables["features"].combine_chunks(), tables["background"]
    for name in (*Counts.names(), "largest"):
        setattr(collector.counts, name, features[name].to_numpy().copy())
    collector.counts.histogram = _matrix(features["histogram"], collector.counts.histogram.shape)
    for name, keep in collector.samples.items():
        keep.load(_matrix(features[name], keep.keys.shape))
    for number, keep in enumerate(collector.background.values()):
        keys = background["key"].to_numpy()[background["split"].to_numpy() == number]
        keep.offer(np.zeros(len(keys), dtype=np.int64), keys)
    if "rare" in tables:
        collector.rare = Rare.from_table(tables["rare"], collector.quotas)
        for pairs in collector.spill.pairs():
            collector.rare.offer(pairs, draw_keys(collector.seed, pairs.feature.astype(np.int64), pairs.tile))


def _matrix(column: pa.ChunkedArray, shape: tuple[int, ...]) -> NDArray[Any]:
    flat: NDArray[Any] = column.combine_chunks().flatten().to_numpy()
    return flat.reshape(shape).copy()
