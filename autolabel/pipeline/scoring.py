"""The reported scores: the chosen label on the test exam, beside its nulls and its baselines, after choosing and never before."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from autolabel.intervals import unscored
from autolabel.metrics import Estimate, auroc, balanced_accuracy, flip_rate, paired_difference, recall
from autolabel.pipeline.examining import BOOTSTRAP_SEED, examine, headline_estimate
from autolabel.pipeline.nulls import null_labels
from autolabel.pipeline.rows import Row, score_row
from autolabel.pipeline.workspace import Workspace
from autolabel.records import Example, FeatureEvidence, Label, Metric, Prediction, Purpose
from autolabel.scorers.base import Scorer, ScorerInfo
from autolabel.scorers.rule import RuleScorer

_UNFIT = "the judge failed on the shipped solved examples"


class TestExam:
    """Scores one feature's chosen label on its test exam."""

    __test__ = False

    def __init__(self, workspace: Workspace, feature: int, n_nulls: int, co_firing: dict[int, float]) -> None:
        self._workspace = workspace
        self._feature = feature
        self._evidence: FeatureEvidence = workspace.evidence[feature]
        self._exam: tuple[Example, ...] = self._evidence.exam("test")
        self._label = workspace.labels[workspace.chosen[feature]]
        self._nulls = null_labels(workspace, feature, n_nulls, co_firing) if self._exam else []
        own = workspace.labels_of(feature)
        self._lexical = next((a for a in own if a.method == "lexical" and a.status == "ok" and a != self._label), None)
        self._lookup = next((a for a in own if a.method == "token_lookup" and a.status == "ok"), None)

    async def take(self, scorers: Sequence[Scorer], unfit: Sequence[Scorer]) -> None:
        """Score with every admitted scorer; an unfit judge leaves a row without a value."""
        if self._evidence.evidence_status == "too_few" or not self._exam:
            self._leave_unscored(scorers)
            return
        lookup = await self._lookup_values()
        for scorer in scorers:
            await self._score(scorer, lookup)
        nothing = unscored(0, 0.0, _UNFIT)
        self._workspace.store.append(
            "scores", [self._row(self._label, scorer.info, "label_score", nothing, 0, "judge_unfit") for scorer in unfit]
        )

    def _leave_unscored(self, scorers: Sequence[Scorer]) -> None:
        reason = unscored(0, 0.0, "too few firing test tiles or documents to score on (20 from 10 are needed)")
        texts = [scorer for scorer in scorers if scorer.info.needs_calibration]
        self._workspace.store.append(
            "scores", [self._row(self._label, scorer.info, "label_score", reason, 0, "admitted") for scorer in texts]
        )

    async def _lookup_values(self) -> list[Prediction] | None:
        if self._lookup is None:
            return None
        scorer = RuleScorer()
        purpose = Purpose("score", self._feature)
        found = await examine(self._workspace, self._feature, scorer, [self._lookup], "test", purpose)
        values = found[self._lookup.label_id]
        self._keep(self._lookup, scorer.info, values)
        return values

    async def _score(self, scorer: Scorer, lookup: list[Prediction] | None) -> None:
        labels = [label for label in (self._label, self._lexical) if label is not None]
        if scorer.info.name == "rule":
            labels = [label for label in labels if label.predicate is not None]
            if not labels:
                return
        asked = [*labels, *(self._nulls if scorer.info.name != "rule" else [])]
        values = await examine(self._workspace, self._feature, scorer, asked, "test", Purpose("score", self._feature))
        for label in asked:
            self._keep(label, scorer.info, values[label.label_id])
        if scorer.info.name == "rule":
            return
        own = values[self._label.label_id]
        nulls = [values[label.label_id] for label in self._nulls]
        null_ids = [label.label_id for label in self._nulls]
        lift = replace(self._compared(own, nulls), n=len(nulls))
        beyond = self._compared(own, [lookup] if lookup else [])
        failed = _n_failed(own)
        lookup_ids = [self._lookup.label_id] if self._lookup else []
        self._workspace.store.append(
            "scores",
            [
                self._row(self._label, scorer.info, "lift_null", lift, failed, "admitted", null_ids),
                self._row(self._label, scorer.info, "beyond_token", beyond, failed, "admitted", lookup_ids),
            ],
        )

    def _keep(self, label: Label, info: ScorerInfo, predictions: list[Prediction]) -> None:
        """Keep the metrics of one label under one scorer."""
        answered = [(e, p) for e, p in zip(self._exam, predictions, strict=True) if p.value is not None]
        values = np.array([p.value for _, p in answered], dtype=np.float64)
        fires = np.array([e.stratum == "firing" for e, _ in answered], dtype=bool)
        clusters = [e.source_document_id for e, _ in answered]
        said = _decisions(values, fires, info)
        found: dict[Metric, Estimate] = {
            "label_score": headline_estimate(self._workspace, self._feature, "test", predictions),
            "auroc": auroc(values, fires, clusters),
            "balanced_accuracy": balanced_accuracy(said, fires, clusters),
            "recall": recall(said, fires, clusters),
        }
        again = [(p.value, p.asked_again) for _, p in answered if p.asked_again is not None and p.value is not None]
        if again:
            found["flip_rate"] = flip_rate([first > 0.5 for first, _ in again], [second > 0.5 for _, second in again])
        status = "admitted" if info.needs_calibration else "not_needed"
        failed = _n_failed(predictions)
        self._workspace.store.append(
            "scores", [self._row(label, info, metric, estimate, failed, status) for metric, estimate in found.items()]
        )

    def _compared(self, own: list[Prediction], others: list[list[Prediction]]) -> Estimate:
        """Own `label_score` minus the mean of the others', on the tiles that all of them answered."""
        everything = [own, *others]
        answered = [i for i in range(len(self._exam)) if all(values[i].value is not None for values in everything)]
        picked = [[values[i].value for i in answered] for values in everything]
        strata = [self._exam[i].stratum for i in answered]
        clusters = [self._exam[i].source_document_id for i in answered]
        return paired_difference(picked[0], picked[1:], strata, clusters, BOOTSTRAP_SEED)  # type: ignore[arg-type]

    def _row(
        self,
        label: Label,
        info: ScorerInfo,
        metric: Metric,
        estimate: Estimate,
        n_failed: int,
        judge_status: str,
        compared_with: Sequence[str] = (),
    ) -> Row:
        return score_row(label, self._evidence, info, "test", metric, estimate, n_failed, judge_status, compared_with)


def _decisions(values: np.ndarray, fires: np.ndarray, info: ScorerInfo) -> np.ndarray:
    """Yes or no: above one half; a rating has no natural threshold and says yes to as many tiles as fire, the strongest ones."""
    if info.answer_mode != "rating" or len(values) == 0:
        return values > 0.5
    n_yes = int(fires.sum())
    threshold = np.sort(values)[::-1][min(n_yes, len(values) - 1)]
    decisions: np.ndarray = values > threshold
    return decisions


def _n_failed(predictions: Sequence[Prediction]) -> int:
    return sum(prediction.value is None for prediction in predictions)
