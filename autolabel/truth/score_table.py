"""How good scorers are: whether they rank right labels above near-misses, and whether their numbers follow the exact ones."""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import scipy.stats

from autolabel.metrics import auroc, label_score
from autolabel.pipeline.examining import BOOTSTRAP_SEED
from autolabel.records import Example, Prediction
from autolabel.truth.bank import NEAR_KINDS
from autolabel.truth.built import Built, Shipped
from autolabel.truth.features import RELATIONS, Family, Relation
from autolabel.truth.resampling import NOTHING, Measured, mean_of, over_features
from autolabel.truth.selection import NEAR_F1

_BINS = 10


@dataclass(frozen=True, slots=True)
class Pair:
    """A shipped label on its feature's exam: what the scorer says, and what is true."""

    index: int
    family: Family
    relation: Relation
    value: float | None
    low: float | None
    high: float | None
    f1: float


@dataclass
class ScorerRow:
    """One line of the table of scorers."""

    name: str
    judge: str
    n_features: int = 0
    n_pairs: int = 0
    n_failed: int = 0
    """Predictions (or labels, for protocols) without a value."""
    n_unscored: int = 0
    """Labels without a score, which are in no other number."""
    beats: dict[str, Measured] = field(default_factory=dict)
    """By relation: share of pairs in which the right label scores higher, ties counting half."""
    beats_by_family: dict[Family, Measured] = field(default_factory=dict)
    """The same over all near-misses."""
    spearman_near: Measured = NOTHING
    spearman_all: Measured = NOTHING
    judgement: Measured = NOTHING
    """AUROC of its predictions against what the label's function holds on the same tile."""
    calibration_error: Measured = NOTHING
    """Expected calibration error of its probabilities, against the same."""
    tokens: tuple[int, int, int] = (0, 0, 0)
    seconds: float | None = None


def scored_labels(built: Built, index: int, near: int, wrong: int, paraphrases: int) -> list[Shipped]:
    """The labels of a feature that a scorer is tried on: the true one, near-misses that tiles can tell, some others.

    Where fewer near-misses are wanted than there are, features take turns at which.
    """
    told = [one for one in built.shipped[index] if one.shipped.relation not in NEAR_KINDS or one.exact.f1 <= NEAR_F1]
    of = {relation: [one for one in told if one.shipped.relation == relation] for relation in RELATIONS}
    misses = [one for kind in NEAR_KINDS for one in of[kind]]
    turn = built.number(index) % max(len(misses), 1)
    taken = (misses[turn:] + misses[:turn])[:near]
    return [*of["true"], *of["paraphrase"][:paraphrases], *taken, *of["wrong"][:wrong]]


def can_be_told(built: Built, shipped: Shipped) -> bool:
    """Whether tiles can tell a near-miss from the truth: not where its function holds in the same tiles, however noisy the feature."""
    if shipped.shipped.relation not in NEAR_KINDS or shipped.shipped.predicate is None:
        return True
    own = built.world.tiles_of(built.feature(shipped.label.feature_index).candidate.meaning.predicate)
    return built.world.exact(built.world.tiles_of(shipped.shipped.predicate), own).f1 <= NEAR_F1


def pair_of(built: Built, shipped: Shipped, exam: Sequence[Example], predictions: Sequence[Prediction]) -> Pair:
    """The headline score of one label, beside its exact F1."""
    answered = [(e, p.value) for e, p in zip(exam, predictions, strict=True) if p.value is not None]
    strata, clusters = [str(e.stratum) for e, _ in answered], [e.source_document_id for e, _ in answered]
    found = label_score([value for _, value in answered], strata, clusters, BOOTSTRAP_SEED)
    feature = built.feature(shipped.label.feature_index)
    return Pair(feature.index, feature.family, shipped.shipped.relation, found.value, found.low, found.high, shipped.exact.f1)


