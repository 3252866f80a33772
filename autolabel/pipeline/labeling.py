"""Proposing labels for a feature and choosing between them on validation text."""

import logging
from collections.abc import Sequence

from autolabel.errors import AutolabelError, ModelResponseError
from autolabel.labelers.base import Labeler, without_text
from autolabel.metrics import Estimate
from autolabel.pipeline.examining import examine, headline_estimate
from autolabel.pipeline.workspace import Workspace
from autolabel.records import Label, Purpose, ScorerName
from autolabel.scorers.base import Scorer

logger = logging.getLogger(__name__)

CHOOSING_ORDER = ("detection", "likelihood", "embedding", "fuzzing", "rule")
"""The first admitted scorer in this order chooses between labels. `rule` can only choose among labels that carry a predicate."""


async def propose(workspace: Workspace, feature: int, labelers: Sequence[Labeler]) -> None:
    """Try for every label that the labelers have in mind for a feature and that the database lacks."""
    evidence = workspace.evidence[feature]
    for labeler in labelers:
        missing = [draft for draft in labeler.drafts(evidence) if draft.label_id not in workspace.labels]
        if not missing:
            continue
        try:
            filled = await labeler.fill(missing, evidence)
        except AutolabelError:
            raise
        except Exception as error:
            logger.exception("feature %d: labeler '%s' failed", feature, labeler.method)
            why = ModelResponseError("failed", f"{type(error).__name__}: {error}")
            filled = [without_text(draft, why) for draft in missing]
        workspace.add_labels(filled)


async def choose(workspace: Workspace, feature: int, scorer: Scorer | None) -> None:
    """Choose the best candidate on the validation exam, or record that there is none."""
    candidates = [label for label in workspace.labels_of(feature) if label.status == "ok" and label.origin != "baseline"]
    if not candidates:
        n_failed = sum(label.origin != "baseline" for label in workspace.labels_of(feature))
        workspace.choose(feature, None, f"none of {n_failed} attempts came to a label", None, None)
        return
    if scorer is None or not workspace.evidence[feature].exam("validation"):
        why = "no judge is admitted" if scorer is None else "too little validation text to compare labels on"
        workspace.choose(feature, _unscored_choice(candidates), f"{why}; the first labeler's label stands", None, None)
        return
    able = [label for label in candidates if scorer.info.name != "rule" or label.predicate is not None]
    if not able:
        workspace.choose(
            feature, _unscored_choice(candidates), "no judge is admitted; the first labeler's label stands", None, None
        )
        return
    values = await examine(workspace, feature, scorer, able, "validation", Purpose("validate", feature))
    estimates = {label.label_id: headline_estimate(workspace, feature, "validation", values[label.label_id]) for label in able}
    best = max(able, key=lambda label: (_value(estimates[label.label_id]), label.method == "explain", label.label_id))
    found = estimates[best.label_id]
    reason = f"best of {len(able)} by {scorer.info.name} on validation text"
    workspace.choose(feature, best, found.reason or reason, found.value, scorer.info)


def choosing_scorer(admitted: Sequence[Scorer], wanted: ScorerName | None) -> Scorer | None:
    """The scorer that chooses, from those admitted: the one that is wanted, or else the first in `CHOOSING_ORDER`."""
    by_name = {scorer.info.name: scorer for scorer in admitted}
    order = (wanted, *CHOOSING_ORDER) if wanted else CHOOSING_ORDER
    return next((by_name[name] for name in order if name in by_name), None)


def _value(estimate: Estimate) -> float:
    return -1.0 if estimate.value is None else estimate.value


def _unscored_choice(candidates: Sequence[Label]) -> Label:
    return min(candidates, key=lambda label: (label.method != "explain", label.sample_number, label.label_id))
