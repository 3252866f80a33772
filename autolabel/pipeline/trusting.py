"""P(correct) of a label, from the scores that a run has given it, as a row of `scores`.

The invariant: a row's id follows from the label, the model and the very scores that were read, so the same scores give the same row.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from autolabel.pipeline.rows import Row, score_row
from autolabel.records import FeatureEvidence, Label
from autolabel.scorers.base import ScorerInfo
from autolabel.trust import SIGNALS, TrustModel, p_correct, signals_of


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
