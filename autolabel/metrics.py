"""The numbers a label is judged by, each with its interval, its chance level and the reason when there is none.

The invariant: the same examples give the same number whatever their order, and a number that the examples cannot carry
is None. Ranks are judged here, yes-or-no answers in `rates`; both are to be imported from here. Values are predictions
with higher = more likely to fire; clusters are source documents. Wrong lengths and numbers that are not finite are
mistakes of the caller and raise ValueError.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from autolabel.intervals import (
    FLOOR,
    Estimate,
    Floats,
    Z,
    effective_sizes,
    firing_rate_upper,
    logit_interval,
    newcombe_bounds,
    rule_of_three,
    t_quantile,
    unscored,
    wilson,
    wilson_bounds,
)
from autolabel.ranking import Exam, area_under_roc, checked_clusters, checked_flags, checked_values
from autolabel.rates import balanced_accuracy, flip_rate, population_precision, recall, share

__all__ = [
    "Estimate",
    "auroc",
    "balanced_accuracy",
    "firing_rate_upper",
    "flip_rate",
    "label_score",
    "paired_difference",
    "population_precision",
    "recall",
    "rule_of_three",
    "share",
    "wilson",
]


def label_score(values: ArrayLike, strata: ArrayLike, clusters: ArrayLike, seed: int) -> Estimate:
    """How well a prediction ranks firing tiles above hard and random ones: (AP − 1/3) / (2/3), the headline of every label.

    Higher is better. 1 is perfect; 0 is chance: any constant prediction, and any useless one as tiles become many. (A
    useless prediction without ties averages + 0.06 on 20 + 20 + 20 tiles, as average precision does on few tiles:
    Bestgen, 2015.) The least possible is −0.22, all firing tiles last. The three groups weigh the same whatever their
    sizes. None when a group has fewer than 10 tiles. Interval: document bootstrap of AP on the logit scale with a floor
    (`intervals.logit_interval`); the bootstrap follows `seed`.

    Args:
        values: predictions, shape (n,); only their order and ties matter.
        strata: "firing", "hard" or "random" for each tile.
        clusters: source document of each tile.
        seed: seed of the bootstrap.
    """
    exam = Exam.of(strata, clusters)
    checked = checked_values(values, exam.n)
    if exam.shortfall is not None:
        return unscored(exam.n, 0.0, exam.shortfall)
    precision = float(exam.average_precision(checked)[0])
    spread = float(exam.average_precision(checked, exam.resample(seed)).std(ddof=1))
    n = float(effective_sizes(checked, exam.strata, exam.documents).min())
    low, high = logit_interval(precision, spread, n, exam.fewest_documents)
    return Estimate(_rescaled(precision), _rescaled(low), _rescaled(high), exam.n, 0.0)


def _rescaled(precision: float) -> float:
    return (3 * precision - 1) / 2


def paired_difference(
    values_a: ArrayLike, values_b_list: Sequence[ArrayLike], strata: ArrayLike, clusters: ArrayLike, seed: int
) -> Estimate:
    """`label_score` of a − mean `label_score` of the others, tile by tile the same: `lift_null` and `beyond_token`.

    The others are the nulls for `lift_null`, the token lookup for `beyond_token` (validity §5). Higher is better, range
    −1.22 to 1.22, chance 0 = no better than the others. None when a group has fewer than 10 tiles or there is nothing to
    compare with. Interval: every prediction is read on the same resampled documents, and Student's t times the standard
    deviation of the difference is taken either way, never less than a floor (`_least_reach`). Several others stand for
    all exchangeable nulls, so their spread beyond what sampling explains is added. `n` counts tiles, not nulls.
    """
    exam = Exam.of(strata, clusters)
    first = checked_values(values_a, exam.n)
    others = [checked_values(values, exam.n) for values in values_b_list]
    reason = exam.shortfall if others else "there is no other label to compare with"
    if reason is not None:
        return unscored(exam.n, 0.0, reason)
    times = exam.resample(seed)
    scores = np.array([_rescaled(float(exam.average_precision(values)[0])) for values in (first, *others)])
    drawn = np.stack([1.5 * exam.average_precision(values, times) for values in (first, *others)], axis=1)
    value = float(scores[0] - scores[1:].mean())
    variance = float((drawn[:, 0] - drawn[:, 1:].mean(axis=1)).var(ddof=1)) + _null_variance(scores[1:], drawn[:, 1:])
    reach = max(t_quantile(exam.fewest_documents) * math.sqrt(variance), _least_reach(value, first, exam))
    return Estimate(value, value - reach, value + reach, exam.n, 0.0)


def _null_variance(scores: Floats, drawn: Floats) -> float:
    """Variance of the mean of these nulls as a sample of all nulls, 0 for one; `drawn` is (n_draws, n_nulls) resampled.

    A resample adds the sampling error once more, so what it adds to the spread between nulls is what sampling explains
    of it.
    """
    if len(scores) == 1:
        return 0.0
    seen = float(scores.var(ddof=1))
    explained = float(drawn.var(axis=1, ddof=1).mean()) - seen
    return max(0.0, seen - explained) / len(scores)


def _least_reach(value: float, first: Floats, exam: Exam) -> float:
    """The floor of one label's score, times the root of the share of tiles on which the two must differ.

    The variance of a paired difference grows with the share of discordant pairs (McNemar, 1947). |value| is the least
    it can be; it is taken at the centre of its Wilson interval, because none seen among 20 does not mean none.
    """
    n = float(effective_sizes(first, exam.strata, exam.documents).min())
    precision = float(exam.average_precision(first)[0])
    low, high = wilson_bounds(precision, n / FLOOR**2)
    differing = (n * min(1.0, abs(value)) + Z * Z / 2) / (n + Z * Z)
    return 1.5 * max(precision - low, high - precision) * math.sqrt(differing)


def auroc(values: ArrayLike, positive: ArrayLike, clusters: ArrayLike, weights: ArrayLike | None = None) -> Estimate:
    """Probability that a firing tile is ranked above another one, ties counting half (Mann & Whitney, 1947).

    Higher is better, range 0 to 1, chance .5. None when there are only firing tiles or none. Interval: Newcombe (2006)
    method 5 with each class shrunk to n / (1 + (m̄ − 1)·ICC) for tiles that share a document, and by Kish's (Σw)² / (n
    Σw²) for unequal weights.

    Args:
        values: predictions, shape (n,).
        positive: whether each tile fires.
        clusters: source document of each tile.
        weights: positive weight of each tile in its class; equal when None.
    """
    fires = checked_flags(positive, "positive")
    n = len(fires)
    checked, documents = checked_values(values, n), checked_clusters(clusters, n)
    weighed = np.ones(n) if weights is None else checked_values(weights, n, "weights")
    if (weighed <= 0).any():
        raise ValueError(f"weights hold {weighed.min()}, expected numbers above 0; leave examples without weight out")
    if fires.all() or not fires.any():
        return unscored(n, 0.5, f"{int(fires.sum())} of {n} tiles fire; at least one that does and one that does not are needed")
    area = area_under_roc(checked, fires, weighed)
    sizes = effective_sizes(checked, fires.astype(np.int64), documents)
    n_silent, n_firing = (max(1.0, size * _weight_efficiency(weighed[fires == c])) for c, size in enumerate(sizes.tolist()))
    low, high = newcombe_bounds(area, n_firing, n_silent)
    return Estimate(area, low, high, n, 0.5)


def _weight_efficiency(weights: Floats) -> float:
    relative = weights / weights.max()
    return float(relative.sum() ** 2 / (len(relative) * (relative**2).sum()))
