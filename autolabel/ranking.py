"""How well a prediction ranks firing tiles above others, as plain numbers: average precision, its resamples, AUROC.

The invariant: tied values are one threshold and counts stay whole numbers until the last division, so neither the order
of the examples nor any rising transform of the values changes a single bit.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from autolabel.intervals import Floats, Ints, codes
from autolabel.records import STRATA

N_RESAMPLES = 1000
MINIMUM_TILES = 10
"""Tiles of each group below which an exam gives no score."""


def checked_values(values: ArrayLike, n: int, what: str = "values") -> Floats:
    """`values` as floats of shape (n,), all finite."""
    array = np.asarray(values, dtype=np.float64)
    if array.shape != (n,):
        raise ValueError(f"{what} have shape {array.shape}, expected ({n},): one for each example")
    if not np.isfinite(array).all():
        raise ValueError(
            f"{what} hold {array[~np.isfinite(array)][0]}, expected finite numbers; leave examples without an answer out"
        )
    return array


def checked_clusters(clusters: ArrayLike, n: int) -> Ints:
    """Source documents as numbers 0, 1, …, shape (n,)."""
    array = np.asarray(clusters)
    if array.shape != (n,):
        raise ValueError(f"clusters have shape {array.shape}, expected ({n},): one source document for each example")
    return codes(array)


def checked_flags(flags: ArrayLike, what: str) -> NDArray[np.bool_]:
    """`flags` as booleans, shape (n,)."""
    array = np.asarray(flags)
    if array.ndim != 1 or not (array.dtype == np.bool_ or np.isin(array, (0, 1)).all()):
        raise ValueError(f"{what} must be a list of yes (1) and no (0); turn predictions into answers with a threshold first")
    return array.astype(np.bool_)


@dataclass(frozen=True)
class Exam:
    """Which group and which source document each tile of an exam belongs to, both as numbers, shape (n,)."""

    strata: Ints
    documents: Ints

    @classmethod
    def of(cls, strata: ArrayLike, clusters: ArrayLike) -> "Exam":
        """Check and number the groups and documents. Raises ValueError for an unknown group or unequal lengths."""
        names = np.asarray(strata, dtype=np.str_)
        unknown = sorted(set(names.reshape(-1).tolist()) - set(STRATA))
        if unknown:
            raise ValueError(f"stratum {unknown[0]!r} is unknown, expected one of {', '.join(STRATA)}")
        number: dict[str, int] = {name: i for i, name in enumerate(STRATA)}
        groups = np.array([number[name] for name in names.reshape(-1).tolist()], dtype=np.int64)
        return cls(groups, checked_clusters(clusters, len(groups)))

    @property
    def n(self) -> int:
        """Number of tiles."""
        return len(self.strata)

    @property
    def shortfall(self) -> str | None:
        """Why the exam is too small to be scored, with its counts; None when it is not."""
        counts = np.bincount(self.strata, minlength=len(STRATA))
        if counts.min() >= MINIMUM_TILES:
            return None
        found = ", ".join(f"{count} {name}" for name, count in zip(STRATA, counts.tolist(), strict=True))
        return f"too few tiles: {found}; at least {MINIMUM_TILES} of each are needed"

    @property
    def fewest_documents(self) -> int:
        """Source documents in the group that has the fewest."""
        return min(len(np.unique(self.documents[self.strata == i])) for i in range(len(STRATA)))

    def resample(self, seed: int) -> Floats:
        """How much each tile weighs when documents are drawn with replacement, 1,000 times over; shape (n, n_draws), read-only.

        Draws that lack a group are left out. All labels of a feature are read on the same draws.
        """
        return _resampled(self.strata.tobytes(), self.documents.tobytes(), seed, N_RESAMPLES)

    def balanced(self, times: Ints) -> Floats:
        """Weights of tiles that count `times` (n, n_draws) each, so that the three groups weigh the same in every draw."""
        return _balanced(self.strata, times)

    def average_precision(self, values: Floats, weights: Floats | None = None) -> Floats:
        """Average precision with the three groups weighted equally, for each column of `weights` (n, n_draws); shape (n_draws,).

        Without `weights` every tile counts once and there is one number.

        Σ over thresholds of (gain in recall) × precision, ties being one threshold (Manning et al., 2008, eq. 8.8). 1/3
        for a constant prediction, 1 for a perfect one, at least 1 − 2 ln 1.5 = 0.19.
        """
        weights = _balanced(self.strata, np.ones((self.n, 1), dtype=np.int64)) if weights is None else weights
        order = np.argsort(-values, kind="stable")
        ranked = values[order]
        is_last_of_tie = np.append(ranked[1:] != ranked[:-1], True)
        named, found, before = np.zeros((3, weights.shape[1]))
        gained = np.zeros((int(is_last_of_tie.sum()), weights.shape[1]))
        # Down the ranking in place, a row at a time: several times faster than cumulative sums over the whole array.
        threshold = 0
        for tile, fires, ends_tie in zip(order.tolist(), (self.strata[order] == 0).tolist(), is_last_of_tie.tolist(), strict=True):
            named += weights[tile]
            if fires:
                found += weights[tile]
            if ends_tie:
                np.multiply(found - before, found / np.maximum(named, 1.0), out=gained[threshold])
                before[:] = found
                threshold += 1
        return np.asarray(gained.sum(axis=0) / found, dtype=np.float64)


@lru_cache(maxsize=8)
def _resampled(strata: bytes, documents: bytes, seed: int, n_draws: int) -> Floats:
    """`Exam.resample`, drawn once for all the labels read on the same exam."""
    groups, document_of = np.frombuffer(strata, dtype=np.int64), np.frombuffer(documents, dtype=np.int64)
    n_documents = int(document_of.max()) + 1
    draws = np.random.default_rng(seed).multinomial(n_documents, np.full(n_documents, 1 / n_documents), size=n_draws)
    times = np.ascontiguousarray(draws[:, document_of].T, dtype=np.int64)
    weights = _balanced(groups, times[:, (_totals(groups, times) > 0).all(axis=0)])
    weights.flags.writeable = False
    return weights


def _totals(strata: Ints, times: Ints) -> Ints:
    """Tiles of each group in each draw, shape (3, n_draws); `times` is (n, n_draws)."""
    return np.stack([times[strata == i].sum(axis=0) for i in range(len(STRATA))])


def _balanced(strata: Ints, times: Ints) -> Floats:
    """`times` with each group weighted by the product of the other two counts: whole numbers, the same total for all three."""
    firing, hard, random = _totals(strata, times)
    weights: Floats = (times * np.stack([hard * random, firing * random, firing * hard])[strata]).astype(np.float64)
    return weights


def area_under_roc(values: Floats, positive: NDArray[np.bool_], weights: Floats) -> float:
    """Weighted share of (firing, other) pairs that are ranked rightly, ties counting half (Mann & Whitney, 1947)."""
    order = np.argsort(values[~positive], kind="stable")
    others = values[~positive][order]
    below = np.append(0.0, np.cumsum(weights[~positive][order]))
    left = below[np.searchsorted(others, values[positive], side="left")]
    right = below[np.searchsorted(others, values[positive], side="right")]
    share = (weights[positive] * (left + right) / 2).sum() / (weights[positive].sum() * below[-1])
    return float(np.clip(share, 0.0, 1.0))
