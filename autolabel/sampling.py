"""Which split a document belongs to, and which tiles are drawn: decided by hashes alone, so never by order, sharding or luck."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from autolabel.hashing import UInt64, combine
from autolabel.records import SPLITS, Split

TILE_TOKENS = 32
"""Tokens of a tile, the unit of every count, sample and score (validity §2)."""
NEAR_COPY_TOKENS = 13
"""Two windows that share a run of this many tokens are near-copies (validity §4)."""

_SPLIT_SALT, _TILE_SALT, _FEATURE_SALT, _SHARE_SALT, _OFFSET_SALT, _BACKGROUND_SALT = 11, 12, 13, 14, 15, 16
_SHARD_SALT, _SAMPLE_SALT = 17, 18
_TWO_64 = 2.0**64


def split_of(document_hash: int, seed: int, shares: Mapping[Split, float]) -> Split:
    """The one split of a document, from the hash of its normalised text and the seed. `shares` are positive and add up to 1."""
    position = float(combine(_SPLIT_SALT, seed, document_hash)) / _TWO_64
    upper = 0.0
    for split in SPLITS[:-1]:
        upper += shares[split]
        if position < upper:
            return split
    return SPLITS[-1]


def is_drawn(document_hash: int, seed: int, share: float) -> bool:
    """Whether a document is among the `share` (0 … 1) of a source that is used at all."""
    return float(combine(_SHARE_SALT, seed, document_hash)) / _TWO_64 < share


def shard_of(source_hash: int, n_shards: int) -> int:
    """Which of `n_shards` shards a source document belongs to, whatever its place in the files."""
    return int(combine(_SHARD_SALT, source_hash) % np.uint64(n_shards))


def sample_key(seed: int, source_hash: int) -> int:
    """Uniform 64-bit key of (seed, source document): the smallest keys are a sample of the documents."""
    return int(combine(_SAMPLE_SALT, seed, source_hash))


def grid_offset(document_hash: int, context_index: int) -> int:
    """How many tokens of a context precede its first tile, 0 … 31: the tile grid never knows where a feature peaks."""
    return int(combine(_OFFSET_SALT, document_hash, context_index) % np.uint64(TILE_TOKENS))


def tile_ids(document_hashes: UInt64, tile_indices: NDArray[np.integer]) -> UInt64:
    """64-bit name of each tile, from its document and its place there."""
    return combine(_TILE_SALT, document_hashes, tile_indices.astype(np.uint64))


def draw_keys(seed: int, features: NDArray[np.integer], tiles: UInt64) -> UInt64:
    """Uniform 64-bit keys of (seed, feature, tile); the k smallest keys are a uniform sample of k tiles of that feature."""
    return combine(_FEATURE_SALT, seed, features.astype(np.uint64), tiles)


def background_keys(seed: int, tiles: UInt64) -> UInt64:
    """Uniform 64-bit keys of (seed, tile) for the sample of tiles that serves every feature."""
    return combine(_BACKGROUND_SALT, seed, tiles)


def run_hashes(token_ids: NDArray[np.integer], length: int = NEAR_COPY_TOKENS) -> UInt64:
    """Hashes of all runs of `length` consecutive tokens, shape (n − length + 1,); of the whole text when it is shorter."""
    words = token_ids.astype(np.uint64)
    length = min(length, len(words))
    if length == 0:
        return np.empty(0, dtype=np.uint64)
    n_runs = len(words) - length + 1
    return combine(*(words[start : start + n_runs] for start in range(length)))
