"""What is counted of every feature: integers only, so that sums do not depend on their order and halves add up to the whole."""

from dataclasses import dataclass, field, fields

import numpy as np
from numpy.typing import NDArray

from autolabel.records import SPLITS, Split

HISTOGRAM_BINS = 64
_HISTOGRAM_ZERO = 32
_BINS_PER_OCTAVE = 4
_FIXED_POINT = 2.0**16
_LIMB = 2.0**32
_LARGEST_IN_SUM, _LARGEST_IN_SQUARES = 2.0**30, 2.0**22
"""Larger activations enter the moments as these, so that no sum of fewer than 2^17 of them leaves 64 bits."""

IntArray = NDArray[np.int64]


@dataclass
class Counts:
    """Exact counts; each array has shape (d_sae,) unless said otherwise."""

    d_sae: int
    tokens: IntArray = field(init=False)
    contexts: IntArray = field(init=False)
    tiles_train: IntArray = field(init=False)
    tiles_validation: IntArray = field(init=False)
    tiles_test: IntArray = field(init=False)
    sums: IntArray = field(init=False)
    """Sum of activations in units of 2^-16."""
    squares_high: IntArray = field(init=False)
    """Sum of squared activations in units of 2^16 …"""
    squares_low: IntArray = field(init=False)
    """… and the rest of it in units of 2^-16."""
    largest: NDArray[np.float32] = field(init=False)
    histogram: IntArray = field(init=False)
    """Tokens per activation bin, shape (d_sae, 64); bin i holds [2^((i−32)/4), 2^((i−31)/4)), the ends open."""
    all_tokens: int = 0
    all_contexts: int = 0
    all_tiles: dict[Split, int] = field(default_factory=lambda: dict.fromkeys(SPLITS, 0))
    outliers: int = 0

    def __post_init__(self) -> None:
        for name in self.names():
            setattr(self, name, np.zeros(self.d_sae, dtype=np.int64))
        self.largest = np.zeros(self.d_sae, dtype=np.float32)
        self.histogram = np.zeros((self.d_sae, HISTOGRAM_BINS), dtype=np.int64)

    @classmethod
    def names(cls) -> list[str]:
        """The arrays that are plain sums, one number per feature."""
        return [one.name for one in fields(cls) if one.name not in ("d_sae", "largest", "histogram") and not one.init]

    def tiles(self, split: Split) -> IntArray:
        """Tiles of a split in which each feature fires."""
        found: IntArray = getattr(self, f"tiles_{split}")
        return found

    @property
    def fired(self) -> IntArray:
        """Tiles in which each feature fires."""
        return self.tiles_train + self.tiles_validation + self.tiles_test

    @property
    def n_tiles(self) -> int:
        """All tiles."""
        return sum(self.all_tiles.values())

    def add_entries(self, features: IntArray, values: NDArray[np.float32]) -> None:
        """Count activations, one entry per token and feature."""
        self.tokens += np.bincount(features, minlength=self.d_sae)
        exact = values.astype(np.float64)
        np.add.at(self.sums, features, np.rint(np.minimum(exact, _LARGEST_IN_SUM) * _FIXED_POINT).astype(np.int64))
        squares = np.rint(np.minimum(exact, _LARGEST_IN_SQUARES) ** 2 * _FIXED_POINT)
        high = np.floor(squares / _LIMB)
        np.add.at(self.squares_high, features, high.astype(np.int64))
        np.add.at(self.squares_low, features, (squares - high * _LIMB).astype(np.int64))
        np.maximum.at(self.largest, features, values)
        bins = np.clip(np.floor(np.log2(values) * _BINS_PER_OCTAVE) + _HISTOGRAM_ZERO, 0, HISTOGRAM_BINS - 1).astype(np.int64)
        np.add.at(self.histogram.reshape(-1), features * HISTOGRAM_BINS + bins, 1)

    @property
    def means(self) -> NDArray[np.float64]:
        """Mean activation over the tokens on which a feature is active; 0 where there are none."""
        return self.sums / _FIXED_POINT / np.maximum(self.tokens, 1)

    @property
    def deviations(self) -> NDArray[np.float64]:
        """Standard deviation over the same tokens."""
        squares = (self.squares_high * _LIMB + self.squares_low) / _FIXED_POINT / np.maximum(self.tokens, 1)
        return np.sqrt(np.maximum(squares - self.means**2, 0))

    def merge(self, other: "Counts") -> None:
        """Add what was counted in other text."""
        for name in (*self.names(), "histogram"):
            getattr(self, name).__iadd__(getattr(other, name))
        np.maximum(self.largest, other.largest, out=self.largest)
        self.all_tokens += other.all_tokens
        self.all_contexts += other.all_contexts
        self.outliers += other.outliers
        for split in SPLITS:
            self.all_tiles[split] += other.all_tiles[split]
