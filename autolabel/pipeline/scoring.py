"""The reported scores: the chosen label on the test exam, beside its nulls and its baselines, after choosing and never before."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from autolabel.asking import together
from autolabel.errors import AutolabelError
from autolabel.intervals import unscored
from autolabel.metrics import Estimate, auroc, balanced_accuracy, flip_rate, paired_difference, recall
from autolabel.pipeline.examining import BOOTSTRAP_SEED, examine, headline_estimate
from autolabel.pipeline.rows import Row, score_row
from autolabel.pipeline.rule_population import StoredRules
from autolabel.pipeline.trusting import trust_row
from autolabel.pipeline.workspace import LoadedFeature, Workspace
from autolabel.records import Label, Metric, Prediction, Purpose
from autolabel.scorers.base import Scorer, ScorerInfo
from autolabel.scorers.rule import RuleScorer
from autolabel.store.failures import UNEXPECTED

logger = logging.getLogger(__name__)

_UNFIT = "the judge failed on the shipped solved examples"
_TOO_FEW = "too few firing test tiles or documents to score on (20 from 10 are needed)"
CHEAP = "embedding"
"""The scorer that reads the whole exam where a judge reads a part: it costs no LLM tokens."""
Answers = Mapping[str, list[Prediction]]
"""Predictions by label id."""


class TestExam:
    """Scores one feature's chosen label on its test exam, beside the labels of other features that are its nulls."""

    __test__ = False

    def __init__(self, workspace: Workspace, feature: LoadedFeature, nulls: Sequence[Label], rules: StoredRules) -> None:
        self._workspace = workspace
        self._feature = feature
        self._nulls = nulls
        self._rules = rules
        self._label = feature.labels[workspace.chosen[feature.index].label_id]
        own = feature.proposed()
        self._lexical = next((a for a in own if a.method == "lexical" and a.status == "ok" and a != self._label), None)
        self._lookup = next((a for a in own if a.method == "token_lookup" and a.status == "ok"), None)
        self._cheap: Answers = {}
        """What the cheap scorer says of the whole exam, for every label that a judge is asked about."""
        self._own: list[Row] = []
        """The scores of the chosen label, as they are computed."""

    async def take(self, scorers: Sequence[Scorer], unfit: Sequence[Scorer]) -> None:
        """Score with every admitted scorer, all at once; an unfit judge leaves a row without a value."""
        if self._feature.evidence.evidence_status == "too_few" or not self._feature.exam:
            infos = [scorer.info for scorer in scorers if scorer.info.needs_calibration]
            await self._workspace.aside(self._workspace.add_scores, lambda: [self._without_value(info, _TOO_FEW) for info in infos])
            await self._keep_trust()
            return
        lookup = await self._lookup_values()
        cheap = next((scorer for scorer in scorers if scorer.info.name == CHEAP), None)
        if cheap is not None and any(scorer.info.tiles_per_group is not None for scorer in scorers):
            self._cheap = await self._examine(cheap, self._asked_of_judges)
        await together(self._score(scorer, lookup) for scorer in scorers)
        await self._workspace.aside(
            self._workspace.add_scores, lambda: [self._without_value(scorer.info, _UNFIT, "judge_unfit") for scorer in unfit]
        )
        await self._keep_trust()

    async def _keep_trust(self) -> None:
        """P(correct) from what was just scored, whatever order the scorers ended in."""
        await self._workspace.aside(
            self._workspace.add_scores, lambda: [trust_row(self._label, sorted(self._own, key=lambda row: str(row["score_id"])))]
        )

    @property
    def _asked_of_judges(self) -> list[Label]:
        """The chosen label, its lexical baseline and its nulls."""
        return [label for label in (self._label, self._lexical, *self._nulls) if label is not None]

    async def _lookup_values(self) -> list[Prediction] | None:
        label = self._lookup
        if label is None:
            return None
        scorer = RuleScorer()
        values = (await self._examine(scorer, [label]))[label.label_id]
        await self._keep(scorer.info, lambda: self._rows_of(label, scorer.info, values))
        return values

    async def _score(self, scorer: Scorer, lookup: list[Prediction] | None) -> None:
        asked = self._asked_of_judges
        if scorer.info.name == "rule":
            asked = [label for label in asked if label.predicate is not None and label.feature_index == self._feature.index]
        if not asked:
            return
        values = await self._examine(scorer, asked)
        await self._keep(scorer.info, lambda: self._rows(scorer.info, asked, values, lookup))

    async def _examine(self, scorer: Scorer, labels: Sequence[Label]) -> Answers:
        return await examine(self._workspace, self._feature, scorer, labels, Purpose("score", self._feature.index))

    async def _keep(self, info: ScorerInfo, compute: Callable[[], Sequence[Row]]) -> None:
        """Compute scores by a scorer and keep them; where that fails, the chosen label's score says so."""
        try:
            await self._workspace.aside(self._workspace.add_scores, compute)
        except AutolabelError:
            raise
        except Exception as error:
            logger.exception("feature %d: its scores by '%s' could not be computed", self._feature.index, info.name)
            why = f"{UNEXPECTED}{type(error).__name__}: {error}"
            await self._workspace.aside(self._workspace.add_scores, lambda: [self._without_value(info, why)])

    def _rows(self, info: ScorerInfo, asked: Sequence[Label], values: Answers, lookup: list[Prediction] | None) -> list[Row]:
        """Every score by one scorer: the metrics of each label, and the comparisons of the chosen one."""
        rows = [row for label in asked for row in self._rows_of(label, info, values[label.label_id])]
        self._own += [row for row in rows if row["label_id"] == self._label.label_id]
        if info.name == "rule":
            return rows
        own = values[self._label.label_id]
        lift = self._compared(info, own, [values[label.label_id] for label in self._nulls])
        beyond = self._compared(info, own, [self._part_of(info, lookup)] if lookup else [])
        null_ids = [label.label_id for label in self._nulls]
        lookup_ids = [self._lookup.label_id] if self._lookup else []
        failed = _n_failed(own)
        return [
            *rows,
            self._row(self._label, info, "lift_null", replace(lift, n=len(self._nulls)), failed, "admitted", null_ids),
            self._row(self._label, info, "beyond_token", beyond, failed, "admitted", lookup_ids),
        ]

    def _rows_of(self, label: Label, info: ScorerInfo, predictions: Sequence[Prediction]) -> list[Row]:
        """The metrics of one label under one scorer, steadied by the cheap one where the scorer judged a part of the exam only."""
        cheap = self._cheap.get(label.label_id)
        answered = [(e, p) for e, p in zip(self._feature.exam_of(info), predictions, strict=True) if p.value is not None]
        values = np.array([p.value for _, p in answered], dtype=np.float64)
        fires = np.array([e.stratum == "firing" for e, _ in answered], dtype=bool)
        clusters = [e.source_document_id for e, _ in answered]
        said = _decisions(values, fires, info)
        found: dict[Metric, Estimate] = {
            "label_score": headline_estimate(self._feature, info, predictions, cheap),
            "auroc": auroc(values, fires, clusters),
            "balanced_accuracy": balanced_accuracy(said, fires, clusters),
            "recall": recall(said, fires, clusters),
        }
        again = [(p.value, p.asked_again) for _, p in answered if p.asked_again is not None and p.value is not None]
        if again:
            found["flip_rate"] = flip_rate([first > 0.5 for first, _ in again], [second > 0.5 for _, second in again])
        failed = _n_failed(predictions)
        rows = [self._row(label, info, metric, estimate, failed, _judge_status(info)) for metric, estimate in found.items()]
        return rows + self._rules.score_rows(label, self._feature.evidence) if info.name == "rule" else rows

    def _part_of(self, info: ScorerInfo, predictions: Sequence[Prediction]) -> list[Prediction]:
        """Of predictions for the whole exam, those for the tiles that a scorer is asked about."""
        by_window = {prediction.window_id: prediction for prediction in predictions}
        return [by_window[example.window_id] for example in self._feature.exam_of(info)]

    def _compared(self, info: ScorerInfo, own: list[Prediction], others: list[list[Prediction]]) -> Estimate:
        """Own `label_score` minus the mean of the others', on the tiles that all of them answered."""
        everything, exam = [own, *others], self._feature.exam_of(info)
        answered = [i for i in range(len(exam)) if all(values[i].value is not None for values in everything)]
        picked = [[values[i].value for i in answered] for values in everything]
        strata = [exam[i].stratum for i in answered]
        clusters = [exam[i].source_document_id for i in answered]
        return paired_difference(picked[0], picked[1:], strata, clusters, BOOTSTRAP_SEED)  # type: ignore[arg-type]

    def _without_value(self, info: ScorerInfo, why: str, judge_status: str | None = None) -> Row:
        return self._row(self._label, info, "label_score", unscored(0, 0.0, why), 0, judge_status or _judge_status(info))

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
        evidence = self._feature.evidence
        return score_row(label, evidence, info, "test", metric, estimate, n_failed, judge_status, compared_with)


def _decisions(values: np.ndarray, fires: np.ndarray, info: ScorerInfo) -> np.ndarray:
    """Yes or no: above one half; a rating has no natural threshold and says yes to as many tiles as fire, the strongest ones."""
    if info.answer_mode != "rating" or len(values) == 0:
        return values > 0.5
    n_yes = int(fires.sum())
    threshold = np.sort(values)[::-1][min(n_yes, len(values) - 1)]
    decisions: np.ndarray = values > threshold
    return decisions


def _judge_status(info: ScorerInfo) -> str:
    """Of a scorer that may score."""
    return "admitted" if info.needs_calibration else "not_needed"


def _n_failed(predictions: Sequence[Prediction]) -> int:
    return sum(prediction.value is None for prediction in predictions)
