"""Labels, choices, predictions and scores as rows of the store."""

from collections.abc import Iterable, Sequence
from typing import Any

from autolabel import prompts
from autolabel.hashing import content_id
from autolabel.metrics import Estimate
from autolabel.records import FeatureEvidence, Label, Metric, Prediction, Split
from autolabel.scorers.base import ScorerInfo

Row = dict[str, Any]


def prompt_rows() -> list[Row]:
    """Rows of `prompts`: every version of every shipped prompt."""
    loaded = [prompts.load(role, version) for role, version in prompts.list_prompts()]
    return [{"prompt_hash": p.prompt_hash, "role": p.role, "version": p.version, "body": p.body} for p in loaded]


def label_row(label: Label) -> Row:
    """A row of `labels`."""
    return {
        "label_id": label.label_id,
        "evidence_set_id": label.evidence_set_id,
        "sae_id": label.sae_id,
        "feature_index": label.feature_index,
        "status": label.status,
        "text": label.text,
        "concepts": None,
        "predicate": label.predicate,
        "method": label.method,
        "origin": label.origin,
        "parent_label_id": None,
        "round": 0,
        "author": None,
        "prompt_hash": label.prompt_hash,
        "model_requested": label.model_requested,
        "model_served": label.model_served,
        "request_hash": label.request_hash,
        "sample_number": label.sample_number,
        "shown_window_ids": list(label.shown_window_ids),
        "error": label.error,
    }


def choice_row(
    evidence: FeatureEvidence,
    label: Label | None,
    reason: str,
    score: float | None,
    scorer: ScorerInfo | None,
    superseded: str | None,
) -> Row:
    """A row of `choices` made by a run. `superseded` is the id of the choice that it replaces: going back to an earlier decision
    is a new choice."""
    grounds = [evidence.evidence_set_id, evidence.feature_index, label and label.label_id, reason, score]
    grounds += [scorer and scorer.config_hash, *([superseded] if superseded else [])]
    return {
        "choice_id": content_id("choice", grounds),
        "evidence_set_id": evidence.evidence_set_id,
        "sae_id": evidence.sae_id,
        "feature_index": evidence.feature_index,
        "label_id": label and label.label_id,
        "verdict": "labelled" if label else "failed",
        "reason": reason,
        "validation_score": score,
        "scorer": scorer and scorer.name,
        "chosen_by": "run",
        "author": None,
    }


def prediction_rows(
    label: Label, evidence: FeatureEvidence, info: ScorerInfo, split: Split, predictions: Iterable[Prediction]
) -> list[Row]:
    """Rows of `predictions`."""
    return [
        {
            "label_id": label.label_id,
            "evidence_set_id": evidence.evidence_set_id,
            "feature_index": evidence.feature_index,
            "scorer": info.name,
            "config_hash": info.config_hash,
            "split": split,
            "window_id": prediction.window_id,
            "value": prediction.value,
            "asked_again": prediction.asked_again,
            "status": prediction.status,
            "error": prediction.error,
            "request_hash": prediction.request_hash,
            "inclusion": prediction.inclusion,
        }
        for prediction in predictions
    ]


def score_row(
    label: Label,
    evidence: FeatureEvidence,
    info: ScorerInfo,
    split: Split,
    metric: Metric,
    estimate: Estimate,
    n_failed: int,
    judge_status: str,
    compared_with: Sequence[str] = (),
    part: str | None = None,
) -> Row:
    """A row of `scores`. `compared_with` are the ids of other labels that the number depends on; `part` names the examples it rests
    on where those are not all."""
    determinants = [label.label_id, evidence.evidence_set_id, evidence.feature_index, info.config_hash, split, metric]
    determinants += [] if part is None else [part]
    return {
        "score_id": content_id("score", [*determinants, judge_status, sorted(compared_with)]),
        "label_id": label.label_id,
        "evidence_set_id": evidence.evidence_set_id,
        "sae_id": evidence.sae_id,
        "feature_index": evidence.feature_index,
        "is_null": label.feature_index != evidence.feature_index,
        "scorer": info.name,
        "judge": info.judge,
        "answer_mode": info.answer_mode,
        "judge_status": judge_status,
        "config_hash": info.config_hash,
        "prompt_hash": info.prompt_hash,
        "split": split,
        "metric": metric,
        "part": part,
        "value": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "n": estimate.n,
        "n_failed": n_failed,
        "chance": estimate.chance,
        "reason": estimate.reason,
    }
