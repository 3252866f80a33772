"""What the collector kept, in the order of tile ids and indexed for drawing examples.

Tiles go by row number 0 … n − 1. Memory holds numbers about them; their text and tokens stay in files, so that memory follows the
features and the pairs kept, not the text.
"""

import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import scipy.sparse
from numpy.typing import NDArray

from autolabel.evidence.collector import Collector
from autolabel.evidence.copies import RunFiles, SharedRuns
from autolabel.evidence.keep import strength_keys
from autolabel.evidence.rare import LATER, uniform_sample
from autolabel.evidence.sorting import sorted_slices
from autolabel.evidence.spill import TILE_SCHEMA
from autolabel.evidence.tiling import Pairs
from autolabel.evidence.vocabulary import Vocabulary
from autolabel.hashing import UInt64
from autolabel.records import SPLITS, Split
from autolabel.sampling import TILE_TOKENS, background_keys, draw_keys

Rows = NDArray[np.int64]
"""Row numbers of tiles."""


_PART_FEATURES = 512
"""Features whose pairs are looked up together."""
_PARTS_HELD = 8
"""More than are drawn for at the same time (see `ahead.AT_ONCE_AT_MOST`)."""


class Background:
    """The background sample of one split, in hash order: tiles with the strength and peak of every feature in them."""

    def __init__(self, rows: Rows, strengths: scipy.sparse.csr_array, peaks: NDArray[np.uint8]) -> None:
        self.rows = rows
        self.by_tile = strengths
        """Largest activation per tile and feature, shape (n_tiles, d_sae), features ascending within a tile."""
        self.peaks = peaks
        """Token of the tile, 0 … 31, at which each entry of `by_tile` is first reached."""
        self._by_feature = strengths.tocsc()

    def strengths(self, features: NDArray[np.int64]) -> NDArray[np.float32]:
        """Largest activation of each of `features` in each tile, 0 where it is silent; shape (n_features, n_tiles)."""
        dense: NDArray[np.float32] = self._by_feature[:, features].T.toarray()
        return dense

    def fires(self) -> scipy.sparse.csr_array:
        """1 where a feature fires in a tile, shape (n_tiles, d_sae)."""
        ones = np.ones(len(self.by_tile.data), dtype=np.float32)
        return scipy.sparse.csr_array((ones, self.by_tile.indices, self.by_tile.indptr), shape=self.by_tile.shape)


class Samples(NamedTuple):
    """The tiles sampled for some features, as row numbers, shape (n_features, k), −1 where there are no more."""

    strongest: Rows
    """Strongest first."""
    firing: dict[Split, Rows]
    """Uniform samples, in hash order."""
    population: dict[Split, NDArray[np.int64]]
    """Firing tiles of each split in the text that the samples are of, shape (n_features,): counted, or estimated for a rare feature."""
    represented: dict[Split, NDArray[np.float64]]
    """Sum of the inclusion weights of each feature's sample: `population`, or an estimate of it for a rare feature."""


