"""The statistics of rare features on made-up text whose every firing tile is known."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from numpy.typing import NDArray

from autolabel.evidence.corpus import Document, contexts_of
from autolabel.evidence.encoding import encoded
from autolabel.evidence.rare import Rare, decide, trigger_tokens, uniform_sample, weight_of_unlike
from autolabel.evidence.spill import among
from autolabel.evidence.targeting import begin
from autolabel.hashing import UInt64
from autolabel.records import SPLITS, Split
from autolabel.sampling import TILE_TOKENS, shard_of
from tests.evidence.worlds import CONTEXT_TOKENS, SMALL, batches, collector_of, document, finished, identity_coder

N_SHARDS, N_READ = 16, 5
SHARES = (0.35, 0.2, 0.45)
QUOTAS: dict[Split, int] = dict.fromkeys(SPLITS, 50)
FIRST: Split = "train"


@dataclass
class Text:
    """Texts of one document each, all of which hold one firing tile of the only feature, on the one token given."""

    hashes: UInt64
    splits: NDArray[np.int64]
    tokens: NDArray[np.int64]

    @classmethod
    def made(cls, generator: np.random.Generator, n: int = 300) -> "Text":
        """Half of the tiles fire on token 1, the others each on one of many tokens that few texts share."""
        tokens = np.where(generator.random(n) < 0.5, 1, generator.integers(2, 60, n))
        return cls(generator.integers(0, 2**64, n, dtype=np.uint64), generator.choice(3, n, p=SHARES), tokens)

    @property
    def read(self) -> NDArray[np.bool_]:
        """Which texts the first stage reads."""
        return np.array([shard_of(int(one), N_SHARDS) < N_READ for one in self.hashes])


@dataclass
class Estimate:
    """Firing tiles per split, by what is done and by what should not be."""

    weighted: NDArray[np.float64]
    found: NDArray[np.float64]
    """What was found, without weights."""
    naive: NDArray[np.float64]
    """With the weight 16/J for all that lacks a trigger, as if nobody had decided what a trigger is."""


def estimate(text: Text) -> Estimate:
    read = text.read
    deciding = read & decide(text.hashes)
    chosen = np.flatnonzero(deciding & (text.splits == SPLITS.index(FIRST)))
    triggers = trigger_tokens(np.zeros(len(chosen), dtype=np.int64), text.tokens[chosen], np.ones(len(chosen), dtype=np.float32))
    triggered = np.isin(text.tokens, triggers)
    unlike = np.sort(text.hashes[read & ~deciding & ~triggered])
    rare = Rare((N_READ, N_SHARDS), np.array([0]), triggers, unlike, QUOTAS)
    weighted, found, naive = np.zeros(3), np.zeros(3), np.zeros(3)
    later = ~read & triggered
    seen = read | later
    for number, split in enumerate(SPLITS):
        own = np.flatnonzero(seen & (text.splits == number))
        rare.found[split] = np.array([int(later[own].sum())])
        weights = rare.weights(text.hashes[own], later[own], np.ones(len(own)))
        weighted[number] = rare.estimates(split, np.zeros(len(own), dtype=np.int64), weights, later[own])[0]
        assert weighted[number] == pytest.approx(weights.sum())
        found[number] = len(own)
        naive[number] = np.where(triggered[own], 1, N_SHARDS / N_READ).sum()
    return Estimate(weighted, found, naive)


@pytest.fixture(scope="module")
def errors() -> dict[str, NDArray[np.float64]]:
    """Errors of the estimates in many made-up corpora, shape (corpora, splits)."""
    found: dict[str, list[Any]] = {"weighted": [], "found": [], "naive": []}
    for seed in range(1200):
        text = Text.made(np.random.default_rng(seed))
        truth = np.bincount(text.splits, minlength=3)
        one = estimate(text)
        for name in found:
            found[name].append(getattr(one, name) - truth)
    return {name: np.array(values) for name, values in found.items()}


def standard_scores(errors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean errors in units of their Monte-Carlo standard error."""
    return np.abs(errors.mean(axis=0)) / (errors.std(axis=0) / np.sqrt(len(errors)))


def test_weighted_counts_are_unbiased_in_every_split(errors: dict[str, NDArray[np.float64]]) -> None:
    assert standard_scores(errors["weighted"]).max() < 3.5
    assert errors["weighted"].std(axis=0).min() > 1, "nothing was estimated at all"


def test_without_weights_they_are_too_low(errors: dict[str, NDArray[np.float64]]) -> None:
    assert standard_scores(errors["found"]).min() > 20
    assert errors["found"].mean(axis=0).max() < -5


