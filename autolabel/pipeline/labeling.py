"""Proposing labels for a feature and choosing between them on validation text."""

import logging
from collections.abc import Mapping, Sequence

from autolabel.errors import AutolabelError, ModelResponseError
from autolabel.labelers.base import Labeler, without_text
from autolabel.metrics import Estimate
from autolabel.pipeline.examining import examine, headline_estimate
from autolabel.pipeline.workspace import LoadedFeature, Workspace
from autolabel.records import Label, Prediction, Purpose, ScorerName
from autolabel.scorers.base import Scorer, ScorerInfo

logger = logging.getLogger(__name__)

CHOOSING_ORDER = ("detection", "likelihood", "embedding", "fuzzing", "rule")
"""The first admitted scorer in this order chooses between labels. `rule` can only choose among labels that carry a predicate."""


async def propose(workspace: Workspace, feature: LoadedFeature, labelers: Sequence[Labeler]) -> None:
    """Try for every label that the labelers have in mind for a feature and that the database lacks."""
    made = [label for labeler in labelers for label in await _made(feature, labeler)]
    if made:
        await workspace.aside(workspace.add_labels, feature, made)


async def _made(feature: LoadedFeature, labeler: Labeler) -> list[Label]:
    """What came of the labels of one labeler that are lacking."""
    missing: list[Label] = []
    try:
        missing = [draft for draft in labeler.drafts(feature.evidence) if draft.label_id not in feature.labels]
        return await labeler.fill(missing, feature.evidence) if missing else []
    except AutolabelError:
        raise
    except Exception as error:
        logger.exception("feature %d: labeler '%s' failed", feature.index, labeler.method)
        why = ModelResponseError("failed", f"{type(error).__name__}: {error}")
        return [without_text(draft, why) for draft in missing]


async def choose(workspace: Workspace, feature: LoadedFeature, scorer: Scorer | None) -> None:
    """Choose the best candidate on the validation exam, or record that there is none."""
    try:
        await _choose(workspace, feature, scorer)
    except AutolabelError:
        raise
    except Exception as error:
        logger.exception("feature %d: choosing failed", feature.index)
        why = f"choosing failed: {type(error).__name__}: {error}"
        await workspace.aside(workspace.choose, feature, None, why, None, None)


async def _choose(workspace: Workspace, feature: LoadedFeature, scorer: Scorer | None) -> None:
    candidates = [label for label in feature.proposed() if label.status == "ok" and label.origin != "baseline"]
    able = [label for label in candidates if scorer is not None and (scorer.info.name != "rule" or label.predicate is not None)]
    if scorer is not None and able and feature.exam:
        values = await examine(workspace, feature, scorer, able, Purpose("validate", feature.index))
        await workspace.aside(_choose_best, workspace, feature, scorer.info, able, values)
    elif candidates:
        why = (
            "too little validation text to compare labels on" if scorer is not None and not feature.exam else "no judge is admitted"
        )
        first = min(candidates, key=lambda label: (label.method != "explain", label.sample_number, label.label_id))
        await workspace.aside(workspace.choose, feature, first, f"{why}; the first labeler's label stands", None, None)
    else:
        n_failed = sum(label.origin != "baseline" for label in feature.proposed())
        await workspace.aside(workspace.choose, feature, None, f"none of {n_failed} attempts came to a label", None, None)


def _choose_best(
    workspace: Workspace, feature: LoadedFeature, info: ScorerInfo, able: Sequence[Label], values: Mapping[str, list[Prediction]]
) -> None:
    estimates = {label.label_id: headline_estimate(feature, info, values[label.label_id]) for label in able}
    best = max(able, key=lambda label: (_value(estimates[label.label_id]), label.method == "explain", label.label_id))
    found = estimates[best.label_id]
    reason = f"best of {len(able)} by {info.name} on validation text"
    workspace.choose(feature, best, found.reason or reason, found.value, info)


def choosing_scorer(admitted: Sequence[Scorer], wanted: ScorerName | None) -> Scorer | None:
    """The scorer that chooses, from those admitted: the one that is wanted, or else the first in `CHOOSING_ORDER`."""
    by_name = {scorer.info.name: scorer for scorer in admitted}
    order = (wanted, *CHOOSING_ORDER) if wanted else CHOOSING_ORDER
    return next((by_name[name] for name in order if name in by_name), None)


def _value(estimate: Estimate) -> float:
    return -1.0 if estimate.value is None else estimate.value