def scorer_row(name: str, judge: str, pairs: Sequence[Pair]) -> ScorerRow:
    """What pairs say of a scorer."""
    row = ScorerRow(name, judge, len({pair.index for pair in pairs}), len(pairs))
    row.n_unscored = sum(pair.value is None for pair in pairs)
    by_feature: dict[int, list[Pair]] = defaultdict(list)
    for pair in pairs:
        if pair.value is not None:
            by_feature[pair.index].append(pair)
    groups = list(by_feature.values())
    for relation in (*NEAR_KINDS, "wrong", "paraphrase"):
        row.beats[relation] = _won(groups, partial(_has_relation, relation))
    row.beats["near"] = _won(groups, _is_near)
    families = dict.fromkeys(pair.family for pair in pairs)
    row.beats_by_family = {family: _won([group for group in groups if group[0].family == family], _is_near) for family in families}
    row.spearman_near = over_features(groups, _spearman(_is_near))
    row.spearman_all = over_features(groups, _spearman(lambda pair: True))
    return row


def judge_against_truth(
    built: Built, judged: Sequence[tuple[Shipped, Sequence[Example], Sequence[Prediction]]], are_probabilities: bool
) -> tuple[Measured, Measured]:
    """AUROC and calibration error of predictions against whether the label's function holds on the tile they are about.

    This is the judge's own error: the feature and its nuisances play no part.
    """
    areas: list[float | None] = []
    said: list[tuple[float, bool]] = []
    for shipped, exam, predictions in judged:
        if shipped.shipped.predicate is None:
            continue
        named = set(built.world.tiles_of(shipped.shipped.predicate).tolist())
        tiles = [built.tile_of_window[e.document_id, e.tile_index] for e in exam]
        known = [(p.value, tile in named, e) for p, tile, e in zip(predictions, tiles, exam, strict=True) if p.value is not None]
        said += [(value, holds) for value, holds, _ in known]
        if 0 < sum(holds for _, holds, _ in known) < len(known):
            areas.append(auroc([v for v, _, _ in known], [h for _, h, _ in known], [e.document_id for _, _, e in known]).value)
    error = Measured(_calibration_error(said), n=len(said)) if are_probabilities and said else Measured(None)
    return mean_of(areas), error


def _calibration_error(said: Sequence[tuple[float, bool]]) -> float:
    """Mean gap between probability and share of yes in ten equal bins, weighted by their size (Naeini et al., 2015)."""
    values, truths = np.array([value for value, _ in said]), np.array([truth for _, truth in said], dtype=np.float64)
    bins = np.minimum((values * _BINS).astype(int), _BINS - 1)
    gaps = [abs(values[bins == b].mean() - truths[bins == b].mean()) * (bins == b).sum() for b in np.unique(bins)]
    return float(sum(gaps) / len(values))


def _has_relation(relation: str, pair: Pair) -> bool:
    return pair.relation == relation


def _is_near(pair: Pair) -> bool:
    return pair.relation in NEAR_KINDS


def _won(groups: Sequence[Sequence[Pair]], which: Callable[[Pair], bool]) -> Measured:
    """How often the right label wins, over the features that have both."""
    able = [group for group in groups if any(pair.relation == "true" for pair in group) and any(map(which, group))]
    return over_features(able, _beats(which))


def _beats(which: Callable[[Pair], bool]) -> Callable[[Sequence[Sequence[Pair]]], float | None]:
    """Share of (right label, other label) pairs of one feature in which the right one scores higher."""

    def statistic(groups: Sequence[Sequence[Pair]]) -> float | None:
        won, n = 0.0, 0
        for group in groups:
            right = next((pair.value for pair in group if pair.relation == "true"), None)
            others = [pair.value for pair in group if which(pair)]
            if right is None:
                continue
            n += len(others)
            won += sum((right > other) + (right == other) / 2 for other in others if other is not None)
        return won / n if n else None

    return statistic


def _spearman(which: Callable[[Pair], bool]) -> Callable[[Sequence[Sequence[Pair]]], float | None]:
    def statistic(groups: Sequence[Sequence[Pair]]) -> float | None:
        found = [(pair.value, pair.f1) for group in groups for pair in group if pair.value is not None and which(pair)]
        values, truths = [value for value, _ in found], [truth for _, truth in found]
        if len(found) < 3 or len(set(values)) == 1 or len(set(truths)) == 1:
            return None
        rho = float(scipy.stats.spearmanr(values, truths).statistic)
        return None if math.isnan(rho) else rho

    return statistic
