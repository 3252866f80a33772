"""Which labels of other features a label is compared with: exchangeable ones, so that the null says what any label would score."""

import heapq
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping

from autolabel.hashing import content_id
from autolabel.records import Label

CO_FIRING_JACCARD = 0.05
_RATE_BINS_PER_DECADE = 2
_LENGTH_BINS = (3, 7)


class Nulls:
    """The chosen labels of all features, by firing-rate bin and label-length bin, so that the nearest are found without a look at all."""

    def __init__(self, chosen: Mapping[int, Label], firing_rates: Mapping[int, float]) -> None:
        self._chosen = chosen
        self._bin = {feature: (_rate_bin(firing_rates[feature]), _length_bin(label)) for feature, label in chosen.items()}
        self._in_bin: dict[tuple[int, int], list[Label]] = defaultdict(list)
        for feature, label in chosen.items():
            self._in_bin[self._bin[feature]].append(label)

    def of(self, feature: int, n: int, co_firing: Mapping[int, float]) -> list[Label]:
        """Up to `n` chosen labels of other features: nearest in firing-rate bin and label-length bin, ties by hash (validity §5).

        Features that fire together with this one (`co_firing`: feature → Jaccard index of firing tiles) are left out, and so are
        labels with the same text.
        """
        text = _plain(self._chosen[feature])
        found: list[Label] = []
        for equally_near in self._by_distance(feature):
            if len(found) == n:
                break
            able = (
                label
                for label in equally_near
                if label.feature_index != feature
                and co_firing.get(label.feature_index, 0.0) <= CO_FIRING_JACCARD
                and _plain(label) != text
            )
            found += heapq.nsmallest(n - len(found), able, key=lambda label: content_id("null", [feature, label.label_id]))
        return found

    def _by_distance(self, feature: int) -> Iterator[list[Label]]:
        """All labels, those at the same distance together, nearest first."""
        rate, length = self._bin[feature]
        at: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for other in self._in_bin:
            at[abs(other[0] - rate) + abs(other[1] - length)].append(other)
        return ([label for other in at[distance] for label in self._in_bin[other]] for distance in sorted(at))


def _rate_bin(rate: float) -> int:
    return math.floor(_RATE_BINS_PER_DECADE * math.log10(max(rate, 1e-9)))


def _length_bin(label: Label) -> int:
    return sum(len((label.text or "").split()) > longest for longest in _LENGTH_BINS)


def _plain(label: Label) -> str:
    return (label.text or "").casefold().strip()
