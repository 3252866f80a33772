"""How far raters agree beyond chance, from their verdicts on the same items.

The invariant: items that fewer than two raters judged say nothing, and where all verdicts are the same one the answer is None with the
reason, not a perfect score.
"""

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from autolabel.intervals import Estimate, unscored, wilson_bounds

N_DRAWS = 2000
Verdicts = Sequence[Sequence[str]]
"""For each item, the verdicts of those who judged it."""


def cohen_kappa(pairs: Sequence[tuple[str, str]], seed: int = 0) -> Estimate:
    """Agreement of two raters beyond what their own habits would give (Cohen, 1960): (p_o − p_e) / (1 − p_e).

    Higher is better, range −1 to 1, chance 0. None for fewer than two items, and where both always say the same one thing. Interval:
    percentile bootstrap over items that follows `seed`; where nobody disagrees, its lower end is Wilson's of the share that agrees.
    """
    return _bootstrapped(list(pairs), _kappa, seed)


def krippendorff_alpha(items: Verdicts, seed: int = 0) -> Estimate:
    """Agreement of any number of raters beyond chance, for verdicts without an order (Krippendorff, 2011): 1 − D_o / D_e.

    Higher is better, at most 1, chance 0. None as for `cohen_kappa`. Interval: the same.
    """
    return _bootstrapped([list(verdicts) for verdicts in items if len(verdicts) > 1], _alpha, seed)


def _kappa(pairs: Sequence[Sequence[str]]) -> tuple[float, float]:
    """Share of disagreement seen, and expected from how often each rater says what."""
    n = len(pairs)
    first, second = Counter(pair[0] for pair in pairs), Counter(pair[1] for pair in pairs)
    agreeing = sum(first[name] * second[name] for name in first) / n**2
    return sum(pair[0] != pair[1] for pair in pairs) / n, 1 - agreeing


def _alpha(items: Sequence[Sequence[str]]) -> tuple[float, float]:
    """The same over all pairs of verdicts of an item, and over all pairs of verdicts."""
    counts = [Counter(verdicts) for verdicts in items]
    n = sum(count.total() for count in counts)
    totals: Counter[str] = sum(counts, Counter())
    disagreeing = sum((c.total() ** 2 - sum(k**2 for k in c.values())) / (c.total() - 1) for c in counts)
    return disagreeing / n, (n * n - sum(total**2 for total in totals.values())) / (n * (n - 1))


def _bootstrapped(
    items: Sequence[Sequence[str]], disagreement: Callable[[Sequence[Sequence[str]]], tuple[float, float]], seed: int
) -> Estimate:
    n = len(items)
    if n < 2:
        return unscored(n, 0.0, f"{n} items were judged by two raters; at least two items are needed")
    seen, expected = disagreement(items)
    if expected == 0:
        return unscored(n, 0.0, f"all {n} items have the same verdict, so agreement cannot be told from habit")
    value = 1 - seen / expected
    places = np.random.default_rng(seed).integers(n, size=(N_DRAWS, n))
    pairs = [disagreement([items[i] for i in row]) for row in places.tolist()]
    low, high = np.quantile([1 - own / chance for own, chance in pairs if chance > 0], [0.025, 0.975]).tolist()
    if seen == 0:  # every resample agrees as well; what can still be said is Wilson's bound of a share of 1
        low = 1 - (1 - wilson_bounds(1.0, n)[0]) / expected
    return Estimate(value, min(low, value), max(high, value), n, 0.0)
