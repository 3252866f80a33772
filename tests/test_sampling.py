from collections import Counter

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from autolabel.hashing import document_hash
from autolabel.records import SPLITS, Split
from autolabel.sampling import (
    NEAR_COPY_TOKENS,
    TILE_TOKENS,
    background_keys,
    draw_keys,
    grid_offset,
    is_drawn,
    run_hashes,
    split_of,
    tile_ids,
)

WORDS = st.integers(0, 2**64 - 1)
SEEDS = st.integers(0, 2**63 - 1)
SHARES: dict[Split, float] = {"train": 0.35, "validation": 0.2, "test": 0.45}


@given(WORDS, SEEDS)
def test_a_document_has_one_split_whatever_else_is_read(document: int, seed: int) -> None:
    assert split_of(document, seed, SHARES) == split_of(document, seed, dict(reversed(SHARES.items())))
    assert split_of(document, seed, SHARES) in SPLITS


@given(st.text(min_size=1), SEEDS)
def test_near_identical_texts_share_their_split(text: str, seed: int) -> None:
    assert split_of(document_hash(text), seed, SHARES) == split_of(document_hash(f"  {text}\n"), seed, SHARES)


def test_shares_of_splits_are_respected() -> None:
    counts = Counter(split_of(document, 3, SHARES) for document in range(20_000))
    expected = [SHARES[split] * 20_000 for split in SPLITS]
    assert scipy.stats.chisquare([counts[split] for split in SPLITS], expected).pvalue > 0.001


def test_a_larger_train_share_only_moves_documents_into_train() -> None:
    larger: dict[Split, float] = {"train": 0.5, "validation": 0.2, "test": 0.3}
    train = {document for document in range(2000) if split_of(document, 1, SHARES) == "train"}
    assert train < {document for document in range(2000) if split_of(document, 1, larger) == "train"}


def test_another_seed_splits_anew() -> None:
    same = np.mean([split_of(document, 1, SHARES) == split_of(document, 2, SHARES) for document in range(5000)])
    assert same == pytest.approx(sum(share**2 for share in SHARES.values()), abs=0.03)


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_the_share_drawn_is_respected_and_independent_of_the_split(share: float) -> None:
    drawn = [document for document in range(10_000) if is_drawn(document, 3, share)]
    assert len(drawn) / 10_000 == pytest.approx(share, abs=0.015)
    train = np.mean([split_of(document, 3, SHARES) == "train" for document in drawn])
    assert train == pytest.approx(0.35, abs=0.04)


def test_a_smaller_share_is_part_of_a_larger_one() -> None:
    assert all(is_drawn(document, 3, 0.5) for document in range(2000) if is_drawn(document, 3, 0.2))


@given(WORDS, st.integers(0, 10_000))
def test_the_tile_grid_starts_within_one_tile(document: int, context: int) -> None:
    assert 0 <= grid_offset(document, context) < TILE_TOKENS


def test_grid_offsets_are_uniform() -> None:
    counts = Counter(grid_offset(document, 0) for document in range(16_000))
    assert scipy.stats.chisquare([counts[offset] for offset in range(TILE_TOKENS)]).pvalue > 0.001


def test_the_smallest_keys_are_a_uniform_sample() -> None:
    tiles = tile_ids(np.repeat(np.arange(100, dtype=np.uint64), 4), np.tile(np.arange(4), 100))
    drawn = np.zeros(400, dtype=int)
    for feature in range(400):
        drawn[np.argsort(draw_keys(9, np.full(400, feature), tiles))[:20]] += 1
    assert scipy.stats.chisquare(drawn).pvalue > 0.001


def test_features_seeds_and_the_background_draw_independently() -> None:
    tiles = tile_ids(np.arange(2000, dtype=np.uint64), np.zeros(2000, dtype=np.int64))
    keys = [draw_keys(1, np.full(2000, 0), tiles), draw_keys(1, np.full(2000, 1), tiles), draw_keys(2, np.full(2000, 0), tiles)]
    keys.append(background_keys(1, tiles))
    ranks = np.corrcoef([scipy.stats.rankdata(k) for k in keys])
    assert np.abs(ranks - np.eye(4)).max() < 0.08


def test_tiles_of_many_documents_have_names_of_their_own() -> None:
    names = tile_ids(np.repeat(np.arange(1000, dtype=np.uint64), 50), np.tile(np.arange(50), 1000))
    assert len(np.unique(names)) == 50_000


TOKENS = st.lists(st.integers(0, 60_000), max_size=60)


@given(TOKENS)
def test_there_is_one_hash_for_each_run(tokens: list[int]) -> None:
    expected = len(tokens) - NEAR_COPY_TOKENS + 1 if len(tokens) >= NEAR_COPY_TOKENS else min(len(tokens), 1)
    assert len(run_hashes(np.array(tokens, dtype=np.int32))) == expected


@given(TOKENS, TOKENS, st.lists(st.integers(0, 60_000), min_size=NEAR_COPY_TOKENS, max_size=20), TOKENS)
def test_a_shared_run_is_found_wherever_it_lies(before: list[int], after: list[int], run: list[int], other: list[int]) -> None:
    one = run_hashes(np.array(before + run, dtype=np.int32))
    two = run_hashes(np.array(other + run + after, dtype=np.int32))
    assert set(one.tolist()) & set(two.tolist())


@given(st.lists(st.integers(0, 3), min_size=NEAR_COPY_TOKENS, max_size=40), st.lists(st.integers(0, 3), min_size=13, max_size=40))
def test_runs_have_equal_hashes_only_where_their_tokens_are_equal(a: list[int], b: list[int]) -> None:
    def runs(tokens: list[int]) -> set[tuple[int, ...]]:
        return {tuple(tokens[i : i + NEAR_COPY_TOKENS]) for i in range(len(tokens) - NEAR_COPY_TOKENS + 1)}

    hashes = set(run_hashes(np.array(a)).tolist()) & set(run_hashes(np.array(b)).tolist())
    assert len(hashes) == len(runs(a) & runs(b))
