"""Scores of many labels together: each is drawn towards what is common among all, the more the less sure it is (empirical Bayes).

The label with the highest score of hundreds is partly good and partly lucky. How true scores spread is learnt from all labels of a run,
and each label's own tiles are weighed against it. The shrunken score is nearer the truth on average over labels, not for each of them;
it stands beside the raw one and never in its place.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit, xlogy

from autolabel.intervals import Estimate, Floats, Z, unscored

LEAST_LABELS = 8
"""Labels from which the spread of true scores can be learnt at all."""
_MOST_LEARNT_FROM = 2000
"""Labels that the prior is learnt from: with so many it is known as well as it needs to be."""
_LEAST_MISSES = 1e-9
_MOST_REACH = 50.0
_GRID = np.linspace(-4.0, 10.0, 281)
"""Log odds of average precision at which true scores are looked for."""
_NODES = 13
_ROUNDS = 4


@dataclass(frozen=True, slots=True)
class Prior:
    """What true scores may have in common: normal on the scale of log odds, with the weights of such means and spreads."""

    means: Floats
    """Shape (n_nodes,)."""
    spreads: Floats
    """Standard deviations, shape (n_nodes,)."""
    weights: Floats
    """Posterior probability of each, shape (n_nodes,); sums to 1."""


def shrink(scores: Sequence[Estimate]) -> list[Estimate]:
    """`label_score`s drawn towards what is common among them, in order; scores without a value take no part and have none.

    Direction, range and chance as `metrics.label_score`. Average precision is taken as a share of as many trials as its interval is
    worth, its log odds as normal between labels; mean and spread are integrated out, which does what Morris' (1983) correction does for
    normal errors, also where scores are near 1 and their errors are anything but normal. Value: the posterior mean. Over labels, 95% of
    intervals hold the true value on average. None with fewer than 8 scores.

    Args:
        scores: with their 95% intervals, from which their errors are read.
    """
    able = [number for number, score in enumerate(scores) if score.value is not None]
    if len(able) < LEAST_LABELS:
        why = f"{len(able)} labels have a score; at least {LEAST_LABELS} are needed to learn how scores spread"
        return [unscored(score.n, score.chance, score.reason or why) for score in scores]
    hits, misses = np.array([_trials(scores[number]) for number in able]).T
    likelihoods = _likelihoods(hits, misses)
    prior = learn(likelihoods[:: -(-len(able) // _MOST_LEARNT_FROM)])
    found = {
        number: (float(mean), float(low), float(high))
        for number, (mean, low, high) in zip(able, _posterior(likelihoods, prior), strict=True)
    }
    return [
        Estimate(*found[number], score.n, score.chance)
        if number in found
        else unscored(score.n, score.chance, score.reason or "not scored")
        for number, score in enumerate(scores)
    ]


def _trials(score: Estimate) -> tuple[float, float]:
    """Hits and misses that a score and its interval are worth, as a share of trials: those with which Wilson's interval is as wide.

    On the scale of log odds Wilson's interval reaches 2 asinh(z / (2 √(npq))) either way (Newcombe, 1998).
    """
    value, low, high = ((1 + 2 * float(end or 0)) / 3 for end in (score.value, score.low, score.high))
    if value < 1 and high < 1:
        reach = float(logit(high) - logit(low)) / 2
        worth = (Z / (2 * math.sinh(min(reach, _MOST_REACH) / 2))) ** 2 / (value * (1 - value))
    else:  # what is left of it where everything was right
        worth = Z * Z * low / max(1 - low, _LEAST_MISSES)
    return worth * value, worth * (1 - value)


def _likelihoods(hits: Floats, misses: Floats) -> Floats:
    """How likely each score is at every point of the grid, up to a factor; shape (n, n_grid)."""
    share = expit(_GRID)
    logs = xlogy(hits[:, None], share) + xlogy(misses[:, None], 1 - share)
    likelihoods: Floats = np.exp(logs - logs.max(axis=1, keepdims=True))
    return likelihoods


def learn(likelihoods: Floats) -> Prior:
    """The means and spreads of true scores that scores with these likelihoods (n, n_grid) allow, flat before anything was seen.

    On a grid that closes in on what is probable, so that few labels leave it wide and many make it sharp.
    """
    low, high = np.array([-3.0, np.log(0.02)]), np.array([8.0, np.log(4.0)])
    for _ in range(_ROUNDS):
        axes = [np.linspace(low[i], high[i], _NODES) for i in range(2)]
        nodes = np.stack(np.meshgrid(*axes, indexing="ij")).reshape(2, -1)
        prior = Prior(nodes[0], np.exp(nodes[1]), np.zeros(nodes.shape[1]))
        logs = np.log(np.maximum(likelihoods @ _densities(prior).T, np.finfo(np.float64).tiny)).sum(axis=0)
        logs = logs + nodes[1]  # flat in the spread, not in its logarithm
        weights = np.exp(logs - logs.max())
        weights /= weights.sum()
        centre = nodes @ weights
        reach = np.sqrt(((nodes - centre[:, None]) ** 2) @ weights)
        step = (high - low) / (_NODES - 1)
        reach = np.maximum(4 * reach, 1.5 * step)
        low, high = np.maximum(low, centre - reach), np.minimum(high, centre + reach)
    return Prior(prior.means, prior.spreads, weights)


def _densities(prior: Prior) -> Floats:
    """Each prior on the grid, summing to 1; shape (n_nodes, n_grid)."""
    logs = -(((_GRID - prior.means[:, None]) / prior.spreads[:, None]) ** 2) / 2
    densities = np.exp(logs - logs.max(axis=1, keepdims=True))
    normal: Floats = densities / densities.sum(axis=1, keepdims=True)
    return normal


def _posterior(likelihoods: Floats, prior: Prior) -> Floats:
    """Mean and 95% interval of each label's true score, shape (n, 3)."""
    densities = _densities(prior)
    evidence = np.maximum(likelihoods @ densities.T, np.finfo(np.float64).tiny)
    posterior = likelihoods * ((prior.weights / evidence) @ densities)
    posterior /= posterior.sum(axis=1, keepdims=True)
    values = (3 * expit(_GRID) - 1) / 2
    means = posterior @ values
    below = np.cumsum(posterior, axis=1) - posterior / 2
    ends = [np.array([np.interp(level, row, values) for row in below]) for level in (0.025, 0.975)]
    return np.stack([means, np.minimum(ends[0], means), np.maximum(ends[1], means)], axis=1)
