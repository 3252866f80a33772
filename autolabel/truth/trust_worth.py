"""What a trust model is worth, in numbers for its file and as a table: calibration, and how much can be trusted at which risk."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from autolabel.ranking import area_under_roc
from autolabel.reliability import area_under_risk_coverage, brier, calibration_error, reliability
from autolabel.truth.trust_fit import THRESHOLDS, Trained, trusted_threshold, wrong_bound

_DECIMALS = 4


def worth(trained: Trained) -> dict[str, Any]:
    """Everything about the held-out predictions of a model.

    `brier_of_base_rate` is what saying the same of every label gets; `coverage` and `wrong` are shares of the weight of all labels of the
    kind that have its signals, and of those kept; `of_features` is the share of all features that have a label kept.
    """
    said, right, weights = trained.held_out, trained.right, trained.weights
    share = float((weights * right).sum() / weights.sum())
    found: dict[str, Any] = _rounded(
        {
            "n_labels": len(right),
            "n_without_its_signals": trained.n_without,
            "n_features": trained.n_features,
            "share_right": share,
            "auroc": area_under_roc(said, right, weights),
            "brier": brier(said, right, weights),
            "brier_of_base_rate": share * (1 - share),
            "calibration_error": calibration_error(said, right, weights),
            "aurc": area_under_risk_coverage(said, right, weights),
            "largest": float(said.max()),
            "thresholds": [_at(trained, threshold) for threshold in THRESHOLDS],
            "reliability": [{"n": one.n, "said": one.said, "seen": one.seen} for one in reliability(said, right, weights)],
            "unseen_families": unseen_families(trained),
            "by_source": _by_source(trained),
        }
    )
    return found


def unseen_families(trained: Trained) -> dict[str, Any]:
    """What happens to a family of features when the threshold, too, is chosen without it."""
    said, right, weights = trained.held_out, trained.right, trained.weights
    families = np.array([case.family for case in trained.cases])
    features = np.array([case.feature for case in trained.cases])
    kept = np.zeros(len(said), dtype=bool)
    for family in np.unique(families):
        other = families != family
        threshold = trusted_threshold(said[other], right[other], weights[other], features[other].tolist())
        kept |= ~other & (said >= threshold) if threshold is not None else False
    bound, _ = wrong_bound(kept, right, weights, features.tolist())
    own = weights[kept]
    wrong = float((own * ~right[kept]).sum() / own.sum()) if len(own) else None
    return {"coverage": float(own.sum() / weights.sum()), "wrong": wrong, "wrong_at_most": bound}


def _at(trained: Trained, threshold: float) -> dict[str, Any]:
    kept = trained.held_out >= threshold
    own, right = trained.weights[kept], trained.right[kept]
    bound, _ = wrong_bound(kept, trained.right, trained.weights, [case.feature for case in trained.cases])
    n_features = len({case.feature for case, one in zip(trained.cases, kept.tolist(), strict=True) if one})
    return {
        "threshold": threshold,
        "coverage": float(own.sum() / trained.weights.sum()),
        "wrong": float((own * ~right).sum() / own.sum()) if len(own) else None,
        "wrong_at_most": bound,
        "of_features": n_features / trained.n_features,
    }


def _by_source(trained: Trained) -> dict[str, dict[str, Any]]:
    """For labels of each origin: how many there are, how many are right, how many trusted, and how many of these wrong."""
    sources = np.array([case.source for case in trained.cases])
    threshold = trained.model.threshold
    kept = np.zeros(len(sources), dtype=bool) if threshold is None else trained.held_out >= threshold
    return {
        source: {
            "n": int((sources == source).sum()),
            "right": int(trained.right[sources == source].sum()),
            "trusted": int(kept[sources == source].sum()),
            "trusted_wrong": int((kept & ~trained.right)[sources == source].sum()),
            "mean": float(trained.held_out[sources == source].mean()),
        }
        for source in sorted(set(sources.tolist()))
    }


def markdown(content: Mapping[str, Any]) -> str:
    """The models of a file as tables: what each is worth, and risk against coverage."""
    head = "| model | labels (features) | right | AUROC | Brier (base rate) | ECE | AURC | trusted from | of features | wrong |"
    lines = [head, "| --- " * 10 + "|"]
    for model in content["models"]:
        found = model["worth"]
        at = next((row for row in found["thresholds"] if row["threshold"] == model["threshold"]), None)
        lines.append(
            f"| `{model['name']}` | {found['n_labels']:,} ({found['n_features']}) | {found['share_right']:.2f} | {found['auroc']:.3f} "
            f"| {found['brier']:.3f} ({found['brier_of_base_rate']:.3f}) | {found['calibration_error']:.3f} | {found['aurc']:.3f} "
            f"| {_or_none(model['threshold'])} | {_or_none(at and at['of_features'])} | {_or_none(at and at['wrong'], '.3f')} |"
        )
    lines += ["", "| model | P(correct) from | of labels | of features | wrong | at most (95%) |", "| --- " * 6 + "|"]
    lines += [row for model in content["models"] for row in _risk_rows(model)]
    return "\n".join(lines) + "\n"


def _risk_rows(model: Mapping[str, Any]) -> Sequence[str]:
    return [
        f"| `{model['name']}` | {row['threshold']:.2f} | {row['coverage']:.2f} | {row['of_features']:.2f} | {row['wrong']:.3f} "
        f"| {row['wrong_at_most']:.3f} |"
        for row in model["worth"]["thresholds"]
        if row["wrong"] is not None
    ]


def _or_none(value: float | None, form: str = ".2f") -> str:
    return "–" if value is None else format(value, form)


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_rounded(part) for part in value]
    return round(float(value), _DECIMALS) if isinstance(value, float) else value
