"""P(correct) of the labels in force, from the scores that a run has stored, as rows of `scores`.

The invariant: a row's id follows from the label, the model and the very scores that were read, so the same scores give the same row.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from autolabel.pipeline.rows import Row, score_row
from autolabel.records import FeatureEvidence, Label
from autolabel.scorers.base import ScorerInfo
from autolabel.store.connection import Database
from autolabel.store.reading import load_chosen_labels
from autolabel.trust import SIGNALS, TrustModel, load_models, p_correct, signals_of

METRICS = ("label_score", "auroc", "population_precision", "population_recall")
"""What models read, of whatever scorer."""
_SCORES = """
SELECT score_id, label_id, feature_index, scorer, metric, value, n, answer_mode, judge_status, split, part, is_null
FROM scores
WHERE evidence_set_id = $evidence_set_id AND feature_index IN (SELECT unnest($features)) AND split = 'test' AND NOT is_null
    AND part IS NULL AND metric IN (SELECT unnest($metrics))
ORDER BY created_utc, score_id
"""


def trust_rows(db: Database, evidence_set_id: str, features: Iterable[int]) -> dict[str, list[Row]]:
    """Rows of `trust_models` and, for each of the features with a label in force, of `scores`, from what has reached the database.

    Both are to be stored together; rows stored already are dropped there.
    """
    wanted = set(features)
    labels = {index: label for index, label in load_chosen_labels(db, evidence_set_id).items() if index in wanted}
    parameters = {"evidence_set_id": evidence_set_id, "features": sorted(labels), "metrics": list(METRICS)}
    with db.read() as connection:
        found: list[dict[str, Any]] = connection.sql(_SCORES, params=parameters).to_arrow_table().to_pylist()
    scores: dict[tuple[int, str], list[dict[str, Any]]] = defaultdict(list)
    for row in found:
        scores[row["feature_index"], row["label_id"]].append(row)
    return {
        "trust_models": [model_row(model) for model in load_models()],
        "scores": [trust_row(label, scores[index, label.label_id]) for index, label in labels.items()],
    }


def trust_row(label: Label, scores: Sequence[Mapping[str, Any]], models: Sequence[TrustModel] | None = None) -> Row:
    """A label's P(correct) as a row of `scores`; without a value, and with the reason, where no model can say.

    Args:
        label: on its own feature.
        scores: rows of `scores` about it, oldest first.
        models: the shipped ones when absent.
    """
    known = signals_of(scores)
    read = [row for row in scores if f"{row['scorer']} {row['metric']}" in _READ]
    model, estimate = p_correct(known, max((row["n"] for row in read), default=0), models)
    evidence = FeatureEvidence(label.sae_id, label.evidence_set_id, label.feature_index, "alive", 0.0, 0.0, ())
    ids = [row["score_id"] for row in read]
    return score_row(label, evidence, info_of(model), "test", "p_correct", estimate, 0, "not_needed", ids)


def info_of(model: TrustModel | None) -> ScorerInfo:
    """A model as a scorer; its `config_hash` is the model's id in `trust_models`. None stands for no model that could say."""
    name, model_id = ("none", None) if model is None else (model.name, model.model_id)
    return ScorerInfo("trust", f"trust {name}", "probability", settings={"model": model_id}, needs_calibration=False)  # type: ignore[arg-type]


def model_row(model: TrustModel) -> Row:
    """A row of `trust_models`."""
    parameters = {key: value for key, value in asdict(model).items() if key not in ("name", "threshold", "draws")}
    return {"model_id": info_of(model).config_hash, "name": model.name, "threshold": model.threshold, "parameters": parameters}


_READ = frozenset((*SIGNALS, "rule population_precision", "rule population_recall"))
