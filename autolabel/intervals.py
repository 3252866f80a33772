"""How sure a number is: the estimate that carries its interval, and the interval methods behind every score.

The invariant: a value never stands alone. It comes with a 95% interval that contains it and is wider than a point, or
it is None and says why; there is no NaN. Every method here counts documents, not only tiles, because tiles of one
document resemble each other.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import overload

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import expit, logit
from scipy.stats import beta
from scipy.stats import t as student

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

Z = 1.959963984540054
"""Two-sided 95% quantile of the standard normal."""
FLOOR = 0.9
"""Standard deviation of an average precision as a share of a proportion's, for the least error an exam can claim.

Chosen by simulation and then frozen: with less, a flawless exam of 20 + 20 + 20 tiles claims more than the labels that
pass it by luck allow.
"""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its 95% interval, or None and the reason. `chance` is what guessing gives, None where that depends on the data.

    Raises:
        ValueError: the parts contradict each other, or are not finite.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    """How many examples it rests on."""
    chance: float | None
    reason: str | None = None
    """Why there is no value; None exactly when there is one."""

    def __post_init__(self) -> None:
        if self.value is None or self.low is None or self.high is None:
            if not (self.value is self.low is self.high is None and self.reason):
                raise ValueError(f"{self} has no value: low and high must be None too, and a reason given")
        elif self.reason is not None or not -math.inf < self.low <= self.value <= self.high < math.inf:
            raise ValueError(f"{self} must have low ≤ value ≤ high, all finite, and no reason")
        elif self.low == self.high:
            raise ValueError(f"{self} has an interval of width 0, which claims to know the value exactly")


def unscored(n: int, chance: float | None, reason: str) -> Estimate:
    """An estimate without a value."""
    return Estimate(None, None, None, n, chance, reason)


def wilson_bounds(share: float, n: float) -> tuple[float, float]:
    """95% interval of a proportion (Wilson, 1927) for `n` > 0 effective trials; `share` and n need not be whole counts."""
    centre = (share + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z / (1 + Z * Z / n) * math.sqrt(share * (1 - share) / n + Z * Z / (4 * n * n))
    return (0.0 if share == 0 else min(share, centre - half)), (1.0 if share == 1 else max(share, centre + half))


def wilson(k: int, n: int, design_effect: float = 1.0) -> Estimate:
    """The share `k` / `n` with its Wilson interval for n / `design_effect` trials; range 0 to 1, None when `n` is 0."""
    if not (0 <= k <= n and math.isfinite(design_effect) and design_effect >= 1):
        raise ValueError(f"{k} of {n} with design effect {design_effect}: expected 0 ≤ k ≤ n and a design effect of at least 1")
    if n == 0:
        return unscored(0, None, "nothing was counted")
    low, high = wilson_bounds(k / n, n / design_effect)
    return Estimate(k / n, low, high, n, None)


def codes(labels: ArrayLike) -> Ints:
    """Number the distinct labels 0, 1, … in sorted order, so that the order of the examples changes nothing."""
    return np.unique(np.asarray(labels), return_inverse=True)[1].astype(np.int64).reshape(-1)


def mid_ranks(values: Floats) -> Floats:
    """Ranks from 1, ties sharing their mean rank; what `scipy.stats.rankdata` gives, at a fifth of its cost for an exam's few tiles."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Floats = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return ranks


def intraclass_correlation(values: Floats, groups: Ints, clusters: Ints) -> float:
    """How alike the values of one cluster are within each group: 0 as any others, 1 all the same.

    One-way analysis of variance, clusters nested in groups, on mid-ranks, negative estimates taken as 0 (Donner & Klar,
    2000, ch. 1). Where the values do not vary, or each group is one cluster, nothing can be estimated and the answer is
    the cautious 1.
    """
    ranks = mid_ranks(values)
    cells = codes(groups * (clusters.max() + 1) + clusters)
    if cells.max() + 1 == len(values):
        return 0.0
    sizes = np.bincount(cells)
    group_of_cell = np.zeros(len(sizes), dtype=np.int64)
    group_of_cell[cells] = groups
    group_sizes = np.bincount(groups)
    cell_sums = np.bincount(cells, weights=ranks)
    group_means = np.bincount(groups, weights=ranks) / np.maximum(group_sizes, 1)
    freedom = len(sizes) - len(np.unique(groups))
    between = float((sizes * (cell_sums / sizes - group_means[group_of_cell]) ** 2).sum())
    within = float((ranks**2).sum() - (cell_sums**2 / sizes).sum()) / (len(values) - len(sizes))
    if freedom == 0 or between + within == 0:
        return 1.0
    between /= freedom
    typical_size = (len(values) - float((sizes**2 / group_sizes[group_of_cell]).sum())) / freedom
    return max(0.0, (between - within) / (between + (typical_size - 1) * within))


