"""Sitting an exam: a scorer's predictions under labels on the tiles fixed for a feature, made once and kept."""

import logging
from collections.abc import Sequence

from autolabel.errors import AutolabelError
from autolabel.metrics import Estimate, label_score
from autolabel.pipeline.workspace import LoadedFeature, Workspace
from autolabel.records import Label, Prediction, Purpose
from autolabel.scorers.base import Scorer

logger = logging.getLogger(__name__)

BOOTSTRAP_SEED = 0
"""Seed of every interval's resamples: the same predictions have the same interval in every run."""


async def examine(
    workspace: Workspace, feature: LoadedFeature, scorer: Scorer, labels: Sequence[Label], purpose: Purpose
) -> dict[str, list[Prediction]]:
    """Predictions per label id on the exam of `feature`, in the exam's order; only what is missing is asked."""
    missing = [label for label in labels if feature.predictions(label, scorer.info) is None]
    if missing:
        try:
            found = await scorer.predict(missing, feature.exam, purpose)
        except AutolabelError:
            raise
        except Exception as error:
            logger.exception("feature %d: scorer '%s' failed", feature.index, scorer.info.name)
            why = f"{type(error).__name__}: {error}"
            found = [[Prediction(example.window_id, None, "failed", why) for example in feature.exam] for _ in missing]
        await workspace.aside(workspace.add_predictions, feature, scorer.info, list(zip(missing, found, strict=True)))
    return {label.label_id: feature.predictions(label, scorer.info) or [] for label in labels}


def headline_estimate(feature: LoadedFeature, predictions: Sequence[Prediction]) -> Estimate:
    """`label_score` over the exam's tiles that have an answer."""
    answered = [(e, p.value) for e, p in zip(feature.exam, predictions, strict=True) if p.value is not None]
    return label_score(
        [value for _, value in answered],
        [str(e.stratum) for e, _ in answered],
        [e.source_document_id for e, _ in answered],
        BOOTSTRAP_SEED,
    )
