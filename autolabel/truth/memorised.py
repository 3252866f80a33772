"""What a leak is worth: a label that only memorises, scored by delphi's draw and by our exams."""

from collections.abc import Sequence
from dataclasses import dataclass

from autolabel.truth.built import Built
from autolabel.truth.peers.delphi import MIN_EXAMPLES
from autolabel.truth.peers.leak import LeakRow, leak_rows
from autolabel.truth.peers.memoriser import RareWords, on_exam
from autolabel.truth.resampling import Measured, mean_of


@dataclass(frozen=True, slots=True)
class LeakSummary:
    """The memoriser's mean score, 2·AUROC − 1: 0 is chance, 1 perfect."""

    which: str
    n: int
    shared: float
    """Share of delphi's test positives that its labeler was shown."""
    leaky: float
    disjoint: float
    """By delphi's draw, if it took other tiles of the same documents."""
    ours: float
    fall: Measured
    """From leaky to ours."""


def measure_leak(built: Built) -> list[LeakSummary]:
    """The memoriser over all features as they are, scored on our exams, and over the same features as rare as delphi takes them."""
    world, firings = built.world, built.firings.by_feature
    features = [feature.index for feature in built.features if feature.family != "null" and built.exam(feature.index)]
    words = RareWords(world)
    as_they_are = list(leak_rows(world, firings, features, built.settings.seed))
    on_our_exam = {}
    for row in as_they_are:
        evidence = built.evidence[row.feature]
        memory = words.memorise_windows(firings[row.feature], evidence.of("train", "strongest", "firing"))
        on_our_exam[row.feature] = on_exam(memory, built.exam(row.feature)).ranked
    few = list(leak_rows(world, firings, features, built.settings.seed, MIN_EXAMPLES))
    return [
        _summary("as they are", as_they_are, [on_our_exam[row.feature] for row in as_they_are]),
        _summary(f"seen in {MIN_EXAMPLES} tiles each", few, [row.ours.ranked for row in few]),
    ]


def _summary(which: str, rows: Sequence[LeakRow], ours: Sequence[float]) -> LeakSummary:
    n = max(len(rows), 1)
    return LeakSummary(
        which=which,
        n=len(rows),
        shared=sum(row.shared for row in rows) / n,
        leaky=sum(row.leaky.ranked for row in rows) / n,
        disjoint=sum(row.disjoint.ranked for row in rows) / n,
        ours=sum(ours) / n,
        fall=mean_of([row.leaky.ranked - own for row, own in zip(rows, ours, strict=True)]),
    )
