"""Does a scorer see meaning where there is none? Labels of features about nothing, tested against labels of other features.

p(feature) = share of other labels that do at least as well on the same exam; over features about nothing it should be uniform
(validity §5, §9), and Benjamini–Hochberg over a mixture should keep its promise while it finds the features that mean something.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.stats
from numpy.typing import NDArray

from autolabel.hashing import content_id
from autolabel.ranking import MINIMUM_TILES, Exam
from autolabel.records import Example, Label, Purpose
from autolabel.scorers.base import Scorer
from autolabel.truth.built import Built, smaller
from autolabel.truth.label_table import Attempt
from autolabel.truth.resampling import Measured, mean_of

LEVELS = (0.01, 0.05, 0.10)
FDR = 0.05
MOST_OVERLAP = 0.05
"""Jaccard index of tiles from which another feature's label is no null."""


@dataclass(frozen=True, slots=True)
class Discoveries:
    """What a scorer makes of features about nothing, and of others among them."""

    scorer: str
    labeler: str
    n_nulls: int
    n_others: int
    at: dict[float, Measured]
    """Level α → share of features about nothing with p ≤ α; α where all is well."""
    false_share: float | None
    """Share of features about nothing among the discoveries at a false discovery rate of .05 (Benjamini & Hochberg, 1995)."""
    power: Measured
    """Share of the other features that are discovered."""


async def measure_discoveries(
    built: Built, scorer: Scorer, labeler: str, attempts: Sequence[Attempt], tiles: int = MINIMUM_TILES
) -> Discoveries | None:
    """Score every label on its own exam and on others' labels' exams; None where no feature has an exam.

    Args:
        built: the benchmark.
        scorer: one that needs no LLM: every label is tried on every exam.
        labeler: what made the labels.
        attempts: its labels, of features about nothing too.
        tiles: tiles of each stratum.
    """
    labels = {one.index: one.label for one in attempts if one.label is not None and one.label.status == "ok"}
    able = [index for index in labels if len(built.exam(index)) >= 3 * tiles]
    if not able:
        return None
    every = [labels[index] for index in able]
    scores = np.stack([await _scores(scorer, every, smaller(built.exam(index), tiles)) for index in able])
    p = np.array([_p(built, able, scores[row], row) for row in range(len(able))])
    is_null = np.array([built.feature(index).family == "null" for index in able])
    found = scipy.stats.false_discovery_control(p) <= FDR
    return Discoveries(
        scorer.info.name,
        labeler,
        int(is_null.sum()),
        int((~is_null).sum()),
        {level: mean_of((p[is_null] <= level).astype(float).tolist()) for level in LEVELS},
        float(is_null[found].mean()) if found.any() else None,
        mean_of(found[~is_null].astype(float).tolist()),
    )


async def _scores(scorer: Scorer, labels: Sequence[Label], exam: Sequence[Example]) -> NDArray[np.float64]:
    """Average precision of every label on one exam."""
    drawn = Exam.of([str(e.stratum) for e in exam], [e.source_document_id for e in exam])
    found = await scorer.predict(labels, exam, Purpose("null"))
    return np.array([float(drawn.average_precision(np.array([p.value or 0.0 for p in said]))[0]) for said in found])


def _p(built: Built, able: Sequence[int], scores: NDArray[np.float64], row: int) -> float:
    """Share of the nulls that do at least as well, the label itself counted in; ties are broken by hash (a randomised p)."""
    own, text = scores[row], _text(built, able[row])
    others = [
        i for i, index in enumerate(able) if i != row and not _overlap(built, able[row], index) and _text(built, index) != text
    ]
    better = sum(scores[i] > own for i in others)
    ties = [i for i in others if scores[i] == own]
    key = content_id("tie", able[row])
    won = sum(content_id("tie", able[i]) < key for i in ties)
    return float((1 + better + won) / (1 + len(others)))


def _text(built: Built, index: int) -> str:
    feature = built.feature(index)
    return f"null {index}" if feature.family == "null" else feature.label


def _overlap(built: Built, one: int, other: int) -> bool:
    """Whether two features fire together too often for one's label to be a null of the other."""
    a, b = built.fired[one], built.fired[other]
    both = len(np.intersect1d(a, b, assume_unique=True))
    return both / max(len(a) + len(b) - both, 1) > MOST_OVERLAP