class Kept:
    """Everything kept, once collecting has ended."""

    def __init__(self, collector: Collector, folder: Path) -> None:
        """Sort the collector's spill into files of `folder`."""
        self._collector = collector
        self.d_sae = collector.d_sae
        self._width = collector.settings.left_context_tokens + TILE_TOKENS
        collector.spill.cut()
        self._tiles_path, self._tokens_path = folder / "sorted.tiles", folder / "sorted.tokens"
        numbers: list[tuple[NDArray[np.generic], ...]] = []
        indexed: list[tuple[NDArray[np.generic], ...]] = []
        self.vocabulary = Vocabulary()
        runs = RunFiles(folder)
        with pa.ipc.new_stream(self._tiles_path, TILE_SCHEMA) as sorted_tiles, self._tokens_path.open("wb") as tokens_file:
            for tiles, pairs in sorted_slices(collector, folder):
                first = sum(len(part[0]) for part in numbers)
                later = tiles["split"].to_numpy() >= LATER
                numbers.append(
                    tuple(tiles[name].to_numpy() for name in ("tile", "document", "source_document", "split", "n_context_tokens"))
                )
                tokens = _padded(tiles["token_ids"].combine_chunks(), self._width)
                tokens_file.write(tokens.tobytes())
                self.vocabulary.add(tokens[~later], tiles.filter(pa.array(~later)) if later.any() else tiles)
                runs.add(tokens, first)
                sorted_tiles.write_table(_with_plain_splits(tiles))
                if pairs is not None:
                    indexed.append(_indexed(pairs, tiles["tile"].to_numpy(), first, self.d_sae))
        self.ids: UInt64
        self.ids, self.documents, self.source_documents, splits, contexts = (
            np.concatenate(column) for column in zip(*numbers, strict=True)
        )
        self.later: NDArray[np.bool_] = splits >= LATER
        """Which tiles were found by the second stage (see `rare`); nothing but the samples of rare features knows of them."""
        self.splits = (splits % LATER).astype(np.uint8)
        """Index into `SPLITS`."""
        self._add_words_of_later()
        self.n_context_tokens = contexts.astype(np.int64)
        empty = (
            np.empty(0, np.int64),
            np.empty(0, np.float32),
            np.empty(0, np.int64),
            np.empty(0, np.uint8),
            np.empty(0, np.float32),
        )
        keys, self.largest, lengths, self._positions, self._values = (
            np.concatenate(column) for column in zip(*(indexed or [empty]), strict=True)
        )
        del indexed
        self._bounds = np.concatenate([[0], np.cumsum(lengths)])
        self._keys = keys
        """row · d_sae + feature of every pair, ascending."""
        self.shared_runs: SharedRuns = runs.shared(self.documents)
        row_of_pair, feature_of_pair = np.divmod(keys, self.d_sae)
        starts = np.searchsorted(row_of_pair, np.arange(len(self.ids) + 1))
        pairs_by_tile = scipy.sparse.csr_array(
            (np.arange(len(keys), dtype=np.int32), feature_of_pair.astype(np.int32), starts), shape=(len(self.ids), self.d_sae)
        )
        del row_of_pair, feature_of_pair
        by_feature = pairs_by_tile.tocsc()
        self._pairs_of_features, self._first_of_feature = by_feature.data, by_feature.indptr
        self._part = lru_cache(_PARTS_HELD)(self._find_part)
        self.background: dict[Split, Background] = {split: self._background(split, pairs_by_tile) for split in SPLITS}

    def pairs_at(self, features: NDArray[np.int64], rows: Rows) -> NDArray[np.int64]:
        """The number of the pair of each feature and tile, −1 where the feature is silent."""
        found = np.full(len(features), -1, dtype=np.int64)
        for part in np.unique(features // _PART_FEATURES).tolist():
            of_part = features // _PART_FEATURES == part
            keys, pairs = self._part(part)
            if len(keys):
                wanted = features[of_part] * len(self.ids) + rows[of_part]
                places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
                found[of_part] = np.where(keys[places] == wanted, pairs[places], -1)
        return found

    def _find_part(self, part: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The pairs of the features of one part, by feature · tiles + row, ascending: so few that looking them up stays in the cache."""
        start, stop = part * _PART_FEATURES, min((part + 1) * _PART_FEATURES, self.d_sae)
        pairs = self._pairs_of_features[self._first_of_feature[start] : self._first_of_feature[stop]].astype(np.int64)
        rows, features = np.divmod(self._keys[pairs], self.d_sae)
        return features * len(self.ids) + rows, pairs

    def strengths_of(self, pairs: NDArray[np.int64]) -> NDArray[np.float32]:
        """Largest activation of each numbered pair, 0 for −1."""
        if len(self.largest) == 0:
            return np.zeros(len(pairs), dtype=np.float32)
        strengths: NDArray[np.float32] = np.where(pairs >= 0, self.largest[pairs], np.float32(0))
        return strengths

    def entries_of(self, pairs: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.uint8], NDArray[np.float32]]:
        """How many activations each numbered pair has (0 for −1), and their tokens of the tile and values one after the other."""
        lengths = np.where(pairs >= 0, self._bounds[pairs + 1] - self._bounds[np.maximum(pairs, 0)], 0)
        begins = np.cumsum(lengths) - lengths
        at = np.repeat(self._bounds[np.maximum(pairs, 0)] - begins, lengths) + np.arange(int(lengths.sum()))
        return lengths, self._positions[at], self._values[at]

    def samples(self, start: int, stop: int) -> Samples:
        """The tiles sampled for the features `start` … `stop` − 1."""
        pairs = self._pairs_of_features[self._first_of_feature[start] : self._first_of_feature[stop]].astype(np.int64)
        rows, features = np.divmod(self._keys[pairs], self.d_sae)
        draw = draw_keys(self._collector.seed, features, self.ids[rows])
        splits = self.splits[rows]
        firing = {}
        later = self.later[rows]
        population = {split: self._collector.counts.tiles(split)[start:stop].copy() for split in SPLITS}
        represented = {split: population[split].astype(np.float64) for split in SPLITS}
        for number, split in enumerate(SPLITS):
            own = np.flatnonzero((splits == number) & ~later)
            keep = self._collector.firing[split]
            own = own[keep.holds(features[own], draw[own])]
            firing[split] = _matrix(features[own] - start, draw[own], rows[own], stop - start, keep.k)
            if self._collector.rare is not None:
                both = np.concatenate([own, np.flatnonzero((splits == number) & later)])
                line = (firing[split], population[split], represented[split])
                self._draw_rare(split, start, features[both], rows[both], line)
        train = np.flatnonzero((splits == SPLITS.index("train")) & ~later)
        strength = strength_keys(self.largest[pairs[train]], draw[train])
        held = self._collector.strongest.holds(features[train], strength)
        train, strength = train[held], strength[held]
        strongest = _matrix(features[train] - start, strength, rows[train], stop - start, self._collector.strongest.k)
        return Samples(strongest, firing, population, represented)

    def targeted(self, start: int, stop: int) -> NDArray[np.int64]:
        """Tiles of the second stage in which each of the features `start` … `stop` − 1 fires, −1 for features that are not rare."""
        rare = self._collector.rare
        if rare is None:
            return np.full(stop - start, -1, dtype=np.int64)
        places = rare.places(np.arange(start, stop))
        found = np.append(sum(rare.found.values()), -1)
        return found[places]

    def tokens(self, rows: Rows) -> NDArray[np.int32]:
        """Token ids of windows, left context included, padded with −1 in front; shape (n_rows, left context + 32)."""
        size = self._width * 4
        with self._tokens_path.open("rb") as file:
            number = file.fileno()
            pieces = [os.pread(number, size, row * size) for row in rows.tolist()]
        return np.frombuffer(b"".join(pieces), dtype=np.int32).reshape(len(rows), self._width)

    def tile_batches(self) -> Iterator[tuple[Rows, pa.RecordBatch]]:
        """All tiles in row order, with text, as the spill's `TILE_SCHEMA`, some rows at a time."""
        first = 0
        with pa.OSFile(str(self._tiles_path)) as file, pa.ipc.open_stream(file) as stream:
            for batch in stream:
                yield np.arange(first, first + batch.num_rows), batch
                first += batch.num_rows

    def _draw_rare(
        self,
        split: Split,
        start: int,
        features: NDArray[np.int64],
        rows: Rows,
        lines: tuple[Rows, NDArray[np.int64], NDArray[np.float64]],
    ) -> None:
        """Put larger samples, which stand for the whole corpus, in the lines of rare features for which both stages allow them.

        `features` and `rows` name the sampled firing tiles of the split, whether of the first stage or the second; `lines` are
        `firing`, `population` and `represented` of `Samples` for the features from `start` on.
        """
        firing, population, represented = lines
        collector, rare = self._collector, self._collector.rare
        if rare is None:
            raise RuntimeError("there are no rare features without a second stage")
        places = rare.places(features)
        features, rows, places = features[places >= 0], rows[places >= 0], places[places >= 0]
        line, later = features - start, self.later[rows]
        n_before = (firing >= 0).sum(axis=1)
        per_sampled = collector.counts.tiles(split)[start : start + len(firing)] / np.maximum(n_before, 1)
        weights = rare.weights(self.documents[rows], later, per_sampled[line])
        drawn, priorities, stands_for = uniform_sample(
            line, weights, draw_keys(collector.seed, features, self.ids[rows]), *firing.shape
        )
        sample = _matrix(line[drawn], priorities[drawn], rows[drawn], *firing.shape)
        n_drawn = (sample >= 0).sum(axis=1)
        larger = np.flatnonzero(n_drawn > n_before)
        firing[larger] = sample[larger]
        represented[larger] = (stands_for * n_drawn)[larger]
        estimates = rare.estimates(split, places, weights, later)
        population[larger] = np.rint(estimates[rare.places(larger + start)]).astype(np.int64)

    def _add_words_of_later(self) -> None:
        """Let the vocabulary know the words of the second stage's tiles, which count in no frequency."""
        for rows, batch in self.tile_batches() if self.later.any() else ():
            later = self.later[rows]
            tiles = pa.Table.from_batches([batch]).filter(pa.array(later))
            self.vocabulary.add(self.tokens(rows[later]), tiles, counted=False)

    def _background(self, split: Split, pairs_by_tile: scipy.sparse.csr_array) -> Background:
        """The background sample of a split, for which the pairs of all features were kept."""
        own = np.flatnonzero((self.splits == SPLITS.index(split)) & ~self.later)
        own = own[self._collector.is_drawn(self.ids[own], self.splits[own])]
        rows = own[np.argsort(background_keys(self._collector.seed, self.ids[own]))]
        starts, ends = pairs_by_tile.indptr[rows], pairs_by_tile.indptr[rows + 1]
        lengths = (ends - starts).astype(np.int64)
        begins = np.cumsum(lengths) - lengths
        pairs = np.repeat(starts - begins, lengths) + np.arange(int(lengths.sum()))
        indptr = np.concatenate([[0], np.cumsum(lengths)])
        features = pairs_by_tile.indices[pairs]
        strengths = scipy.sparse.csr_array((self.largest[pairs], features, indptr), shape=(len(rows), self.d_sae))
        return Background(rows, strengths, self._peaks(pairs))

    def _peaks(self, pairs: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The first token at which each pair reaches its largest activation."""
        lengths, positions, values = self.entries_of(pairs)
        owner = np.repeat(np.arange(len(pairs)), lengths)
        reached = np.flatnonzero(values == self.largest[pairs][owner])
        _, first = np.unique(owner[reached], return_index=True)
        peaks: NDArray[np.uint8] = positions[reached[first]]
        return peaks


def _padded(lists: pa.ListArray, width: int) -> NDArray[np.int32]:
    """Lists of at most `width` numbers as the rows of a matrix, −1 in front."""
    bounds = lists.offsets.to_numpy()
    flat = lists.flatten().to_numpy()
    padded = np.full((len(lists), width), -1, dtype=np.int32)
    lengths = np.diff(bounds)
    rows = np.repeat(np.arange(len(lists)), lengths)
    columns = width - np.repeat(lengths, lengths) + np.arange(len(flat)) - np.repeat(bounds[:-1] - bounds[0], lengths)
    padded[rows, columns] = flat
    return padded


def _with_plain_splits(tiles: pa.Table) -> pa.Table:
    """Tiles with indices into `SPLITS`, whichever stage found them."""
    plain = pa.array(tiles["split"].to_numpy() % LATER, pa.uint8())
    return tiles.set_column(tiles.schema.get_field_index("split"), TILE_SCHEMA.field("split"), plain)


def _indexed(pairs: Pairs, ids: UInt64, first: int, d_sae: int) -> tuple[NDArray[np.generic], ...]:
    """Pairs of a slice in the order of row and feature: key, largest, length, positions, values."""
    keys = (np.searchsorted(ids, pairs.tile) + first) * d_sae + pairs.feature
    order = np.argsort(keys)
    ordered = pairs.select(order)
    return keys[order], ordered.largest, ordered.length, ordered.positions, ordered.values


def _matrix(owners: NDArray[np.int64], keys: UInt64 | NDArray[np.float64], rows: Rows, n: int, k: int) -> Rows:
    """`rows` by owner (a line each) and key, at most `k` each, −1 where there are fewer."""
    order = np.lexsort((rows, keys, owners))
    owners, rows = owners[order], rows[order]
    first = np.searchsorted(owners, np.arange(n + 1))
    rank = np.arange(len(owners)) - first[owners]
    found = np.full((n, k), -1, dtype=np.int64)
    within = rank < k
    found[owners[within], rank[within]] = rows[within]
    return found