def effective_sizes(values: Floats, groups: Ints, clusters: Ints) -> Floats:
    """Independent examples that each group is worth: n / (1 + (m̄ − 1)·ICC), shape (n_groups,); groups are 0, 1, …, none empty.

    m̄ is the mean cluster size as an example sees it, Σm² / n, which is what the variance depends on when sizes differ
    (Kish, 1987).
    """
    correlation = intraclass_correlation(values, groups, clusters)
    sizes = []
    for group in range(int(groups.max()) + 1):
        cluster_sizes = np.bincount(clusters[groups == group])
        n = cluster_sizes.sum()
        sizes.append(n / (1 + ((cluster_sizes**2).sum() / n - 1) * correlation))
    return np.array(sizes)


@lru_cache(maxsize=1024)
def t_quantile(documents: int) -> float:
    """Two-sided 95% quantile of Student's t for a spread seen among `documents`, at least one degree of freedom."""
    return float(student.ppf(0.975, max(documents - 1, 1)))


def logit_interval(share: float, standard_error: float, n: float, documents: int) -> tuple[float, float]:
    """95% interval of an average precision from the spread of its bootstrap, never narrower than the floor.

    The spread is carried to the logit scale by the delta method and stretched by Student's t. The floor is a score
    interval: every θ for which |share − θ| ≤ z · FLOOR · √(θ(1 − θ)/n), that is Wilson's with n / FLOOR² trials. It is
    what is left when all resamples agree, as they do for a flawless exam.
    """
    low, high = wilson_bounds(share, n / FLOOR**2)
    if standard_error > 0:
        reach = t_quantile(documents) * standard_error / (share * (1 - share))
        low, high = min(low, float(expit(logit(share) - reach))), max(high, float(expit(logit(share) + reach)))
    return low, high


def newcombe_bounds(area: float, n_firing: float, n_silent: float) -> tuple[float, float]:
    """95% interval of an AUROC by method 5 of Newcombe (2006, Statistics in Medicine 25:559–573); sizes are effective, at least 1.

    The θ for which (θ̂ − θ)² ≤ z² θ(1 − θ) [1 + N(1 − θ)/(2 − θ) + Nθ/(1 + θ)] / (mn) with N = (m + n)/2 − 1: a score
    interval on the variance of Hanley and McNeil.
    """
    return _newcombe_low(area, n_firing, n_silent), 1 - _newcombe_low(1 - area, n_firing, n_silent)


def _newcombe_low(area: float, m: float, n: float) -> float:
    others = (m + n) / 2 - 1

    def excess(theta: float) -> float:
        spread = 1 + others * (1 - theta) / (2 - theta) + others * theta / (1 + theta)
        return (area - theta) ** 2 / (theta * (1 - theta)) - Z * Z * spread / (m * n)

    nearly_none = 1e-12
    if area <= nearly_none or excess(nearly_none) <= 0:
        return 0.0
    return min(area, float(brentq(excess, nearly_none, min(area, 1 - nearly_none))))


def mover_mean(first: Estimate, second: Estimate) -> tuple[float, float, float]:
    """The mean of two independent shares and its 95% interval by square-and-add (Newcombe, 1998; MOVER). Both must have values."""
    shares = np.array([[e.value, e.low, e.high] for e in (first, second)], dtype=np.float64)
    value = float(shares[:, 0].mean())
    below, above = shares[:, 0] - shares[:, 1], shares[:, 2] - shares[:, 0]
    return value, value - float(np.hypot(*below)) / 2, value + float(np.hypot(*above)) / 2


def rule_of_three(n: int) -> float:
    """95% upper bound of a rate when nothing was seen in `n` trials: 3 / n, at most 1 (Hanley & Lippman-Hand, 1983)."""
    if n < 0:
        raise ValueError(f"{n} trials: expected 0 or more")
    return 1.0 if n == 0 else min(1.0, 3.0 / n)


@overload
def firing_rate_upper(k: int, n: int) -> float: ...
@overload
def firing_rate_upper(k: NDArray[np.integer], n: int) -> Floats: ...
def firing_rate_upper(k: int | NDArray[np.integer], n: int) -> float | Floats:
    """One-sided 95% upper bound of a rate seen `k` times in `n` > 0 trials (Clopper & Pearson, 1934); exact, 1 when k = n.

    With k = 0 it is 1 − .05^(1/n), the number that `rule_of_three` rounds up. An array of counts gives an array of
    bounds.
    """
    counts = np.asarray(k)
    if n <= 0 or counts.min(initial=0) < 0 or counts.max(initial=0) > n:
        raise ValueError(f"counts from {counts.min(initial=0)} to {counts.max(initial=0)} of {n}: expected 0 ≤ k ≤ n and n > 0")
    bound = np.where(counts == n, 1.0, beta.ppf(0.95, counts + 1.0, np.maximum(n - counts, 1)))
    return float(bound) if bound.ndim == 0 else bound
