"""Intervals of the benchmark's own numbers: features are drawn again, because numbers of one feature belong together."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import scipy.stats

T = TypeVar("T")
N_DRAWS = 1000


@dataclass(frozen=True, slots=True)
class Measured:
    """A number of a table with its 95% interval and how many features (or pairs) it rests on."""

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0


NOTHING = Measured(None)


def over_features(rows: Sequence[T], statistic: Callable[[Sequence[T]], float | None], seed: int = 0) -> Measured:
    """A statistic of per-feature rows, with the percentile bootstrap over features.

    Where every draw gives the same, a share has Wilson's interval and anything else none: an interval of width 0 claims too much.
    """
    value = statistic(rows) if rows else None
    if value is None:
        return Measured(None, n=len(rows))
    generator = np.random.default_rng(seed)
    drawn = [statistic([rows[i] for i in generator.integers(len(rows), size=len(rows))]) for _ in range(N_DRAWS)]
    known = np.array([one for one in drawn if one is not None])
    if len(known) == 0 or np.ptp(known) == 0:
        return _agreed(value, len(rows))
    low, high = np.quantile(known, [0.025, 0.975])
    return Measured(value, float(min(low, value)), float(max(high, value)), len(rows))


def mean_of(values: Sequence[float | None], seed: int = 0) -> Measured:
    """Mean of the values there are; yes-or-no ones get Wilson's interval, which has a width when all agree."""
    known = np.array([value for value in values if value is not None], dtype=np.float64)
    if len(known) == 0:
        return NOTHING
    value = float(known.mean())
    if np.isin(known, (0.0, 1.0)).all() or np.ptp(known) == 0:
        return _agreed(value, len(known))
    means = np.random.default_rng(seed).choice(known, size=(N_DRAWS, len(known))).mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return Measured(value, float(low), float(high), len(known))


def _agreed(value: float, n: int) -> Measured:
    """Wilson's interval of a share of `n`; none for what is no share of so many."""
    k = round(value * n)
    if not 0 <= k <= n or abs(k - value * n) > 1e-9:
        return Measured(value, n=n)
    interval = scipy.stats.binomtest(k, n).proportion_ci(method="wilson")
    return Measured(value, float(interval.low), float(interval.high), n)