def test_where_those_decide_that_are_counted_the_split_that_decides_is_biased(errors: dict[str, NDArray[np.float64]]) -> None:
    """Why one half of the texts decides and stands for itself: its documents hold triggers more often than others do."""
    scores = standard_scores(errors["naive"])
    assert scores[SPLITS.index(FIRST)] > 10
    assert errors["naive"].mean(axis=0)[SPLITS.index(FIRST)] < -5


def test_sums_over_a_sample_are_unbiased() -> None:
    """Five tiles that stand for four each, among thirty that stand for themselves, are 20 of 50."""
    weights = np.concatenate([np.full(5, 4.0), np.ones(30)])
    alone = np.zeros(len(weights), dtype=np.int64)
    sums, shares = [], []
    for seed in range(4000):
        draws = np.random.default_rng(seed).integers(0, 2**64, len(weights), dtype=np.uint64)
        sample = uniform_sample(alone, weights, draws, 1, 6)
        assert sample.drawn.sum() <= 6
        sums.append(sample.stands_for[0] * np.array([sample.drawn[:5].sum(), sample.drawn.sum()]))
        shares.append(float(np.mean(np.argsort(draws)[:6] < 5)))
    error = np.std(sums, axis=0) / np.sqrt(len(sums))
    assert np.all(np.abs(np.mean(sums, axis=0) - [20, 50]) < 3.5 * error)
    assert abs(50 * np.mean(shares) - 20) > 20 * error[0], "plain hashes would do as well"


def test_of_few_tiles_those_beyond_the_weight_of_the_heaviest_are_left_out() -> None:
    draws = np.random.default_rng(0).integers(0, 2**64, 400, dtype=np.uint64)
    owners = np.repeat([0, 2], 200)
    weights = np.ones(400)
    whole = uniform_sample(owners, weights, draws, 3, 200)
    assert whole.drawn.all()
    assert whole.stands_for.tolist() == [1, 1, 1]
    assert 0 < whole.priorities.min() < whole.priorities.max() < 1
    weights[0] = 8.0
    cut = uniform_sample(owners, weights, draws, 3, 200)
    assert cut.drawn[0]
    assert cut.drawn[200:].all()
    assert cut.priorities[:200][cut.drawn[:200]].max() <= 1 / 8
    assert 10 < cut.drawn[:200].sum() < 45
    assert cut.stands_for.tolist() == [8, 1, 1]


def test_of_many_tiles_those_with_the_smallest_priorities_are_drawn() -> None:
    draws = np.random.default_rng(0).integers(0, 2**64, 400, dtype=np.uint64)
    weights = np.where(np.arange(400) % 4 == 0, 2.0, 1.0)
    sample = uniform_sample(np.zeros(400, dtype=np.int64), weights, draws, 1, 60)
    order = np.argsort(sample.priorities)
    assert set(np.flatnonzero(sample.drawn)) == set(order[:60])
    assert sample.stands_for[0] == 1 / sample.priorities[order[60]]
    assert sample.stands_for[0] > 2


def test_empty_samples_are_empty() -> None:
    nothing = np.empty(0, dtype=np.int64)
    sample = uniform_sample(nothing, np.empty(0), np.empty(0, dtype=np.uint64), 2, 5)
    assert len(sample.drawn) == len(sample.priorities) == 0
    assert len(trigger_tokens(nothing, nothing, np.empty(0, dtype=np.float32))) == 0


def test_triggers_are_the_tokens_that_carry_most() -> None:
    features = np.array([3] * 5 + [7] * 12)
    tokens = np.array([40, 40, 41, 42, 43, *range(100, 112)])
    values = np.array([6, 6, 7, 1, 0.5, *range(20, 8, -1)], dtype=np.float32)
    order = np.random.default_rng(0).permutation(len(features))
    found = trigger_tokens(features[order], tokens[order], values[order])
    assert found.tolist() == [40, 41, *range(100, 108)], "nine tenths of feature 3, and eight tokens of feature 7"


def test_half_of_all_texts_decide_and_weights_make_up_for_the_rest() -> None:
    hashes = np.random.default_rng(0).integers(0, 2**64, 20_000, dtype=np.uint64)
    assert abs(decide(hashes).mean() - 0.5) < 0.02
    for n_read in (1, 5, 15):
        representing = n_read / 32
        assert weight_of_unlike(n_read, N_SHARDS) * representing == pytest.approx(1 - representing)


