"""Activations beside ratings: how far the two agree in the whole corpus, from a sample of it that holds more of what is rare.

The invariant: tiles that fire count for the feature's firing rate and the others for the rest, in every number and every resample; and an
interval reaches as far as the concept may occur unseen among the silent tiles, which is most of the corpus.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autolabel.intervals import Estimate, Floats, Ints, codes, unscored, wilson_bounds
from autolabel.ranking import area_under_roc

N_RESAMPLES = 1000
CLEAR, ABSENT = 2, 0
"""Ratings that say that the concept is there, and that it is not; what lies between is left out."""
_DECIMALS = 9
"""Sums of weights differ in their last bits with the order of tiles; numbers do not."""

Statistic = Callable[[Floats, NDArray[np.bool_], Floats], float]
"""Of activations, whether the concept is there, and weights."""


def signed_gini(activations: Floats, present: NDArray[np.bool_], weights: Floats) -> float:
    """2 · AUROC − 1: from −1, activations are larger without the concept, to 1, larger with it; 0 is chance."""
    return round(2 * area_under_roc(activations, present, weights) - 1, _DECIMALS)


def average_precision(activations: Floats, present: NDArray[np.bool_], weights: Floats) -> float:
    """Weighted average precision of the concept where tiles are ranked by activation; equal activations are one threshold."""
    place = codes(-activations)
    with_concept = np.bincount(place, weights=weights * present)
    seen, hits = np.cumsum(np.bincount(place, weights=weights)), np.cumsum(with_concept)
    return round(float((with_concept / hits[-1] * hits / seen).sum()), _DECIMALS)


@dataclass(frozen=True)
class Rated:
    """Rated tiles of the corpus."""

    activations: Floats
    """The feature's largest activation in each, shape (n,)."""
    fires: NDArray[np.bool_]
    """Which were drawn among firing tiles; the others were drawn among silent ones."""
    ratings: Ints
    """0, 1 or 2."""
    documents: Ints
    """Source document, by number."""
    prevalence: float
    """Share of the corpus's tiles that fire."""

    @classmethod
    def of(
        cls,
        activations: Sequence[float],
        fires: Sequence[bool],
        ratings: Sequence[int],
        documents: Sequence[str],
        prevalence: float,
    ) -> "Rated":
        """Rated tiles, one entry each."""
        numbers = codes(np.asarray(documents, dtype=np.str_))
        floats, flags = np.asarray(activations, dtype=np.float64), np.asarray(fires, dtype=bool)
        return cls(floats, flags, np.asarray(ratings, dtype=np.int64), numbers, prevalence)

    def estimate(self, statistic: Statistic, lowest: float, chance: float | None, seed: int) -> Estimate:
        """A statistic, which ranges from `lowest` to 1, with its 95% interval; None where one of the ratings 0 and 2 is lacking.

        Documents are resampled. Beyond that the interval reaches to what the statistic would be if the concept were as frequent
        among silent tiles as the ends of Wilson's interval for the rated ones say, and it is never narrower than Wilson's for as
        many trials as there are tiles.
        """
        n = len(self.ratings)
        missing = self._missing()
        if missing is not None:
            return unscored(n, chance, missing)
        value = self._value(statistic)
        if value is None:
            return unscored(n, chance, f"a firing rate of {self.prevalence:g} leaves tiles of one rating only")
        resampled = [self._value(statistic, times) for times in self._resampled(seed)]
        ends = [float(end) for end in np.quantile([one for one in resampled if one is not None] or [value], (0.025, 0.975))]
        ends += self._if_more_or_less_frequent(statistic)
        share = (value - lowest) / (1 - lowest)
        ends += [lowest + end * (1 - lowest) for end in wilson_bounds(share, n)]
        return Estimate(value, min(value, *ends), max(value, *ends), n, chance)

    def weights(self, times: Floats) -> Floats:
        """What each tile counts for when drawn so many times: firing ones for the prevalence together, silent ones for the rest."""
        found = np.zeros(len(times))
        for group, share in ((self.fires, self.prevalence), (~self.fires, 1 - self.prevalence)):
            total = times[group].sum()
            found[group] = share * times[group] / total if total else 0.0
        return found

    def base_rate(self) -> float | None:
        """Weighted share of the concept among tiles rated 0 or 2: the average precision of a guess; None where it is not known."""
        return None if self._missing() else self._value(lambda _, present, weights: float(weights[present].sum() / weights.sum()))

    def _missing(self) -> str | None:
        for group, name in ((self.fires, "firing"), (~self.fires, "silent")):
            if not group.any():
                return f"no {name} tile has a rating"
        for rating, meaning in ((CLEAR, "holds the concept"), (ABSENT, "is without it")):
            if not (self.ratings == rating).any():
                return f"no tile was rated as one that {meaning}"
        return None

    def _value(self, statistic: Statistic, times: Floats | None = None) -> float | None:
        """The statistic for tiles drawn so many times; None where one of the ratings is not among them."""
        weights = self.weights(np.ones(len(self.ratings)) if times is None else times)
        used = (self.ratings != 1) & (weights > 0)
        present = self.ratings[used] == CLEAR
        if present.all() or not present.any():
            return None
        return statistic(self.activations[used], present, weights[used])

    def _resampled(self, seed: int) -> Floats:
        """How often each tile is drawn when documents are, shape (n_draws, n)."""
        n_documents = int(self.documents.max()) + 1
        draws = np.random.default_rng(seed).multinomial(n_documents, np.full(n_documents, 1 / n_documents), size=N_RESAMPLES)
        times: Floats = draws[:, self.documents].astype(np.float64)
        return times

    def _if_more_or_less_frequent(self, statistic: Statistic) -> list[float]:
        """The statistic with the concept's share among silent tiles at either end of its interval."""
        weights, clear = self.weights(np.ones(len(self.ratings))), self.ratings == CLEAR
        silent = ~self.fires
        n, k = int(silent.sum()), int((clear & silent).sum())
        found = []
        for share in wilson_bounds(k / n, n):
            scaled = np.where(silent & clear, weights * (share * n / k if k else 0.0), weights)
            # Where no silent tile was rated 2, one that stands for those unseen is put beside them.
            unseen = 0.0 if k else share * (1 - self.prevalence)
            activations = np.append(self.activations, 0.0)
            used = np.append((self.ratings != 1) & (scaled > 0), unseen > 0)
            present = np.append(clear, True)[used]
            if present.any() and not present.all():
                found.append(statistic(activations[used], present, np.append(scaled, unseen)[used]))
        return found
