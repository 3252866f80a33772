"""Where scores differ, and why: variance components of features rated by judges on halves of a corpus with several draws of tiles.

Generalizability theory (Brennan, 2001, ch. 3–5): every facet is random, draws are nested in halves, because the first draw from one
half has nothing to do with the first draw from the other. Components are those of the analysis of variance of a balanced design;
estimates below zero count as zero. With judges as the only facet the coefficients are ICC(2,1) and ICC(2,k) of Shrout & Fleiss (1979).
"""

from collections.abc import Mapping
from itertools import combinations
from math import prod

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

FACETS = "fjhs"
"""Axes of an array of scores: feature, judge, half, draw of tiles (the seed)."""
EFFECTS = ("f", "j", "h", "hs", "fj", "fh", "fhs", "jh", "jhs", "fjh", "fjhs")
"""Sources of variance by the facets that take part; a draw always stands with the half that it is from. The last one is also noise."""


def components(scores: ArrayLike) -> dict[str, float]:
    """Variance components of scores of shape (n_features, n_judges, n_halves, n_draws), by effect; none below 0.

    A facet with one level takes part in no effect: what it would add stays in the others.

    Raises:
        ValueError: the array has another number of axes, fewer than two features, or a score that is not finite.
    """
    x = np.asarray(scores, dtype=np.float64)
    if x.ndim != len(FACETS) or x.shape[0] < 2 or not np.isfinite(x).all():
        raise ValueError(f"scores of shape {x.shape}: expected (features ≥ 2, judges, halves, draws), all finite")
    x = x - x.flat[0]  # scores that are all the same must differ by 0, not by the rounding of their mean
    levels = dict(zip(FACETS, x.shape, strict=True))
    effects = [effect for effect in EFFECTS if _freedom(effect, levels) > 0]
    squares = np.array([_sum_of_squares(x, effect) / _freedom(effect, levels) for effect in effects])
    weights = np.array([[_weight(of, within, levels) for within in effects] for of in effects])
    found = np.linalg.solve(weights, squares)
    return {effect: max(0.0, value) for effect, value in zip(effects, found.tolist(), strict=True)}


def coefficient(found: Mapping[str, float], averaged: Mapping[str, int] | None = None) -> float | None:
    """Share of variance that is between features: of one score, or of a mean over as many levels of facets as `averaged` says.

    Higher is better, range 0 to 1; absolute agreement, so a facet that moves all features alike counts against it too. None where
    nothing varies.
    """
    levels = averaged or {}
    total = sum(value / prod(levels.get(facet, 1) for facet in effect if facet != "f") for effect, value in found.items())
    return found["f"] / total if total > 0 else None


def standardised(scores: ArrayLike) -> Floats:
    """Scores, shape (n_features, n_judges, …), with mean 0 and variance 1 within each judge, which makes judges comparable whose numbers
    mean different things (validity §14). Those of a judge that gives all the same one are 0."""
    x = np.asarray(scores, dtype=np.float64)
    rest = tuple(axis for axis in range(x.ndim) if axis != 1)
    centred = x - x.mean(axis=rest, keepdims=True)
    spread = centred.std(axis=rest, keepdims=True)
    # A rounding error is no spread: values that are all the same may differ from their mean in the last bit.
    flat = spread <= 1e-12 * np.maximum(1.0, np.abs(x).max(axis=rest, keepdims=True))
    found: Floats = np.where(flat, 0.0, centred / np.where(flat, 1.0, spread))
    return found


def _sum_of_squares(x: Floats, effect: str) -> float:
    """Of an effect's deviations, over all scores."""
    free, given = _parts(effect)
    deviation = np.zeros((1,) * x.ndim)
    for size in range(len(free) + 1):
        for kept in combinations(free, size):
            axes = tuple(axis for axis, facet in enumerate(FACETS) if facet not in (*kept, *given))
            deviation = deviation + (-1) ** (len(free) - size) * x.mean(axis=axes, keepdims=True)
    return float((deviation**2).sum()) * x.size / deviation.size


def _freedom(effect: str, levels: Mapping[str, int]) -> int:
    free, given = _parts(effect)
    return prod(levels[facet] - 1 for facet in free) * prod(levels[facet] for facet in given)


def _parts(effect: str) -> tuple[str, str]:
    """The facets of an effect that are free, and the one in which another is nested."""
    return (effect.replace("h", ""), "h") if "s" in effect else (effect, "")


def _weight(of: str, within: str, levels: Mapping[str, int]) -> int:
    """How often the component of one effect is in the expected mean square of another."""
    return prod(levels[facet] for facet in FACETS if facet not in within) if set(of) <= set(within) else 0
