"""Scores of a judge that is asked about some tiles of an exam only, steadied by a cheap scorer that has read them all.

Prediction-powered inference (Angelopoulos, Bates, Fannjiang, Jordan & Zrnic, 2023, Science 382:669–674), its weight tuned as in PPI++
(Angelopoulos, Duchi & Zrnic, 2023): S = S(judge, judged tiles) + λ · [S(cheap, all tiles) − S(cheap, judged tiles)]. The bracket says how
lucky the draw was for the cheap scorer; λ says how much of that luck the judge shares, and is 0 where they have nothing in common, so
that a useless cheap scorer costs nothing and a wrong one adds no bias.
"""

import numpy as np
from numpy.typing import ArrayLike

from autolabel.intervals import Estimate, Floats, effective_sizes, logit_interval, unscored
from autolabel.ranking import N_RESAMPLES, Exam, checked_flags, checked_values


def powered_label_score(
    judged: ArrayLike, cheap: ArrayLike, is_judged: ArrayLike, strata: ArrayLike, clusters: ArrayLike, seed: int
) -> Estimate:
    """`metrics.label_score` of a judge over all tiles, from its answers on some; None where a group has fewer than 10 judged tiles.

    Range, chance and direction as there. Interval: document bootstrap of both scorers on the same draws, λ from the covariance seen in
    them, on the logit scale with the floor of as many tiles as the judged ones are worth together with the others.

    Args:
        judged: the judge's predictions, shape (n_judged,), in the order of the judged tiles.
        cheap: the cheap scorer's predictions of all tiles, shape (n,).
        is_judged: which tiles were judged, shape (n,): a random part of each group, drawn before anything was known of them.
        strata: "firing", "hard" or "random" for each tile.
        clusters: source document of each tile.
        seed: seed of the bootstrap.
    """
    everything = Exam.of(strata, clusters)
    beside = checked_values(cheap, everything.n, "cheap predictions")
    drawn = checked_flags(is_judged, "is_judged")
    if drawn.shape != beside.shape:
        raise ValueError(f"{len(drawn)} flags for {everything.n} tiles, expected one for each")
    values = checked_values(judged, int(drawn.sum()), "judged predictions")
    part = Exam(everything.strata[drawn], everything.documents[drawn])
    if part.shortfall is not None:
        return unscored(part.n, 0.0, part.shortfall)
    times = _times(everything, drawn, seed)
    weights = everything.balanced(times)
    weights_of_part = part.balanced(times[drawn])
    series = part.average_precision(values, weights_of_part)
    luck = part.average_precision(beside[drawn], weights_of_part) - everything.average_precision(beside, weights)
    weight = _weight(series, luck)
    lucky = float(part.average_precision(beside[drawn])[0] - everything.average_precision(beside)[0])
    precision = float(np.clip(part.average_precision(values)[0] - weight * lucky, _LEAST, 1.0))
    spread = float((series - weight * luck).std(ddof=1))
    n = float(effective_sizes(values, part.strata, part.documents).min()) * _gain(series, series - weight * luck)
    low, high = logit_interval(precision, spread, n, part.fewest_documents)
    return Estimate(_rescaled(precision), _rescaled(min(low, precision)), _rescaled(max(high, precision)), part.n, 0.0)


_LEAST = 1 - 2 * float(np.log(1.5))
"""The least average precision there is when the three groups weigh the same."""
_MOST_GAIN = 4.0
"""The most that tiles which were not judged may be worth, in judged ones: a floor must not follow a lucky covariance."""


def _rescaled(precision: float) -> float:
    return (3 * precision - 1) / 2


def _times(exam: Exam, drawn: np.ndarray, seed: int) -> np.ndarray:
    """How often each tile is drawn when documents are drawn with replacement, shape (n, n_draws); every group has a judged tile."""
    n_documents = int(exam.documents.max()) + 1
    draws = np.random.default_rng(seed).multinomial(n_documents, np.full(n_documents, 1 / n_documents), size=N_RESAMPLES)
    times = draws[:, exam.documents].T.astype(np.int64)
    there = [times[drawn & (exam.strata == group)].sum(axis=0) > 0 for group in range(3)]
    return np.ascontiguousarray(times[:, np.logical_and.reduce(there)])


def _weight(series: Floats, luck: Floats) -> float:
    """λ that makes the variance least, between 0 and 1."""
    variance = float(luck.var(ddof=1))
    return 0.0 if variance == 0 else float(np.clip(np.cov(series, luck)[0, 1] / variance, 0.0, 1.0))


def _gain(before: Floats, after: Floats) -> float:
    """How many times as many judged tiles it would take to be as sure without the others."""
    left = float(after.var(ddof=1))
    return 1.0 if left == 0 else float(np.clip(float(before.var(ddof=1)) / left, 1.0, _MOST_GAIN))
