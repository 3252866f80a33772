"""How far texts lift every feature of a dictionary above other texts, and the place of one feature among all by that.

The invariants: a feature's own scale changes nothing; ties count against the feature that is asked about, so that one that stays
silent, like thousands of others, is never near the top.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autolabel.intervals import Estimate, Floats, unscored, wilson_bounds

N_RESAMPLES = 1000
_RESAMPLES_AT_ONCE = 50
"""They are looked at some at a time, so that memory does not grow with their number."""
_EQUAL = 1e-9
"""Lifts nearer to each other than this are tied."""


@dataclass(frozen=True)
class Lifts:
    """The features that fire in any text, and how their place is found among all."""

    own: Floats
    """Largest activations in the texts that are to lift the feature, shape (n_own, n_active)."""
    base: Floats
    """The same in the texts they are compared with, shape (n_base, n_active)."""
    place: int | None
    """Column of the feature that is asked about; None where it fires in no text."""
    n_silent: int
    """Ranked features that fire in no text, whose lift is 0."""

    @classmethod
    def of(cls, own: NDArray[np.float32], base: NDArray[np.float32], feature: int, ranked: NDArray[np.bool_]) -> "Lifts":
        """Keep what is needed of activations of shape (n, d_sae).

        Args:
            own: texts that are to lift the feature.
            base: texts to compare with.
            feature: the feature that is asked about; it is ranked in any case.
            ranked: which features it is ranked among, shape (d_sae,).
        """
        among = ranked.copy()
        among[feature] = True
        columns = np.flatnonzero(among & ((own > 0).any(axis=0) | (base > 0).any(axis=0)))
        where = np.flatnonzero(columns == feature)
        place = int(where[0]) if len(where) else None
        n_silent = int(among.sum()) - len(columns)
        return cls(own[:, columns].astype(np.float64), base[:, columns].astype(np.float64), place, n_silent)

    @property
    def n_ranked(self) -> int:
        """How many features are ranked."""
        return int(self.own.shape[1]) + self.n_silent

    def rank(self) -> int:
        """Place of the feature by the lift of all texts together, 1 first."""
        ones = np.ones((1, len(self.own))), np.ones((1, len(self.base)))
        return int(self._ranks(self._lifts(*ones))[0])

    def rank_of_each_text(self) -> list[int]:
        """Place of the feature by how far each single text lifts it, on the scale of all texts."""
        mean, spread = self._scale()
        lifts = np.divide(self.own - mean, spread, out=np.zeros_like(self.own), where=spread > 0)
        return [int(rank) for rank in self._ranks(lifts)]

    def reciprocal_rank(self, seed: int) -> Estimate:
        """1 / rank by lift: does the label retrieve its own feature?

        Higher is better, 1 = no other feature is lifted as far; chance is what a feature drawn at random would get, H(n)/n over n
        features. None where either side has no text. Interval: texts of both sides are resampled; it is never narrower than
        Wilson's for as many yes-or-no trials as there are own texts, which no mean of numbers from 0 to 1 varies more than.
        """
        n = len(self.own)
        chance = float((1 / np.arange(1, self.n_ranked + 1)).mean())
        if n == 0 or len(self.base) == 0:
            return unscored(n, chance, f"{n} texts to compare with {len(self.base)} others; some of both are needed")
        value = 1.0 / self.rank()
        drawn = 1.0 / np.concatenate([self._ranks(lifts) for lifts in self._resampled(seed)])
        low, high = np.quantile(drawn, (0.025, 0.975)).tolist()
        least, most = wilson_bounds(value, n)
        return Estimate(value, min(low, least, value), max(high, most, value), n, chance)

    def _scale(self) -> tuple[Floats, Floats]:
        """Mean over the base texts and standard deviation over all, by feature."""
        return self.base.mean(axis=0), np.concatenate([self.own, self.base]).std(axis=0)

    def _lifts(self, own_times: Floats, base_times: Floats) -> Floats:
        """(mean of own − mean of base) / deviation of all, for texts counted so many times, shape (n_draws, n_active)."""
        own_total, base_total = own_times.sum(axis=1, keepdims=True), base_times.sum(axis=1, keepdims=True)
        own, base = own_times @ self.own, base_times @ self.base
        n = own_total + base_total
        mean = (own + base) / n
        square = (own_times @ self.own**2 + base_times @ self.base**2) / n
        variance = square - mean**2
        varies = variance > _EQUAL * np.maximum(square, np.finfo(np.float64).tiny)
        spread = np.sqrt(np.where(varies, variance, 1.0))
        lifts: Floats = np.where(varies, (own / own_total - base / base_total) / spread, 0.0)
        return lifts

    def _ranks(self, lifts: Floats) -> Floats:
        """Place of the feature in each line of lifts: how many are lifted at least as far, itself included."""
        own = np.zeros(len(lifts)) if self.place is None else lifts[:, self.place]
        silent = np.where(own <= _EQUAL, float(self.n_silent), 0.0)
        ranks: Floats = (lifts >= own[:, None] - _EQUAL).sum(axis=1) + silent
        return ranks

    def _resampled(self, seed: int) -> Iterator[Floats]:
        """Lifts in resamples of the texts, some resamples at a time."""
        generator = np.random.default_rng(seed)
        for _ in range(N_RESAMPLES // _RESAMPLES_AT_ONCE):
            yield self._lifts(*(_times(generator, len(texts)) for texts in (self.own, self.base)))


def _times(generator: np.random.Generator, n: int) -> Floats:
    """How often each of `n` texts is drawn, in some resamples; shape (n_draws, n)."""
    return generator.multinomial(n, np.full(n, 1 / n), size=_RESAMPLES_AT_ONCE).astype(np.float64)
