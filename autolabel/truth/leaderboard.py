"""The leaderboard under version control: what was measured when it was written, so that nothing gets worse unnoticed."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from autolabel.errors import DataError
from autolabel.truth.bench import Results
from autolabel.truth.replies import replacing
from autolabel.truth.resampling import Measured

FORMAT = "autolabel-leaderboard-1"
TOLERANCE = 0.02
"""Numbers may move by as much from one machine to another: embeddings differ in their last digits, and so do ties."""


def as_json(results: Results) -> dict[str, Any]:
    """The numbers of a benchmark, without times."""
    built = results.built
    return {
        "format": FORMAT,
        "evidence_set_id": built.evidence_set_id,
        "seed": built.settings.seed,
        "n_features": len(built.features),
        "labelers": {
            row.name: {
                "n": row.n,
                **{f"recovery {referee}": _number(found) for referee, found in row.recovery.items()},
                "rule_f1": _number(row.rule_f1),
                "mapped_f1": _number(row.mapped_f1),
                "generation": _number(row.generation),
                "concept_recall": _number(row.concept_recall),
                "abstention": _number(row.abstention),
                "false_abstention": _number(row.false_abstention),
                "n_failed": row.n_failed,
                "tokens": list(row.tokens),
            }
            for row in results.labelers
        },
        "scorers": {
            row.name: {
                "n_features": row.n_features,
                "n_labels": row.n_pairs,
                "n_unscored": row.n_unscored,
                **{f"true > {kind}": _number(found) for kind, found in row.beats.items()},
                "spearman_near": _number(row.spearman_near),
                "spearman_all": _number(row.spearman_all),
                "judgement": _number(row.judgement),
                "calibration_error": _number(row.calibration_error),
                "tokens": list(row.tokens),
            }
            for row in results.scorers
        },
        "coverage": [_rounded(asdict(one)) for one in results.coverage],
        "discoveries": [_rounded(asdict(one)) for one in results.discoveries],
        "costs": [_rounded(asdict(one)) for one in results.costs],
        "leak": [_rounded(asdict(one)) for one in results.leak],
    }


def write(path: Path, results: Results) -> None:
    """Write the leaderboard of a benchmark."""
    text = json.dumps(as_json(results), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    with replacing(path) as beside:
        beside.write_text(text, encoding="utf-8")


def differences(path: Path, results: Results) -> list[str]:
    """Where a benchmark differs from a leaderboard by more than machines do; a line for each number.

    Only what was measured now is compared.

    Raises:
        DataError: the file is no leaderboard.
    """
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read the leaderboard '{path}': {error}; write it anew with --leaderboard") from None
    if not isinstance(before, dict) or before.get("format") != FORMAT:
        raise DataError(f"'{path}' is no leaderboard; write one with --leaderboard")
    now = as_json(results)
    other = str(before.get("evidence_set_id"))
    if other != now["evidence_set_id"]:
        return [f"evidence set {now['evidence_set_id'][:12]}, in the leaderboard {other[:12]}: another benchmark"]
    found: list[str] = []
    for part in ("labelers", "scorers"):
        for name, row in now[part].items():
            found += _compared(f"{part} {name}", (before.get(part) or {}).get(name), row)
    for part in ("coverage", "discoveries", "costs", "leak"):
        if now[part]:
            found += _compared(part, before.get(part), now[part])
    return found


def _compared(where: str, before: Any, now: Any) -> Iterator[str]:
    if isinstance(now, dict) and isinstance(before, dict):
        for key in {**before, **now}:
            yield from _compared(f"{where}, {key}", before.get(key), now.get(key))
    elif isinstance(now, list) and isinstance(before, list) and len(now) == len(before):
        for place, (one, other) in enumerate(zip(before, now, strict=True)):
            yield from _compared(f"{where} {place}", one, other)
    elif isinstance(now, float) and isinstance(before, float):
        if not abs(now - before) <= TOLERANCE * max(1.0, abs(before)):
            yield f"{where}: {now:g}, in the leaderboard {before:g}"
    elif now != before:
        yield f"{where}: {now}, in the leaderboard {before}"


def _number(measured: Measured) -> float | None:
    return None if measured.value is None else round(float(measured.value), 4)


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _rounded(part) for key, part in value.items()}
    return round(value, 4) if isinstance(value, float) else value
