"""Would the same label have got the same score again? By another judge, on other text, on other tiles (validity §20).

Every label sits an exam in each of two halves of the text, twice in each with other tiles, before each judge. How much of the variance
of `label_score` is between labels is an intraclass correlation. Judges whose answers mean different things are never averaged (§14):
each is reported alone, and the two are put on one scale, mean 0 and variance 1 within each, only to ask whether they rank labels alike.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from autolabel.hashing import content_id
from autolabel.intervals import Estimate
from autolabel.metrics import label_score
from autolabel.pipeline import rows
from autolabel.pipeline.examining import BOOTSTRAP_SEED
from autolabel.records import Label, Prediction, Purpose
from autolabel.scorers.base import Scorer
from autolabel.store.run_store import RunStore
from autolabel.truth.bank import NEAR_KINDS
from autolabel.truth.built import predicted
from autolabel.truth.features import ShippedLabel, TruthFeature
from autolabel.truth.halves import DRAWS, HALVES, Halves, Place
from autolabel.truth.resampling import NOTHING, Measured, over_features
from autolabel.truth.variance import Floats, coefficient, components, standardised

TARGET = 0.75
"""Least ICC over judges, halves and draws that repeatability is claimed at (validity §20)."""
ALL_JUDGES = "all, each standardised"
TRUE, NEAR, TURNS = "right labels", "near-misses", "right and near-miss in turn"


@dataclass
class Agreement:
    """How repeatable the scores of some labels are."""

    labels: str
    judge: str
    n: int
    single: Measured = NOTHING
    """ICC of one score: one judge, one half, one draw; absolute agreement."""
    mean: Measured = NOTHING
    """ICC of the mean over all judges, halves and draws of the row."""
    shares: dict[str, float] = field(default_factory=dict)
    """Share of the variance of one score, by effect of `variance.EFFECTS`."""


@dataclass
class Repeatability:
    """What was found."""

    seed: int
    n_tokens: tuple[int, ...]
    n_without: int
    n_unscored: int
    """Features left out because a judge gave too few answers for a score somewhere."""
    judges: dict[str, str]
    """Scorer → judge and answer mode."""
    rows: list[Agreement] = field(default_factory=list)


async def measure_repeatability(
    halves: Halves, scorers: Sequence[Scorer], seed: int, store: RunStore, report: Callable[[str], None]
) -> Repeatability:
    """Have every judge score a right label and a near-miss of each feature in every place, keep all of it, and compare."""
    scores: dict[int, Floats] = {}
    for number, feature in enumerate(halves.features):
        report(f"feature {number + 1} of {len(halves.features)}: {feature.label}")
        found = await _scored(halves, scorers, feature, number, store)
        if np.isfinite(found).all():
            scores[feature.index] = found
    judges = {str(scorer.info.name): f"{scorer.info.judge}, {scorer.info.answer_mode}" for scorer in scorers}
    n_unscored = len(halves.features) - len(scores)
    result = Repeatability(seed, halves.n_tokens, halves.n_without, n_unscored, judges)
    if len(scores) > 1:
        result.rows = agreements(np.stack(list(scores.values())), [scorer.info.name for scorer in scorers])
    return result


def agreements(scores: Floats, judges: Sequence[str]) -> list[Agreement]:
    """A row for each choice of labels, for every judge and for all; `scores` is (n_features, 2 labels, n_judges, n_halves, n_draws)."""
    turns = np.arange(len(scores)) % scores.shape[1]
    chosen = {TURNS: scores[np.arange(len(scores)), turns], TRUE: scores[:, 0], NEAR: scores[:, 1]}
    found = []
    for labels, values in chosen.items():
        found += [agreement(labels, judge, values[:, [place]]) for place, judge in enumerate(judges)]
        if len(judges) > 1:
            found.append(agreement(labels, ALL_JUDGES, values))
    return found


def agreement(labels: str, judge: str, scores: Floats) -> Agreement:
    """How repeatable scores of shape (n_features, n_judges, n_halves, n_draws) are; judges are standardised where there are several."""
    levels = dict(zip("jhs", scores.shape[1:], strict=True))

    def found(features: Sequence[Floats]) -> dict[str, float]:
        drawn = np.stack(features)
        return components(standardised(drawn) if drawn.shape[1] > 1 else drawn)

    parts = found(list(scores))
    total = sum(parts.values())
    return Agreement(
        labels,
        judge,
        len(scores),
        over_features(list(scores), lambda features: coefficient(found(features))),
        over_features(list(scores), lambda features: coefficient(found(features), levels)),
        {effect: value / total for effect, value in parts.items()} if total > 0 else {},
    )


def two_labels(feature: TruthFeature, number: int) -> tuple[ShippedLabel, ShippedLabel]:
    """The right label of a feature and one of its near-misses, features taking turns at which."""
    near = [one for one in feature.labels if one.relation in NEAR_KINDS]
    return feature.labels[0], near[number % len(near)]


async def _scored(halves: Halves, scorers: Sequence[Scorer], feature: TruthFeature, number: int, store: RunStore) -> Floats:
    """`label_score` of both labels by every judge in every place, shape (2, n_judges, n_halves, n_draws), NaN where there is none."""
    found = np.full((2, len(scorers), HALVES, DRAWS), np.nan)
    for place, evidence in halves.evidence.items():
        exam = halves.exam(place, feature.index)
        labels = [_label(halves, place, feature, one) for one in two_labels(feature, number)]
        kept: dict[str, list[rows.Row]] = {"labels": [rows.label_row(label) for label in labels], "predictions": [], "scores": []}
        for column, scorer in enumerate(scorers):
            said = await predicted(scorer, labels, exam, Purpose("score", feature.index))
            status = "admitted" if scorer.info.needs_calibration else "not_needed"
            for row, (label, predictions) in enumerate(zip(labels, said, strict=True)):
                estimate, failed = _estimate(halves, place, feature.index, predictions)
                found[row, column, *place] = np.nan if estimate.value is None else estimate.value
                own = evidence[feature.index]
                kept["predictions"] += rows.prediction_rows(label, own, scorer.info, "test", predictions)
                kept["scores"].append(rows.score_row(label, own, scorer.info, "test", "label_score", estimate, failed, status))
        store.insert_many(kept)
    return found


def _label(halves: Halves, place: Place, feature: TruthFeature, shipped: ShippedLabel) -> Label:
    evidence = halves.evidence[place][feature.index]
    method = f"truth_{shipped.relation}"
    grounds = [evidence.evidence_set_id, feature.index, method, shipped.text]
    return Label(
        content_id("label", grounds),
        evidence.evidence_set_id,
        evidence.sae_id,
        feature.index,
        "ok",
        method,
        shipped.text,
        origin="imported",
    )


def _estimate(halves: Halves, place: Place, index: int, predictions: Sequence[Prediction]) -> tuple[Estimate, int]:
    answered = [(e, p.value) for e, p in zip(halves.exam(place, index), predictions, strict=True) if p.value is not None]
    strata, documents = [str(e.stratum) for e, _ in answered], [e.source_document_id for e, _ in answered]
    estimate = label_score([value for _, value in answered], strata, documents, BOOTSTRAP_SEED)
    return estimate, len(predictions) - len(answered)
