"""How surely labels say more than labels of other features do: p-values from pooled nulls, and the share of false ones among many.

A label is compared with labels of other features on the same exam. Alone, G of them can give no p below 1 / (1 + G), so that no label
of a long list could ever be discovered; standardised within each exam, those of many exams are one pool (validity §5).

The invariant: a p-value is never smaller than its pool allows, and where the pool is too small there is none.
"""

import math
from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.stats
from scipy.special import betaincinv

from autolabel.intervals import Estimate, Floats, unscored

LEAST_OTHERS = 8
"""Labels of other features without which an exam cannot be standardised."""
LEAST_POOL = 2000
"""Draws that a pool must hold (validity §5)."""
FDR = 0.05
"""Share of false ones among discoveries that a run reports its power at."""
_PRIOR_FREEDOM = 4.0
"""Degrees of freedom that the typical spread of a stratum counts for beside an exam's own (Smyth, 2004): a spread seen among few labels
is often far too small by luck."""
_DECIMALS = 9


@dataclass(frozen=True, slots=True)
class Drawn:
    """What a label scores on its exam, and what labels of other features score there; higher is better."""

    stratum: Hashable
    """Exams in which labels of other features are comparable: firing-rate bin and label-length bin."""
    own: float
    others: Sequence[float]


@dataclass(frozen=True, slots=True)
class PValue:
    """How often a label of another feature does as well as this one, by three ways of counting ties."""

    estimate: Estimate
    """(1 + those that do at least as well) / (1 + pool): never too small. Its interval is Clopper & Pearson's for the share of the
    pool, that is for the luck of which labels were drawn; chance is .5."""
    above: int = 0
    """Draws of the pool that do better."""
    ties: int = 0
    """Draws that do exactly as well."""

    @property
    def middle(self) -> float | None:
        """Ties, the label itself included, count half (Lancaster, 1961)."""
        return self.randomised(0.5)

    def randomised(self, u: float) -> float | None:
        """The label's place among its ties is drawn by `u`, uniform between 0 and 1: exactly uniform where nothing is to be found."""
        if self.estimate.value is None:
            return None
        return (self.above + u * (self.ties + 1)) / (1 + self.estimate.n)


def pooled_p_values(drawn: Sequence[Drawn], least_pool: int = LEAST_POOL) -> list[PValue]:
    """The p-value of every label, in order; without a value, and with the reason, where the pool is too small.

    A score is standardised by the mean and spread of the labels of other features on the same exam, the spread moderated by what is
    typical of the stratum. Each of those labels is standardised by the rest of them in the same way; they are the pool of the stratum.

    Args:
        drawn: one for each label.
        least_pool: draws without which there is no p-value.

    Raises:
        ValueError: a score is not finite.
    """
    for one in drawn:
        if not np.isfinite([one.own, *one.others]).all():
            raise ValueError(f"scores hold {one.own}, {list(one.others)[:5]}, …; expected finite numbers: leave failed labels out")
    members: dict[Hashable, list[int]] = defaultdict(list)
    for number, one in enumerate(drawn):
        members[one.stratum].append(number)
    found: dict[int, PValue] = {}
    for numbers in members.values():
        found |= zip(numbers, _of_stratum([drawn[number] for number in numbers], least_pool), strict=True)
    return [found[number] for number in range(len(drawn))]


def _of_stratum(drawn: Sequence[Drawn], least_pool: int) -> list[PValue]:
    able = [one for one in drawn if len(one.others) >= LEAST_OTHERS]
    n = sum(len(one.others) for one in able)
    typical = float(np.mean([np.var(one.others, ddof=1) for one in able])) if able else 0.0
    pool = np.sort(np.concatenate([np.empty(0), *(_others_standardised(np.asarray(one.others), typical) for one in able)]))
    return [_ranked(one, pool, n, typical, least_pool) for one in drawn]


def _ranked(one: Drawn, pool: Floats, n: int, typical: float, least_pool: int) -> PValue:
    if len(one.others) < LEAST_OTHERS:
        why = f"{len(one.others)} labels of other features on its exam; at least {LEAST_OTHERS} are needed to standardise it"
        return PValue(unscored(n, 0.5, why))
    if n < least_pool:
        why = f"{n:,} draws of labels of other features in its stratum (firing rate and label length); {least_pool:,} are needed"
        return PValue(unscored(n, 0.5, why))
    others = np.asarray(one.others, dtype=np.float64)
    own = _standardised(np.array([one.own]), others.mean(), np.array([others.var(ddof=1)]), len(others), typical)[0]
    above = n - int(np.searchsorted(pool, own, side="right"))
    ties = n - int(np.searchsorted(pool, own, side="left")) - above
    reached = above + ties
    low, high = clopper_pearson(reached, n)
    return PValue(Estimate((1 + reached) / (1 + n), low, high, n, 0.5), above, ties)


