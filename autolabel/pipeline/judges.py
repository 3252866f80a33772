"""Judges are tried on the shipped solved examples before their answers count; one that cannot judge gives NULL scores, not noise."""

from collections.abc import Sequence
from typing import Any

from autolabel.asking import together
from autolabel.calibration import CalibrationCase, load_calibration_items
from autolabel.hashing import content_id
from autolabel.metrics import Estimate, auroc
from autolabel.records import Label, Purpose
from autolabel.scorers.base import Scorer, ScorerInfo

ADMISSION_AUROC = 0.65
_MAX_FAILED_SHARE = 0.25


def calibration_id(info: ScorerInfo) -> str:
    """The id of the trial of this scorer, judge and prompt."""
    cases = [[case.label, [example.window_id for example in case.examples]] for case in load_calibration_items()]
    return content_id("calibration", [info.config_hash, cases])


async def calibrate(scorer: Scorer) -> dict[str, Any]:
    """Try a scorer on all shipped examples at once; a row of `calibrations`, without `run_id` and `created_utc`.

    Values are ranked within each label before they are pooled, as exams are taken label by label.
    """
    ranks: list[float] = []
    truths: list[bool] = []
    clusters: list[str] = []
    said_yes: list[tuple[bool, bool]] = []
    n_failed = 0
    cases = load_calibration_items()
    found = await together(scorer.predict([_label(case)], case.examples, Purpose("calibrate")) for case in cases)
    for case, (predictions,) in zip(cases, found, strict=True):
        answered = [(p.value, e.fires) for p, e in zip(predictions, case.examples, strict=True) if p.value is not None]
        n_failed += len(predictions) - len(answered)
        values = [value for value, _ in answered]
        ranks += [_mean_rank(value, values) for value in values]
        truths += [fires for _, fires in answered]
        clusters += [case.label] * len(answered)
        said_yes += [(value > 0.5, fires) for value, fires in answered]
    return _row(scorer.info, auroc(ranks, truths, clusters), said_yes, n_failed)


def _label(case: CalibrationCase) -> Label:
    label_id = content_id("calibration label", case.label)
    return Label(label_id, "calibration", "calibration", -1, "ok", "calibration", text=case.label)


def _mean_rank(value: float, values: Sequence[float]) -> float:
    below = sum(other < value for other in values)
    return (below + (sum(other == value for other in values) - 1) / 2) / max(len(values) - 1, 1)


def _row(info: ScorerInfo, found: Estimate, said_yes: list[tuple[bool, bool]], n_failed: int) -> dict[str, Any]:
    n_asked = len(said_yes) + n_failed
    fit = found.value is not None and found.value >= ADMISSION_AUROC and n_failed <= _MAX_FAILED_SHARE * n_asked
    decides = info.answer_mode != "rating"
    return {
        "calibration_id": calibration_id(info),
        "scorer": info.name,
        "judge": info.judge,
        "answer_mode": info.answer_mode,
        "config_hash": info.config_hash,
        "prompt_hash": info.prompt_hash,
        "auroc": found.value,
        "low": found.low,
        "high": found.high,
        "n": len(said_yes),
        "n_failed": n_failed,
        "true_positive_rate": _share(said_yes, True) if decides else None,
        "false_positive_rate": _share(said_yes, False) if decides else None,
        "verdict": "admitted" if fit else "judge_unfit",
    }


def _share(said_yes: Sequence[tuple[bool, bool]], fires: bool) -> float | None:
    of_kind = [yes for yes, truth in said_yes if truth == fires]
    return sum(of_kind) / len(of_kind) if of_kind else None
