"""Fitting trust models, and what they are worth on families of features that the fit has not seen.

The invariant: every number about a model comes from predictions for a family by a fit on the others.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import beta

from autolabel.trust import CORRECT_F1, MODEL_SIGNALS, TrustModel
from autolabel.truth.trust_cases import Case, is_near

Floats = NDArray[np.float64]
RIDGE = 0.1
"""Penalty on squared coefficients of standardised signals, against weights of which each feature has 1. Of .1, .3 and 1 the best held-out
Brier score; docs/trust.md has all three."""
N_DRAWS = 100
MOST_WRONG = 0.05
"""Share of trusted labels that may be wrong (validity §20), with 95% confidence."""
THRESHOLDS = tuple(round(0.5 + step / 20, 2) for step in range(10))
"""Thresholds that are tried."""
_NEAR_SHARE = 0.7
"""Of the weight of a feature's labels that are not right, near-misses have this share: what labelers miss by, they mostly miss by little."""
_DECIMALS = 5


@dataclass(frozen=True, slots=True)
class Trained:
    """A model with the cases it was fitted on and what it said of each when its family was left out."""

    model: TrustModel
    cases: tuple[Case, ...]
    right: NDArray[np.bool_]
    weights: Floats
    held_out: Floats
    """P(correct), shape (n_cases,), as of the two before."""
    n_without: int
    """Rules of which a signal cannot be estimated, for which the model says nothing."""
    n_features: int
    """Features that have labels of the kind, those without the signals included."""


def train(name: str, cases: Sequence[Case], correct_f1: float = CORRECT_F1, seed: int = 0) -> Trained | None:
    """Fit a model on the labels that have its signals; None where those are all right or all wrong.

    A feature weighs 1. Where labels ship with the benchmark, half of it is with the right ones; where labelers made them, every label
    weighs the same.
    """
    table = _Table.of(name, cases, correct_f1)
    if table is None:
        return None
    held_out = table.held_out()
    model = _rounded(table, [table.fitted(), *table.draws(seed)])
    threshold = trusted_threshold(held_out, table.right, table.weights, [case.feature for case in table.cases])
    model = TrustModel(model.name, model.signals, model.centres, model.scales, model.coefficients, model.draws, threshold)
    return Trained(model, tuple(table.cases), table.right, table.weights, held_out, table.n_without, table.n_features)


def trusted_threshold(said: Floats, right: NDArray[np.bool_], weights: Floats, features: Sequence[str]) -> float | None:
    """The smallest threshold from which on, at it and at every larger one that enough labels reach, at most 5% of labels are wrong with
    95% confidence; None where there is none.

    Thresholds are tried from the largest down and the first failure ends it, so that trying several costs no confidence
    (Angelopoulos et al., 2021, fixed-sequence testing). One that too few labels reach to pass at all is skipped.
    """
    found = None
    for threshold in reversed(THRESHOLDS):
        bound, could_pass = wrong_bound(said >= threshold, right, weights, features)
        if could_pass and bound > MOST_WRONG:
            break
        found = threshold if could_pass else found
    return found


def wrong_bound(kept: NDArray[np.bool_], right: NDArray[np.bool_], weights: Floats, features: Sequence[str]) -> tuple[float, bool]:
    """One-sided 95% upper bound of the share of kept labels that are wrong, and whether it could be at most 5% with none wrong.

    Clopper and Pearson (1934) with as many trials as the weights are worth (Kish, 1965), at most one for each feature.
    """
    own = weights[kept]
    n_features = len({feature for feature, one in zip(features, kept.tolist(), strict=True) if one})
    if not n_features:
        return 1.0, False
    n = min(float(own.sum() ** 2 / (own**2).sum()), n_features)
    wrong = n * float((own * ~right[kept]).sum() / own.sum())
    bound = 1.0 if wrong >= n else float(beta.ppf(0.95, wrong + 1, n - wrong))
    return bound, float(beta.ppf(0.95, 1, n)) <= MOST_WRONG