def clopper_pearson(k: int, n: int) -> tuple[float, float]:
    """95% interval of a share of which `k` of `n` were seen that never holds it less often (Clopper & Pearson, 1934)."""
    low = float(betaincinv(k, n - k + 1, 0.025)) if k else 0.0
    return low, float(betaincinv(k + 1, n - k, 0.975)) if k < n else 1.0


def _others_standardised(others: Floats, typical: float) -> Floats:
    """Each of the others by the mean and spread of the rest, shape (n_others,)."""
    n = len(others)
    mean = (others.sum() - others) / (n - 1)
    squares = ((others - others.mean()) ** 2).sum()
    variance = np.maximum(squares - (others - others.mean()) ** 2 * n / (n - 1), 0.0) / (n - 2)
    return _standardised(others, mean, variance, n - 1, typical)


def _standardised(values: Floats, mean: Floats | float, variance: Floats, n: int, typical: float) -> Floats:
    """How many standard deviations of a new draw lie between values and the mean of `n` others."""
    moderated = ((n - 1) * variance + _PRIOR_FREEDOM * typical) / (n - 1 + _PRIOR_FREEDOM)
    spread = np.sqrt(moderated * (1 + 1 / n))
    scores = np.divide(values - mean, spread, out=np.zeros_like(values), where=spread > 0)
    return np.asarray(np.round(scores, _DECIMALS), dtype=np.float64)


def q_values(p_values: Sequence[Estimate]) -> list[Estimate]:
    """The least false discovery rate at which each label would be a discovery (Benjamini & Hochberg, 1995), in order.

    Lower is better, range 0 to 1, chance 1. Labels without a p-value take no part and have none. The interval is what the ends of all
    p-values' intervals come to. `n` counts the labels tested together.
    """
    able = [number for number, p in enumerate(p_values) if p.value is not None]
    at: dict[int, Estimate] = {}
    if able:
        ends = np.array(
            [[p_values[number].value, p_values[number].low, p_values[number].high] for number in able], dtype=np.float64
        )
        values, lows, highs = scipy.stats.false_discovery_control(ends.T, axis=1).tolist()
        at = {number: Estimate(values[i], lows[i], highs[i], len(able), 1.0) for i, number in enumerate(able)}
    return [
        at[number] if number in at else unscored(len(able), 1.0, f"no p-value: {p.reason or 'none was given'}")
        for number, p in enumerate(p_values)
    ]


@dataclass(frozen=True, slots=True)
class Reach:
    """What a list of p-values can find and has found, at a false discovery rate of `FDR`."""

    n: int
    """Labels with a p-value."""
    n_without: int
    """Labels without one."""
    n_found: int
    least_found: int | None
    """The fewest discoveries there can be if there are any, as p-values have a least; None where there is no p-value."""
    empty_share: float | None
    """Estimated share of labels that say no more than others' (Storey, 2002, λ = .5); never underestimated on average."""
    power: float | None
    """Estimated share of the labels that do say more which are found: what was found less its false part, by what there is to find."""

    @property
    def text(self) -> str:
        """In a line."""
        if self.n == 0:
            return f"no p-value could be given ({self.n_without} labels)"
        without = f"; {self.n_without} labels have no p-value" if self.n_without else ""
        power = "" if self.power is None else f", power about {self.power:.2f}"
        found = f"{self.n_found} of {self.n} labels are discoveries at a false discovery rate of {FDR:g}"
        return f"{found}{power} ({self.empty_share:.2f} say no more than others' by estimate){without}"


def reach(p_values: Sequence[Estimate]) -> Reach:
    """What these p-values reach together."""
    able = [p for p in p_values if p.value is not None]
    n = len(able)
    if n == 0:
        return Reach(0, len(p_values), 0, None, None, None)
    values = np.array([p.value for p in able], dtype=np.float64)
    least = min(1 / (1 + p.n) for p in able)
    needed = math.ceil(least * n / FDR)
    n_found = int((scipy.stats.false_discovery_control(values) <= FDR).sum())
    empty = min(1.0, (1 + int((values > 0.5).sum())) / (0.5 * n))
    there = n * (1 - empty)
    power = min(1.0, n_found * (1 - FDR * empty) / there) if there >= 1 else None
    return Reach(n, len(p_values) - n, n_found, max(1, needed), empty, power)
