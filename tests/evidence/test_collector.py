import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from autolabel.evidence.batches import ActivationBatch
from autolabel.evidence.collector import Collector
from autolabel.evidence.corpus import Document, contexts_of
from autolabel.evidence.counts import HISTOGRAM_BINS
from autolabel.evidence.encoding import encoded
from autolabel.evidence.spill import Spill
from autolabel.records import SPLITS
from autolabel.sampling import TILE_TOKENS, background_keys, draw_keys, tile_ids
from tests.evidence.worlds import (
    CONTEXT_TOKENS,
    SEED,
    SMALL,
    batches,
    collected,
    collector_of,
    document,
    finished,
    identity_coder,
    tables_of,
)

D = 9
VOCABULARY = 300


def documents_of(n: int, seed: int = 0, longest: int = 330) -> list[Document]:
    generator = np.random.default_rng(seed)
    return [document(generator.integers(0, VOCABULARY, generator.integers(1, longest))) for _ in range(n)]


def sparse_table(seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(VOCABULARY, D, generator=generator).abs() * 3 + 0.01
    table = torch.where(torch.rand(VOCABULARY, D, generator=generator) < 0.05, values, -1.0)
    table[:, 8] = -1.0
    return table


@pytest.fixture(scope="module")
def documents() -> list[Document]:
    return documents_of(60)


@pytest.fixture(scope="module")
def table() -> torch.Tensor:
    return sparse_table()


def dense_truth(documents: list[Document], table: torch.Tensor) -> dict[str, Any]:
    """Everything the collector counts, the slow way."""
    truth: dict[str, Any] = {"tokens": np.zeros(D, int), "contexts": np.zeros(D, int), "max": np.zeros(D), "sums": np.zeros(D)}
    truth |= {"histogram": np.zeros((D, HISTOGRAM_BINS), int), "tiles": {s: np.zeros(D, int) for s in SPLITS}}
    truth |= {"all_tiles": dict.fromkeys(SPLITS, 0), "largest_in_tile": {}}
    for one in documents:
        for context in contexts_of(one, CONTEXT_TOKENS):
            values = table[torch.from_numpy(one.token_ids[context.start : context.start + context.n_tokens]).long()].numpy()
            active = np.maximum(values, 0)
            truth["tokens"] += (active > 0).sum(0)
            truth["contexts"] += (active > 0).any(0)
            truth["max"] = np.maximum(truth["max"], active.max(0))
            truth["sums"] += active.sum(0)
            for token, feature in np.argwhere(active > 0):
                edge = np.float32(np.log2(active[token, feature]) * 4)
                truth["histogram"][feature, int(np.clip(np.floor(edge) + 32, 0, HISTOGRAM_BINS - 1))] += 1
            for place in range(context.n_tiles):
                start = context.offset + place * TILE_TOKENS
                tile = active[start : start + TILE_TOKENS]
                assert len(tile) == TILE_TOKENS
                truth["tiles"][one.split] += tile.any(0)
                truth["all_tiles"][one.split] += 1
                name = int(tile_ids(np.array([one.hash], dtype=np.uint64), np.array([context.first_tile + place]))[0])
                truth["largest_in_tile"][name] = (one.split, tile.max(0))
    return truth


@pytest.mark.parametrize("batch_contexts", [1, 4, 500])
def test_counts_equal_a_dense_computation(
    documents: list[Document], table: torch.Tensor, tmp_path: Path, batch_contexts: int
) -> None:
    collector = collector_of(documents, table, tmp_path, batch_contexts=batch_contexts)
    truth, counts = dense_truth(documents, table), collector.counts
    assert counts.tokens.tolist() == truth["tokens"].tolist()
    assert counts.contexts.tolist() == truth["contexts"].tolist()
    assert counts.histogram.tolist() == truth["histogram"].tolist()
    assert counts.histogram.sum(1).tolist() == counts.tokens.tolist()
    np.testing.assert_array_equal(counts.largest, truth["max"].astype(np.float32))
    np.testing.assert_allclose(counts.sums / 2**16, truth["sums"], atol=counts.tokens.max() * 2**-17)
    assert {split: counts.tiles(split).tolist() for split in SPLITS} == {s: truth["tiles"][s].tolist() for s in SPLITS}
    assert counts.all_tiles == truth["all_tiles"]
    assert counts.all_tokens == sum(len(one.token_ids) for one in documents)
    assert counts.all_contexts == sum(1 for one in documents for _ in contexts_of(one, CONTEXT_TOKENS))
    assert counts.tokens[8] == 0
    assert counts.tokens[:8].min() > 0


def test_samples_equal_a_sort_of_everything(documents: list[Document], table: torch.Tensor, tmp_path: Path) -> None:
    outcome = collected(documents, table, tmp_path)
    tiles = dense_truth(documents, table)["largest_in_tile"]
    samples = outcome.kept.samples(0, D)

    def ids(rows: np.ndarray[Any, Any]) -> list[int]:
        return [int(outcome.kept.ids[row]) for row in rows.tolist() if row >= 0]

    for split in SPLITS:
        names = np.array([name for name, (of, _) in tiles.items() if of == split], dtype=np.uint64)
        by_key = names[np.argsort(background_keys(SEED, names))]
        background = outcome.kept.background[split].rows
        assert ids(background) == by_key[: outcome.collector.background[split].k].tolist()
        for feature in range(D):
            firing = np.array([name for name in names.tolist() if tiles[name][1][feature] > 0], dtype=np.uint64)
            drawn = firing[np.argsort(draw_keys(SEED, np.full(len(firing), feature), firing))]
            assert ids(samples.firing[split][feature]) == drawn[: outcome.collector.firing[split].k].tolist()
            if split == "train":
                strength = [-tiles[name][1][feature] for name in drawn.tolist()]
                strongest = drawn[np.argsort(strength, kind="stable")][: SMALL.strongest]
                assert ids(samples.strongest[feature]) == strongest.tolist()


def test_order_of_documents_and_batching_change_nothing(documents: list[Document], table: torch.Tensor, tmp_path: Path) -> None:
    hashes = set()
    for number, batch_contexts in enumerate((4, 4, 7)):
        shuffled = list(documents)
        random.Random(number).shuffle(shuffled)
        hashes.add(tables_of(collected(shuffled, table, tmp_path / str(number), batch_contexts=batch_contexts))[1])
    assert len(hashes) == 1


def test_windows_hold_the_tokens_they_say(documents: list[Document], table: torch.Tensor, tmp_path: Path) -> None:
    outcome = collected(documents, table, tmp_path)
    by_name = {one.hash: one for one in documents}
    tiles = outcome.tiles
    assert tiles
    for row, tile in enumerate(tiles):
        ends = [*tile["token_starts"][1:], len(tile["text"])]
        assert len(tile["token_ids"]) - tile["n_context_tokens"] == TILE_TOKENS
        assert tile["n_context_tokens"] <= SMALL.left_context_tokens
        for start, end, token in zip(tile["token_starts"], ends, tile["token_ids"], strict=True):
            assert tile["text"][start:end] == f"{token:03d} "
        one = by_name[tile["document"]]
        assert tile["text"] in one.text
        assert SPLITS[tile["split"]] == one.split
        pairs = outcome.kept.pairs_at(np.arange(D), np.full(D, row))
        lengths, positions, values = outcome.kept.entries_of(pairs)
        for feature, position, value in zip(np.repeat(np.arange(D), lengths), positions.tolist(), values.tolist(), strict=True):
            assert value == pytest.approx(table[tile["token_ids"][tile["n_context_tokens"] + position], feature].item())


def test_tiles_are_aligned_to_the_grid_of_their_context(documents: list[Document], table: torch.Tensor, tmp_path: Path) -> None:
    tiles = collected(documents, table, tmp_path).tiles
    starts: dict[int, list[int]] = {}
    for one in documents:
        at = [c.start + c.offset + i * TILE_TOKENS for c in contexts_of(one, CONTEXT_TOKENS) for i in range(c.n_tiles)]
        assert all(b - a >= TILE_TOKENS for a, b in pairwise(at))
        starts[one.hash] = at
    by_name = {one.hash: one for one in documents}
    for tile in tiles:
        one, start = by_name[tile["document"]], starts[tile["document"]][tile["tile_index"]]
        assert tile["token_ids"][tile["n_context_tokens"] :] == one.token_ids[start : start + TILE_TOKENS].tolist()


def test_every_firing_of_a_kept_window_is_kept(documents: list[Document], table: torch.Tensor, tmp_path: Path) -> None:
    outcome = collected(documents, table, tmp_path)
    tiles = outcome.tiles
    for draw in outcome.draws:
        for example in draw.examples:
            values = table[torch.tensor(tiles[example.row]["token_ids"]), draw.feature].numpy().copy()
            values[: tiles[example.row]["n_context_tokens"]] = 0
            assert example.positions == np.flatnonzero(values > 0).tolist()


def test_unusable_tokens_do_not_exist(tmp_path: Path) -> None:
    one = document(np.arange(96), split="train")
    table = torch.full((VOCABULARY, D), 1.0)
    (context,) = contexts_of(one, CONTEXT_TOKENS)
    (plain,) = batches([one], table, 1)
    usable = plain.usable.clone()
    usable[0, context.offset : context.offset + TILE_TOKENS] = False
    plain.activations[0, context.offset] = 1e6
    collector = Collector(D, SMALL, SEED, Spill(tmp_path))
    collector.add(encoded(ActivationBatch(plain.contexts, plain.activations, usable, TILE_TOKENS), identity_coder(D)))
    assert collector.counts.all_tokens == 96 - TILE_TOKENS
    assert collector.counts.outliers == TILE_TOKENS
    assert collector.counts.tokens.tolist() == [96 - TILE_TOKENS] * D
    assert collector.counts.largest.max() == 1
    assert collector.counts.all_tiles["train"] == context.n_tiles
    assert collector.counts.tiles_train.tolist() == [context.n_tiles - 1] * D


def test_a_batch_in_which_nothing_fires_and_one_without_tiles_only_count(tmp_path: Path) -> None:
    short, silent = document(np.arange(5), split="train"), document(np.arange(100), split="test")
    collector = Collector(D, SMALL, SEED, Spill(tmp_path / "spill"))
    for batch in (*batches([short], torch.ones(VOCABULARY, D)), *batches([silent], torch.full((VOCABULARY, D), -1.0))):
        collector.add(encoded(batch, identity_coder(D)))
    assert collector.counts.tokens.tolist() == [5] * D
    assert collector.counts.contexts.tolist() == [1] * D
    assert collector.counts.all_tiles["train"] == 0
    assert collector.counts.all_tiles["test"] > 0
    kept = finished(collector, tmp_path / "sorted").kept
    assert len(kept.background["test"].rows) == collector.counts.all_tiles["test"]


def test_extreme_activations_stay_in_the_open_bins(tmp_path: Path) -> None:
    one = document(np.array([0, 1] * 50), split="train")
    table = torch.zeros(VOCABULARY, D)
    table[0, 0], table[1, 1] = 1e-30, 1e9
    collector = collector_of([one], table, tmp_path)
    assert collector.counts.histogram[0].tolist() == [50] + [0] * (HISTOGRAM_BINS - 1)
    assert collector.counts.histogram[1].tolist() == [0] * (HISTOGRAM_BINS - 1) + [50]
    assert collector.counts.sums[1] / 2**16 == pytest.approx(50e9)
