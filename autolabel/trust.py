"""P(correct): how probably a label is right, from what a run knows about it; fitted where the truth is known, on TruthBench.

A label is *correct* where the exact F1 of what it says, against the feature's function without nuisances, is at least .8 over all test
tiles. The invariant: a model reads all of its signals or says nothing, never falls when a signal rises, and never says more than the
draws of its own fit allow. `docs/trust.md` says what the models were worth on families of features that they had not seen.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from autolabel.errors import DataError
from autolabel.hashing import content_id
from autolabel.intervals import Estimate, unscored
from autolabel.resources import resource_dir

Floats = NDArray[np.float64]

FORMAT = "autolabel-trust-1"
FILE = "trust.v1.json"
CORRECT_F1 = 0.8
"""Exact F1 from which on a label counts as correct."""
SIGNALS = ("embedding label_score", "detection label_score", "rule label_score", "rule auroc", "rule population_f1")
"""What models may read: a scorer and its metric on test tiles. `population_f1` is the harmonic mean of population precision and recall."""
MODEL_SIGNALS: dict[str, tuple[str, ...]] = {
    "rule_population": ("rule population_f1",),
    "rule": ("rule label_score", "rule auroc"),
    "detection": ("embedding label_score", "detection label_score"),
    "embedding": ("embedding label_score",),
}
"""Model → its signals; the first whose signals are all there speaks."""
_LEAST_WIDTH = 1e-6


@dataclass(frozen=True, slots=True)
class TrustModel:
    """A logistic model of one set of signals; its coefficients are at least 0."""

    name: str
    signals: tuple[str, ...]
    centres: tuple[float, ...]
    scales: tuple[float, ...]
    """Signals are read as (value − centre) / scale; as many of each as there are signals."""
    coefficients: tuple[float, ...]
    """The intercept, then one for each signal."""
    draws: tuple[tuple[float, ...], ...]
    """The coefficients fitted to resampled families and features, in the same order: what the interval is made of."""
    threshold: float | None
    """P(correct) from which on a label is trusted; None where the benchmark supports none."""

    @property
    def model_id(self) -> str:
        """Hash of everything that decides what it says."""
        return content_id(
            "trust", [self.name, *self.signals, self.centres, self.scales, self.coefficients, self.draws, self.threshold]
        )

    def probabilities(self, values: Floats) -> Floats:
        """P(correct) of labels by their signals, shape (n, n_signals) → (n,)."""
        return self._all(values)[:, 0]

    def estimate(self, known: Mapping[str, float], n: int) -> Estimate:
        """P(correct) of one label with its 95% interval over refits; all signals must be known."""
        row = self._all(np.array([[known[signal] for signal in self.signals]]))[0]
        value, (low, high) = float(row[0]), np.quantile(row[1:], [0.025, 0.975]).tolist()
        low, high = min(low, value - _LEAST_WIDTH), max(high, value + _LEAST_WIDTH)
        return Estimate(value, max(low, 0.0), min(high, 1.0), n, None)

    def _all(self, values: Floats) -> Floats:
        """What the fit and each of its draws say, shape (n, 1 + n_draws)."""
        standard = (values - np.array(self.centres)) / np.array(self.scales)
        every = np.array([self.coefficients, *self.draws])
        said: Floats = expit(every[:, 0] + standard @ every[:, 1:].T)
        return said.clip(2 * _LEAST_WIDTH, 1 - 2 * _LEAST_WIDTH)


def signals_of(scores: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """The signals that rows of `scores` give (of one label on its own feature, oldest first: the newest of each counts).

    Scores of a part of the exam, of an unfit judge, and of a detection judge that gave no probabilities are no signals.
    """
    found: dict[str, float] = {}
    for row in scores:
        if row["split"] != "test" or row["is_null"] or row["part"] is not None or row["judge_status"] == "judge_unfit":
            continue
        if row["scorer"] == "detection" and row["answer_mode"] != "probability":
            continue
        name = f"{row['scorer']} {row['metric']}"
        found.pop(name, None)
        if row["value"] is not None:
            found[name] = float(row["value"])
    precision, recall = found.get("rule population_precision"), found.get("rule population_recall")
    if precision is not None and recall is not None:
        found["rule population_f1"] = 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0
    return {name: found[name] for name in SIGNALS if name in found}


def p_correct(known: Mapping[str, float], n: int, models: Sequence[TrustModel] | None = None) -> tuple[TrustModel | None, Estimate]:
    """P(correct) by the first of the models whose signals are all known, the shipped ones when none are given; or none, and why.

    Range 0 to 1, higher is better; chance is None because it is the share of right labels among those that a run makes.
    """
    able = [model for model in (load_models() if models is None else models) if all(signal in known for signal in model.signals)]
    if not able:
        here = ", ".join(known) or "none"
        return None, unscored(
            n, None, f"no trust model reads these scores alone ({here}); `embedding` or a label with a rule is needed"
        )
    return able[0], able[0].estimate(known, n)


@cache
def load_models() -> tuple[TrustModel, ...]:
    """The shipped models, in the order in which they are asked."""
    return read_models(resource_dir("data") / FILE)


def read_models(path: Path) -> tuple[TrustModel, ...]:
    """The models of a file.

    Raises:
        DataError: the file cannot be read, or is no file of models.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ValueError(f"its format is {content['format']!r}, expected {FORMAT!r}")
        models = {model.name: model for model in map(_model, content["models"])}
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"cannot use '{path}' as trust models: {error!r}; write it anew with `autolabel bench trust`") from None
    return tuple(models[name] for name in MODEL_SIGNALS if name in models)


def _model(given: Mapping[str, Any]) -> TrustModel:
    name, signals = str(given["name"]), tuple(given["signals"])
    if MODEL_SIGNALS.get(name) != signals:
        raise ValueError(f"model {name!r} reads {signals}, which this version does not know")
    threshold = None if given["threshold"] is None else float(given["threshold"])
    rows = (tuple(map(float, given["coefficients"])), *(tuple(map(float, draw)) for draw in given["draws"]))
    centres, scales = tuple(map(float, given["centres"])), tuple(map(float, given["scales"]))
    numbers = [*centres, *scales, *(number for row in rows for number in row), *([] if threshold is None else [threshold])]
    if not all(map(math.isfinite, numbers)) or min(scales, default=0.0) <= 0:
        raise ValueError(f"model {name!r} holds numbers that are not finite, or scales that are not above 0")
    if {len(centres), len(scales), *(len(row) - 1 for row in rows)} != {len(signals)} or len(rows) < 2:
        raise ValueError(f"model {name!r} has other numbers than one for each of its {len(signals)} signals")
    if any(slope < 0 for row in rows for slope in row[1:]):
        raise ValueError(f"model {name!r} has a negative coefficient: P(correct) would fall when a signal rises")
    return TrustModel(name, signals, centres, scales, rows[0], rows[1:], threshold)