@dataclass(frozen=True)
class _Table:
    """Cases as arrays; signals are standardised over all of them."""

    name: str
    cases: list[Case]
    right: NDArray[np.bool_]
    weights: Floats
    n_without: int
    n_features: int

    @classmethod
    def of(cls, name: str, cases: Sequence[Case], correct_f1: float) -> "_Table | None":
        about_rules = name.startswith("rule")
        kind = [case for case in cases if case.has_rule == about_rules]
        own = [case for case in kind if all(signal in case.known for signal in MODEL_SIGNALS[name])]
        # A rule without a signal was not estimable; another label without one was not asked about.
        kind = kind if about_rules else own
        right = np.array([case.f1 >= correct_f1 for case in own], dtype=bool)
        if right.all() or not right.any():
            return None
        return cls(name, own, right, _weights(own, right), len(kind) - len(own), len({case.feature for case in kind}))

    @cached_property
    def values(self) -> Floats:
        """The signals, shape (n_cases, n_signals)."""
        return np.array([[case.known[signal] for signal in MODEL_SIGNALS[self.name]] for case in self.cases])

    @cached_property
    def centres(self) -> Floats:
        return np.average(self.values, axis=0, weights=self.weights)

    @cached_property
    def scales(self) -> Floats:
        spread: Floats = np.sqrt(np.average((self.values - self.centres) ** 2, axis=0, weights=self.weights))
        return np.maximum(spread, 1e-3)

    @cached_property
    def standard(self) -> Floats:
        return np.asarray((self.values - self.centres) / self.scales)

    def fitted(self, times: Floats | None = None) -> Floats:
        """Coefficients with every case taken so many times."""
        return logistic_fit(self.standard, self.right, self.weights if times is None else self.weights * times)

    def held_out(self) -> Floats:
        """What is said of each case by a fit on the other families."""
        families = np.array([case.family for case in self.cases])
        said = np.zeros(len(families))
        for family in np.unique(families):
            own = families == family
            fit = self.fitted((~own).astype(np.float64))
            said[own] = expit(fit[0] + self.standard[own] @ fit[1:])
        return said

    def draws(self, seed: int) -> list[Floats]:
        """Coefficients for families drawn with replacement, and features within each family."""
        generator = np.random.default_rng(seed)
        by_family: dict[str, list[str]] = {}
        for case in self.cases:
            by_family.setdefault(case.family, []).append(case.feature)
        features = {family: sorted(set(names)) for family, names in sorted(by_family.items())}
        found = []
        for _ in range(N_DRAWS):
            times: Counter[str] = Counter()
            for family in generator.choice(list(features), size=len(features)).tolist():
                times.update(generator.choice(features[family], size=len(features[family])).tolist())
            found.append(self.fitted(np.array([times[case.feature] for case in self.cases], dtype=np.float64)))
        return found


def _weights(cases: Sequence[Case], right: NDArray[np.bool_]) -> Floats:
    """Each feature's labels weigh 1 together where they come from labelers; of shipped ones, half is with the right labels."""
    groups: Counter[tuple[str, str]] = Counter()
    keys = [(case.feature, _group(case, bool(one))) for case, one in zip(cases, right.tolist(), strict=True)]
    groups.update(keys)
    found = []
    for feature, group in keys:
        share = 1.0
        if group != "made":
            share = 0.5
            if group != "right":
                other = "wrong" if group == "near" else "near"
                share *= 1.0 if (feature, other) not in groups else _NEAR_SHARE if group == "near" else 1 - _NEAR_SHARE
        found.append(share / groups[feature, group])
    return np.array(found)


def _group(case: Case, right: bool) -> str:
    if case.has_rule:
        return "made"
    return "right" if right else "near" if is_near(case) else "wrong"


def logistic_fit(standard: Floats, right: NDArray[np.bool_], weights: Floats) -> Floats:
    """Ridge logistic regression with slopes of at least 0: the intercept, then a slope for each signal.

    Args:
        standard: signals, shape (n_cases, n_signals).
        right: outcomes.
        weights: at least 0.
    """
    outcomes = right.astype(np.float64)

    def loss(fit: Floats) -> tuple[float, Floats]:
        odds = fit[0] + standard @ fit[1:]
        gap = weights * (expit(odds) - outcomes)
        value = float((weights * (np.logaddexp(0, odds) - outcomes * odds)).sum() + RIDGE / 2 * (fit**2).sum())
        return value, np.concatenate([[gap.sum()], standard.T @ gap]) + RIDGE * fit

    n = standard.shape[1]
    bounds = [(None, None), *[(0, None)] * n]
    found: Floats = minimize(loss, np.zeros(n + 1), jac=True, method="L-BFGS-B", bounds=bounds).x
    return found


def _rounded(table: _Table, fits: Sequence[Floats]) -> TrustModel:
    rows = [tuple(round(number, _DECIMALS) + 0.0 for number in fit.tolist()) for fit in fits]
    centres, scales = (tuple(round(number, _DECIMALS) for number in one.tolist()) for one in (table.centres, table.scales))
    return TrustModel(table.name, MODEL_SIGNALS[table.name], centres, scales, rows[0], tuple(rows[1:]), None)
