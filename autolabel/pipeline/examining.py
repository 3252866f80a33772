"""Sitting an exam: a scorer's predictions under labels on the tiles fixed for a feature, made once and kept."""

import logging
from collections.abc import Sequence
from dataclasses import replace

from autolabel.errors import AutolabelError
from autolabel.metrics import Estimate, label_score
from autolabel.pipeline.drawing import inclusion
from autolabel.pipeline.workspace import LoadedFeature, Workspace
from autolabel.powered import powered_label_score
from autolabel.records import Example, Label, Prediction, Purpose
from autolabel.scorers.base import Scorer, ScorerInfo

logger = logging.getLogger(__name__)

BOOTSTRAP_SEED = 0
"""Seed of every interval's resamples: the same predictions have the same interval in every run."""


async def examine(
    workspace: Workspace, feature: LoadedFeature, scorer: Scorer, labels: Sequence[Label], purpose: Purpose
) -> dict[str, list[Prediction]]:
    """Predictions per label id on the part of the exam of `feature` that the scorer is asked about, in the exam's order; only what is
    missing is asked."""
    missing = [label for label in labels if feature.predictions(label, scorer.info) is None]
    if missing:
        exam = feature.exam_of(scorer.info)
        try:
            found = await scorer.predict(missing, exam, purpose)
        except AutolabelError:
            raise
        except Exception as error:
            logger.exception("feature %d: scorer '%s' failed", feature.index, scorer.info.name)
            why = f"{type(error).__name__}: {error}"
            found = [[Prediction(example.window_id, None, "failed", why) for example in exam] for _ in missing]
        drawn = inclusion(scorer.info, feature.exam)
        if drawn is not None:
            shares = [drawn[example.stratum] for example in exam if example.stratum is not None]
            found = [[replace(p, inclusion=share) for p, share in zip(said, shares, strict=True)] for said in found]
        await workspace.aside(workspace.add_predictions, feature, scorer.info, list(zip(missing, found, strict=True)))
    return {label.label_id: feature.predictions(label, scorer.info) or [] for label in labels}


def headline_estimate(
    feature: LoadedFeature, info: ScorerInfo, predictions: Sequence[Prediction], cheap: Sequence[Prediction] | None = None
) -> Estimate:
    """`label_score` over the tiles that have an answer; steadied by a cheap scorer's predictions of the whole exam where a judge was
    asked about a part of it only."""
    values = {p.window_id: p.value for p in predictions if p.value is not None}
    beside = {p.window_id: p.value for p in cheap or () if p.value is not None}
    if info.tiles_per_group is not None and beside:
        read = [example for example in feature.exam if example.window_id in beside]
        flags = [example.window_id in values for example in read]
        judged = [values[example.window_id] for example, flag in zip(read, flags, strict=True) if flag]
        strata, documents = _groups(read)
        return powered_label_score(judged, [beside[e.window_id] for e in read], flags, strata, documents, BOOTSTRAP_SEED)
    answered = [example for example in feature.exam_of(info) if example.window_id in values]
    strata, documents = _groups(answered)
    return label_score([values[example.window_id] for example in answered], strata, documents, BOOTSTRAP_SEED)


def _groups(examples: Sequence[Example]) -> tuple[list[str], list[str]]:
    """Stratum and source document of each tile."""
    return [str(e.stratum) for e in examples], [e.source_document_id for e in examples]
