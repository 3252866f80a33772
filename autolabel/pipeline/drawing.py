"""Which tiles of an exam a judge is asked about where not all: drawn by the hash of their windows, the same for every label.

The invariant: the draw is made before any label exists and looks at nothing but group and window id, so the judged tiles are a uniform
sample of each group and their inclusion probability is known (validity §7).
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from autolabel.hashing import combine
from autolabel.records import STRATA, Example, Stratum
from autolabel.scorers.base import ScorerInfo

_SALT = 33


def judged_part(info: ScorerInfo, exam: Sequence[Example]) -> tuple[Example, ...]:
    """The tiles of an exam that a scorer is asked about, in the exam's order."""
    if info.tiles_per_group is None:
        return tuple(exam)
    chosen = {
        example.window_id
        for group in _groups(exam).values()
        for example in sorted(group, key=lambda e: (_draw(e), e.window_id))[: info.tiles_per_group]
    }
    return tuple(example for example in exam if example.window_id in chosen)


def inclusion(info: ScorerInfo, exam: Sequence[Example]) -> dict[Stratum, float] | None:
    """Probability with which a tile of each group is drawn; None where all are."""
    if info.tiles_per_group is None:
        return None
    return {stratum: min(1.0, info.tiles_per_group / len(group)) for stratum, group in _groups(exam).items()}


def _groups(exam: Sequence[Example]) -> Mapping[Stratum, list[Example]]:
    groups: dict[Stratum, list[Example]] = defaultdict(list)
    for example in exam:
        groups[example.stratum or STRATA[0]].append(example)
    return groups


def _draw(example: Example) -> int:
    return int(combine(_SALT, int(example.window_id[:16], 16)))