def test_the_table_holds_everything_but_the_samples() -> None:
    largest = np.array([2**64 - 1], dtype=np.uint64)
    rare = Rare((3, N_SHARDS), np.array([2, 5]), np.array([9, 11]), largest, QUOTAS)
    rare.found["test"] += np.array([4, 7])
    again = Rare.from_table(pa.table(rare.table()), QUOTAS)
    assert again.shards == (3, N_SHARDS)
    assert again.features.tolist() == [2, 5]
    assert again.triggers.tolist() == [9, 11]
    assert again.unlike.tolist() == largest.tolist()
    assert {split: again.found[split].tolist() for split in SPLITS} == {"train": [0, 0], "validation": [0, 0], "test": [4, 7]}
    assert again.places(np.array([5, 2, 3, 99])).tolist() == [1, 0, -1, -1]
    assert again.is_triggered(np.array([1, 11], dtype=np.int32))
    assert not again.is_triggered(np.array([1, 10, 12, 5000], dtype=np.int32))
    nothing = Rare((3, N_SHARDS), np.array([], dtype=np.int64), np.array([], dtype=np.int64), largest[:0], QUOTAS)
    assert not nothing.is_triggered(np.array([0], dtype=np.int32))
    assert nothing.places(np.array([0])).tolist() == [-1]
    assert not among(largest, nothing.unlike)[0]


@dataclass
class Shards:
    """Stands for a survey of documents that are in memory."""

    everything: list[Document]

    def documents(self, tokenizer: object, shard: int, n_shards: int) -> Iterator[tuple[int, Document]]:
        return ((i + 1, one) for i, one in enumerate(self.everything) if shard_of(one.source_hash, n_shards) == shard)


DIFFUSE, ORDINARY = 1, 0
READ = 8


def diffuse_world() -> tuple[list[Document], torch.Tensor]:
    """Feature 1 fires on token 300 and, as often, on tokens that hardly any two documents share."""
    generator = np.random.default_rng(2)
    documents = []
    for number in range(500):
        tokens = generator.integers(0, 290, 150)
        if number % 3 == 0:
            tokens[70] = 300 if number % 2 else 301 + number // 6
        documents.append(document(tokens))
    table = torch.full((400, 3), -1.0)
    table[:20, ORDINARY] = 2.0
    table[300:, DIFFUSE] = torch.linspace(2.0, 3.0, 100)
    return documents, table


def test_tiles_without_a_trigger_stand_for_those_that_were_not_read(tmp_path: Path) -> None:
    documents, table = diffuse_world()
    chosen = SMALL.model_copy(update={"min_examples": 60, "target_rare": True, "firing_train": 40})
    read = [one for one in documents if shard_of(one.source_hash, N_SHARDS) < READ]
    collector = collector_of(read, table, tmp_path / "spill", chosen)
    rare = collector.rare = begin(collector, READ, Shards(documents), None)  # type: ignore[arg-type]
    assert rare.features.tolist() == [DIFFUSE]
    assert 300 in rare.triggers
    later = [one for one in documents if one not in read and rare.is_triggered(one.token_ids)]
    for one in batches(later, table):
        collector.add_rare(encoded(one, identity_coder(3)))
    outcome = finished(collector, tmp_path / "sorted")
    expected, alone = dict.fromkeys(SPLITS, 0.0), 0
    for one in read + later:
        stands_alone = rare.is_triggered(one.token_ids) or decide(np.array([one.source_hash], dtype=np.uint64))[0]
        n_tiles = firing_tiles(one)
        alone += n_tiles * (not stands_alone)
        expected[one.split] += n_tiles * (1 if stands_alone else (32 - READ) / READ)
    assert alone > 10, "nothing stands for more than itself"
    larger = 0
    before = collector.counts
    samples = outcome.kept.samples(0, 3)
    for split in SPLITS:
        sample = samples.firing[split][DIFFUSE]
        n = int((sample >= 0).sum())
        if samples.population[split][DIFFUSE] == before.tiles(split)[DIFFUSE]:
            assert not outcome.kept.later[sample[sample >= 0]].any()
            continue
        larger += 1
        assert n > before.tiles(split)[DIFFUSE]
        assert samples.population[split][DIFFUSE] == expected[split]
        assert samples.represented[split][DIFFUSE] == n * (32 - READ) / READ, "the heaviest are certain to be drawn"
        assert outcome.kept.later[sample[sample >= 0]].any()
    assert larger
    assert samples.population["test"][ORDINARY] == before.tiles("test")[ORDINARY]


def firing_tiles(one: Document) -> int:
    """Tiles in which feature 1 fires."""
    found = 0
    for context in contexts_of(one, CONTEXT_TOKENS):
        first = context.start + context.offset
        own = one.token_ids[first : first + context.n_tiles * TILE_TOKENS].reshape(-1, TILE_TOKENS)
        found += int((own >= 300).any(axis=1).sum())
    return found
