"""The numbers that need yes-or-no answers: rates, their combinations, and what they come to in the whole corpus.

The invariant: a rate counts documents as well as tiles, and a population number is shown only where its interval is
narrow enough to mean something.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from autolabel.intervals import Estimate, Ints, effective_sizes, mover_mean, unscored, wilson
from autolabel.ranking import checked_clusters, checked_flags

WIDEST_HALF = 0.15
"""Largest half-width of a 95% interval with which a population precision is shown."""
NEVER = 1e-9
"""Share of tiles so close to none (or, from 1, to all) that odds computed from it would no longer be told from 0."""


def share(events: ArrayLike, clusters: ArrayLike) -> Estimate:
    """Share of examples for which something holds, such as the false-alarm rate over tiles that do not fire; range 0 to 1.

    None when there are none. Interval: Wilson (1927) with n / (1 + (m̄ − 1)·ICC).
    """
    seen = checked_flags(events, "events")
    documents = checked_clusters(clusters, len(seen))
    if len(seen) == 0:
        return unscored(0, None, "nothing was counted")
    n = float(effective_sizes(seen.astype(np.float64), np.zeros(len(seen), dtype=np.int64), documents)[0])
    return wilson(int(seen.sum()), len(seen), len(seen) / n)


def recall(predicted: ArrayLike, positive: ArrayLike, clusters: ArrayLike) -> Estimate:
    """Share of firing tiles that are predicted to fire (true-positive rate).

    Higher is better, range 0 to 1; chance is None because it is the rate at which the label says yes. None when no tile
    fires. Interval as in `share`.
    """
    said, fires, documents = _checked_decisions(predicted, positive, clusters)
    if not fires.any():
        return unscored(0, None, "no tile fires")
    return share(said[fires], documents[fires])


def balanced_accuracy(predicted: ArrayLike, positive: ArrayLike, clusters: ArrayLike) -> Estimate:
    """Mean of the shares of firing and of other tiles that are predicted rightly.

    Higher is better, range 0 to 1, chance .5. None when there are only firing tiles or none. Interval: the two Wilson
    intervals combined by square-and-add (Newcombe, 1998, method 10; MOVER).
    """
    said, fires, documents = _checked_decisions(predicted, positive, clusters)
    if fires.all() or not fires.any():
        return unscored(
            len(fires), 0.5, f"{int(fires.sum())} of {len(fires)} tiles fire; one that does and one that does not are needed"
        )
    value, low, high = mover_mean(recall(said, fires, documents), recall(~said, ~fires, documents))
    return Estimate(value, low, high, len(fires), 0.5)


def flip_rate(first: ArrayLike, again: ArrayLike) -> Estimate:
    """Share of questions whose yes-or-no answer changed when asked again in another pack.

    Lower is better, range 0 to 1; chance is None because it depends on how often the judge says yes. None when nothing
    was asked twice. Interval: Wilson (1927).
    """
    before, after = checked_flags(first, "first"), checked_flags(again, "again")
    if before.shape != after.shape:
        raise ValueError(f"{len(before)} first answers and {len(after)} second ones, expected as many")
    if len(before) == 0:
        return unscored(0, None, "nothing was asked twice")
    return wilson(int((before != after).sum()), len(before))


def population_precision(
    tpr: Estimate, fpr: Estimate, prevalence: float, prevalence_low: float, prevalence_high: float
) -> Estimate:
    """Of the tiles that a label calls firing in the whole corpus, the share that fires: π·TPR / (π·TPR + (1 − π)·FPR).

    Higher is better, range 0 to 1, chance = prevalence π. None, with the bound that does hold and the number of
    judgements it would take, unless the 95% interval is within ± .15; None too when a rate has no value or the label is
    never predicted. Interval: square-and-add of the logarithms of π / (1 − π), TPR and FPR (MOVER for a product; Donner
    & Zou, 2012); a rate of which nothing was seen is measured from the centre of its own interval, half its upper end.

    Args:
        tpr: true-positive rate.
        fpr: false-positive rate over tiles of the corpus that do not fire; both intervals include calibration error.
        prevalence: share of tiles that fire.
        prevalence_low: lower end of its own 95% interval.
        prevalence_high: upper end.
    """
    if not 0 <= prevalence_low <= prevalence <= prevalence_high <= 1:
        raise ValueError(f"prevalence {prevalence} in {prevalence_low} to {prevalence_high}: expected 0 ≤ low ≤ value ≤ high ≤ 1")
    for name, rate in (("true", tpr), ("false", fpr)):
        if rate.value is None:
            return unscored(fpr.n, prevalence, f"the {name}-positive rate is unknown: {rate.reason}")
    if not NEVER < prevalence < 1 - NEVER:
        return unscored(fpr.n, prevalence, f"the feature fires in a share of {prevalence:g} of all tiles")
    if tpr.value == fpr.value == 0:
        return unscored(fpr.n, prevalence, "the label was predicted for no tile")
    hits, alarms = prevalence * float(tpr.value or 0), (1 - prevalence) * float(fpr.value or 0)
    value = hits / (hits + alarms)
    low, high = _precision_bounds(tpr, fpr, prevalence, prevalence_low, prevalence_high)
    low, high = min(low, value), max(high, value)
    half = (high - low) / 2
    if half > WIDEST_HALF:
        needed = math.ceil(fpr.n * (half / WIDEST_HALF) ** 2)
        return unscored(
            fpr.n,
            prevalence,
            f"not estimable within ± {WIDEST_HALF:g}: at least {low:.3g} and at most {high:.3g} (97.5% each way); "
            f"about {needed} judgements of non-firing tiles would be needed, there are {fpr.n}",
        )
    return Estimate(value, low, high, fpr.n, prevalence)


def _precision_bounds(
    tpr: Estimate, fpr: Estimate, prevalence: float, prevalence_low: float, prevalence_high: float
) -> tuple[float, float]:
    ends = [
        _log_ends(prevalence / (1 - prevalence), _odds(prevalence_low), _odds(prevalence_high)),
        _log_ends(*_numbers(tpr)),
        tuple(-end for end in _log_ends(*_numbers(fpr))),
    ]
    centre = sum(end[0] for end in ends)
    below = math.hypot(*(end[0] - min(end) for end in ends))
    above = math.hypot(*(max(end) - end[0] for end in ends))
    return _from_log_odds(centre - below), _from_log_odds(centre + above)


def _numbers(rate: Estimate) -> tuple[float, float, float]:
    return float(rate.value or 0), float(rate.low or 0), float(rate.high or 0)


def _odds(probability: float) -> float:
    return math.inf if probability == 1 else probability / (1 - probability)


def _log_ends(value: float, low: float, high: float) -> tuple[float, ...]:
    """Logarithms of a rate and the ends of its interval; a rate of 0 stands at half its upper end."""
    return tuple(math.log(x) if x > 0 else -math.inf for x in (value or high / 2, low, high))


def _from_log_odds(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0


def _checked_decisions(
    predicted: ArrayLike, positive: ArrayLike, clusters: ArrayLike
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], Ints]:
    fires, said = checked_flags(positive, "positive"), checked_flags(predicted, "predicted")
    if said.shape != fires.shape:
        raise ValueError(f"{len(said)} predictions for {len(fires)} tiles, expected one for each")
    return said, fires, checked_clusters(clusters, len(fires))
