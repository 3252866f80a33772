"""Which labels of other features a label is compared with: exchangeable ones, so that the null says what any label would score."""

import math

from autolabel.hashing import content_id
from autolabel.pipeline.workspace import Workspace
from autolabel.records import Label

CO_FIRING_JACCARD = 0.05
_RATE_BINS_PER_DECADE = 2
_LENGTH_BINS = (3, 7)


def null_labels(workspace: Workspace, feature: int, n: int, co_firing: dict[int, float]) -> list[Label]:
    """Up to `n` chosen labels of other features: nearest in firing-rate bin and label-length bin, ties by hash (validity §5).

    Features that fire together with this one (`co_firing`: feature → Jaccard index of firing tiles) are left out, and so are labels
    with the same text.
    """
    own = workspace.labels[workspace.chosen[feature]]
    evidence = workspace.evidence[feature]

    def distance(label: Label) -> tuple[int, str]:
        other = workspace.evidence[label.feature_index]
        rate_bins = abs(_rate_bin(other.firing_rate) - _rate_bin(evidence.firing_rate))
        length_bins = abs(_length_bin(label) - _length_bin(own))
        return rate_bins + length_bins, content_id("null", [feature, label.label_id])

    candidates = [
        workspace.labels[label_id]
        for other, label_id in workspace.chosen.items()
        if other != feature
        and other in workspace.evidence
        and co_firing.get(other, 0.0) <= CO_FIRING_JACCARD
        and _plain(workspace.labels[label_id]) != _plain(own)
    ]
    return sorted(candidates, key=distance)[:n]


def _rate_bin(rate: float) -> int:
    return math.floor(_RATE_BINS_PER_DECADE * math.log10(max(rate, 1e-9)))


def _length_bin(label: Label) -> int:
    return sum(len((label.text or "").split()) > longest for longest in _LENGTH_BINS)


def _plain(label: Label) -> str:
    return (label.text or "").casefold().strip()
