"""Whether probabilities mean what they say: Brier score, calibration error, and the risk that is left when the doubtful are set aside.

Cases may carry weights; outcomes are yes or no. The invariant: the order of the cases changes nothing.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
BINS = 10


@dataclass(frozen=True, slots=True)
class Bin:
    """The cases of one tenth of the range of probabilities."""

    low: float
    high: float
    n: int
    said: float
    """Mean probability."""
    seen: float
    """Share of cases that are so."""
    weight: float
    """Share of the weight of all cases."""


def brier(said: ArrayLike, outcomes: ArrayLike, weights: ArrayLike | None = None) -> float | None:
    """Mean squared gap between probability and outcome (Brier, 1950). Lower is better, range 0 to 1; .25 for always one half. None for
    no cases."""
    p, y, w = _checked(said, outcomes, weights)
    return float((w * (p - y) ** 2).sum()) if len(p) else None


def reliability(said: ArrayLike, outcomes: ArrayLike, weights: ArrayLike | None = None) -> list[Bin]:
    """Probability against share in ten equal bins, those without cases left out."""
    p, y, w = _checked(said, outcomes, weights)
    which = np.minimum((p * BINS).astype(int), BINS - 1)
    found = []
    for number in np.unique(which).tolist():
        own = which == number
        weight = float(w[own].sum())
        mean_said, mean_seen = (float((w[own] * x[own]).sum() / weight) for x in (p, y))
        found.append(Bin(number / BINS, (number + 1) / BINS, int(own.sum()), mean_said, mean_seen, weight))
    return found


def calibration_error(said: ArrayLike, outcomes: ArrayLike, weights: ArrayLike | None = None) -> float | None:
    """Mean gap between probability and share over ten equal bins, weighted by their size (Naeini et al., 2015). Lower is better; None
    for no cases. With few cases it is above 0 even for perfect probabilities."""
    bins = reliability(said, outcomes, weights)
    return sum(one.weight * abs(one.said - one.seen) for one in bins) if bins else None


def risk_coverage(said: ArrayLike, outcomes: ArrayLike, weights: ArrayLike | None = None) -> list[tuple[float, float]]:
    """Share of cases kept, and share of the kept that are not so, from the most probable on; equal probabilities are kept together."""
    p, y, w = _checked(said, outcomes, weights)
    levels, place = np.unique(-p, return_inverse=True)
    kept = np.cumsum(np.bincount(place, w, minlength=len(levels)))
    wrong = np.cumsum(np.bincount(place, w * (1 - y), minlength=len(levels)))
    return [(float(share), float(lost / share)) for share, lost in zip(kept, wrong, strict=True)]


def area_under_risk_coverage(said: ArrayLike, outcomes: ArrayLike, weights: ArrayLike | None = None) -> float | None:
    """Mean risk over coverage from 0 to 1 (AURC; Geifman et al., 2019). Lower is better; the overall risk for useless probabilities;
    None for no cases."""
    curve = risk_coverage(said, outcomes, weights)
    if not curve:
        return None
    shares = np.array([0.0, *(share for share, _ in curve)])
    return float((np.diff(shares) * [risk for _, risk in curve]).sum())


def _checked(said: ArrayLike, outcomes: ArrayLike, weights: ArrayLike | None) -> tuple[Floats, Floats, Floats]:
    """Probabilities, outcomes as 0 and 1, and weights that sum to 1."""
    p, y = np.asarray(said, dtype=np.float64), np.asarray(outcomes, dtype=np.float64)
    w = np.ones(len(p)) if weights is None else np.asarray(weights, dtype=np.float64)
    if p.shape != y.shape or p.shape != w.shape or p.ndim != 1:
        raise ValueError(f"{p.shape} probabilities, {y.shape} outcomes and {w.shape} weights: expected as many of each")
    if not ((p >= 0) & (p <= 1)).all() or not np.isin(y, (0, 1)).all() or not (np.isfinite(w) & (w > 0)).all():
        raise ValueError("expected probabilities from 0 to 1, outcomes of yes or no, and finite weights above 0")
    return p, y, w / w.sum() if len(w) else w
