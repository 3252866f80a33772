"""Scores that come of questions beside the exam: each chosen label is asked about by every inquiry that the settings name.

The invariant: what is stored is not asked again, and whatever goes wrong with one question is a row that says so.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from autolabel.config import Settings
from autolabel.errors import AutolabelError
from autolabel.intervals import unscored
from autolabel.metrics import Estimate
from autolabel.pipeline.models import Models, make_inquiries
from autolabel.pipeline.nulls import CO_FIRING_JACCARD, Nulls
from autolabel.pipeline.rows import Row, score_row
from autolabel.pipeline.workspace import LoadedFeature, Workspace
from autolabel.records import FeatureEvidence, Label, Metric, Purpose, ScorerName
from autolabel.scorers.base import Comparing, Inquired, Inquiry, Scorer, ScorerInfo, Written
from autolabel.store.dictionary import stored_scores
from autolabel.store.failures import UNEXPECTED

logger = logging.getLogger(__name__)

METRICS: dict[ScorerName, tuple[Metric, ...]] = {
    "generation": ("hit_rate", "reciprocal_rank"),
    "fade": ("clarity", "responsiveness", "purity"),
    "saebench": ("protocol", "balanced_accuracy"),
}
"""What each inquiry finds: the scores by which it is known to have been made."""
_UNFIT = "the judge failed on the shipped solved examples"

Load = Callable[[Sequence[int]], list[LoadedFeature]]
Work = Callable[[LoadedFeature], Awaitable[None]]
Each = Callable[[str, Sequence[int], Load, Work], Awaitable[None]]
"""Does some work for each of some features: what it is called, the features, how they are loaded, and the work."""


async def inquire_all(
    settings: Settings, workspace: Workspace, models: Models, each: Each, is_fit: Callable[[Scorer], Awaitable[bool]]
) -> None:
    """Ask about every chosen label that was not asked about before.

    Args:
        settings: name the inquiries.
        workspace: the features, their labels, and where scores go.
        models: what can be asked.
        each: how work is done for many features.
        is_fit: tries a judge on the shipped solved examples.

    Raises:
        AutolabelError: the run as a whole cannot go on; what was found is kept.
    """
    inquiries = make_inquiries(settings, models, workspace.store.database, workspace.evidence_set_id)
    if not inquiries:
        return
    unfit = [i for i in inquiries if i.info.needs_calibration and isinstance(i, Scorer) and not await is_fit(i)]
    inquirer = Inquirer(workspace, inquiries, unfit, settings.score.nulls)
    features = [feature for feature in workspace.features if feature in workspace.chosen]
    await each("asking beside the exam", features, inquirer.load, inquirer.ask)


@dataclass(frozen=True, slots=True)
class _Task:
    """What is to be asked about one feature's label."""

    inquiry: Inquiry
    others: Sequence[Label]
    """Labels of other features, where the inquiry compares with them."""


class Inquirer:
    """Asks about chosen labels, one feature after the other."""

    def __init__(self, workspace: Workspace, inquiries: Sequence[Inquiry], unfit: Sequence[Inquiry], n_nulls: int) -> None:
        """An inquiry that is `unfit` asks nothing; `n_nulls` labels of other features are compared with where one compares."""
        self._workspace, self._inquiries, self._unfit, self._n_nulls = workspace, inquiries, unfit, n_nulls
        self._nulls = Nulls(workspace.chosen, workspace.firing_rates)
        self._tasks: dict[int, list[_Task]] = {}

    def load(self, features: Sequence[int]) -> list[LoadedFeature]:
        """The features, and what is still to be asked about each of them."""
        loaded = self._workspace.load(features, "test", CO_FIRING_JACCARD if self._n_nulls else None)
        planned = {feature.index: self._planned(feature) for feature in loaded}
        ids = {
            (feature.index, number): [row["score_id"] for row in self._rows(feature, task, _nothing(task.inquiry.info))]
            for feature in loaded
            for number, task in enumerate(planned[feature.index])
        }
        stored = stored_scores(self._workspace.store.database, (one for wanted in ids.values() for one in wanted))
        for index, tasks in planned.items():
            self._tasks[index] = [task for number, task in enumerate(tasks) if not stored.issuperset(ids[index, number])]
        return loaded

    async def ask(self, feature: LoadedFeature) -> None:
        """Ask what is lacking about a feature's label and keep what is found."""
        for task in self._tasks.pop(feature.index):
            found = await self._found(feature, task)
            await self._workspace.aside(self._keep, feature, task, found)

    def _planned(self, feature: LoadedFeature) -> list[_Task]:
        others = self._nulls.of(feature.index, self._n_nulls, feature.co_firing) if self._n_nulls else []
        return [_Task(inquiry, others if isinstance(inquiry, Comparing) else []) for inquiry in self._inquiries]

    async def _found(self, feature: LoadedFeature, task: _Task) -> Inquired:
        label, evidence, purpose = self._label(feature), feature.evidence, Purpose("score", feature.index)
        info = task.inquiry.info
        if task.inquiry in self._unfit:
            return _nothing(info, _UNFIT)
        try:
            if isinstance(task.inquiry, Comparing):
                return await task.inquiry.inquire_beside(label, task.others, evidence, purpose)
            return await task.inquiry.inquire(label, evidence, purpose)
        except AutolabelError:
            raise
        except Exception as error:
            logger.exception("feature %d: inquiry '%s' failed", feature.index, info.name)
            return _nothing(info, f"{UNEXPECTED}{type(error).__name__}: {error}")

    def _keep(self, feature: LoadedFeature, task: _Task, found: Inquired) -> None:
        """Keep all of it; the scores last, because they say that it is done."""
        label, info = self._label(feature), task.inquiry.info
        if found.predictions:
            self._workspace.add_predictions(feature, info, [(label, list(found.predictions))])
        if found.written:
            self._workspace.store.append("written_texts", written_rows(label, feature.evidence, info, found.written))
        self._workspace.add_scores(lambda: self._rows(feature, task, found))

    def _rows(self, feature: LoadedFeature, task: _Task, found: Inquired) -> list[Row]:
        info, label = task.inquiry.info, self._label(feature)
        status = "judge_unfit" if task.inquiry in self._unfit else "admitted" if info.needs_calibration else "not_needed"
        compared_with = [other.label_id for other in task.others]
        return [
            score_row(label, feature.evidence, info, "test", metric, estimate, found.n_failed, status, compared_with)
            for metric, estimate in found.found.items()
        ]

    def _label(self, feature: LoadedFeature) -> Label:
        return feature.labels[self._workspace.chosen[feature.index].label_id]


def written_rows(label: Label, evidence: FeatureEvidence, info: ScorerInfo, written: Sequence[Written]) -> list[Row]:
    """Rows of `written_texts`."""
    return [
        {
            "label_id": label.label_id,
            "evidence_set_id": evidence.evidence_set_id,
            "feature_index": evidence.feature_index,
            "scorer": info.name,
            "config_hash": info.config_hash,
            "text_number": one.number,
            "text": one.text,
            "is_meant": one.is_meant,
            "max_activation": one.max_activation,
            "rank": one.rank,
            "request_hash": one.request_hash,
        }
        for one in written
    ]


def _nothing(info: ScorerInfo, why: str = "not asked") -> Inquired:
    """What came of an inquiry that found nothing."""
    found: dict[Metric, Estimate] = {metric: unscored(0, None, why) for metric in METRICS[info.name]}  # type: ignore[index]
    return Inquired(found)
