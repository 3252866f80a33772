"""Reading what the pipeline needs from the database, a bulk query at a time, as the plain records of the rest of the
program.

The invariant: what is read back is what was stored, in an order that does not depend on how it was stored.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import duckdb

from autolabel.errors import StoreError
from autolabel.records import Example, FeatureEvidence, Label, Prediction, Split
from autolabel.store.connection import Database

PredictionKey = tuple[str, int, str, str, Split]
"""label_id, feature_index, scorer, config_hash, split."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The decision in force about a feature. `label_id` is None when no label was chosen."""

    choice_id: str
    label_id: str | None
    verdict: str
    reason: str
    validation_score: float | None
    scorer: str | None
    chosen_by: Literal["run", "human"]


@dataclass(frozen=True, slots=True)
class Calibration:
    """What came of testing a judge on the solved examples."""

    calibration_id: str
    scorer: str
    judge: str
    answer_mode: str
    config_hash: str
    prompt_hash: str | None
    auroc: float | None
    low: float | None
    high: float | None
    n: int
    n_failed: int
    true_positive_rate: float | None
    false_positive_rate: float | None
    verdict: Literal["admitted", "judge_unfit"]


def latest_evidence_set(db: Database, sae_id: str | None = None) -> str:
    """The newest evidence set that is not a control, of one SAE or of all."""
    with db.read() as connection:
        row = connection.execute(
            "SELECT evidence_set_id FROM current_evidence_sets WHERE $sae_id IS NULL OR sae_id = $sae_id "
            "ORDER BY created_utc DESC, evidence_set_id DESC LIMIT 1",
            {"sae_id": sae_id},
        ).fetchone()
    if row is None:
        of_sae = f" for SAE {sae_id}" if sae_id else ""
        raise StoreError(f"{db.path} holds no evidence{of_sae}; collect some with `autolabel collect CONFIG.toml --db {db.path}`")
    return str(row[0])


def alive_features(db: Database, evidence_set_id: str) -> list[int]:
    """The features whose evidence status is alive, in order."""
    with db.read() as connection:
        rows = connection.execute(
            "SELECT feature_index FROM features WHERE evidence_set_id = ? AND evidence_status = 'alive' ORDER BY ALL",
            [evidence_set_id],
        ).fetchall()
    return [index for (index,) in rows]


def load_feature_evidence(db: Database, evidence_set_id: str, feature_indices: Iterable[int]) -> dict[int, FeatureEvidence]:
    """Everything stored about these features, by index; examples ordered by split, kind and rank.

    Raises:
        StoreError: a feature that the evidence set does not hold.
    """
    wanted = sorted(set(feature_indices))
    parameters = {"evidence_set_id": evidence_set_id, "wanted": wanted}
    with db.read() as connection:
        features = _rows(
            connection,
            "SELECT feature_index, sae_id, evidence_status, firing_rate, coalesce(max_activation, 0) AS max_activation "
            "FROM features WHERE evidence_set_id = $evidence_set_id AND feature_index IN (SELECT unnest($wanted)) "
            "ORDER BY feature_index",
            parameters,
        )
        examples = _rows(connection, _EXAMPLES, parameters)
    missing = sorted(set(wanted) - {row["feature_index"] for row in features})
    if missing:
        raise StoreError(f"{db.path}: evidence set {evidence_set_id} has no feature {', '.join(map(str, missing[:10]))}")
    by_feature: dict[int, list[Example]] = defaultdict(list)
    for row in examples:
        by_feature[row.pop("feature_index")].append(_example(row))
    return {
        row["feature_index"]: FeatureEvidence(
            evidence_set_id=evidence_set_id, examples=tuple(by_feature[row["feature_index"]]), **row
        )
        for row in features
    }


def load_labels(db: Database, evidence_set_id: str, feature_indices: Iterable[int]) -> list[Label]:
    """Every attempt at a label of these features, failed ones included, by feature and then oldest first."""
    with db.read() as connection:
        rows = _rows(
            connection,
            "SELECT label_id, evidence_set_id, sae_id, feature_index, status, method, text, predicate, prompt_hash, "
            "model_requested, model_served, request_hash, sample_number, shown_window_ids, origin, error FROM labels "
            "WHERE evidence_set_id = $evidence_set_id AND feature_index IN (SELECT unnest($wanted)) "
            "ORDER BY feature_index, created_utc, label_id",
            {"evidence_set_id": evidence_set_id, "wanted": sorted(set(feature_indices))},
        )
    return [_label(row) for row in rows]


def load_current_choices(db: Database, evidence_set_id: str) -> dict[int, Choice]:
    """The decision in force about each feature that has one."""
    with db.read() as connection:
        rows = _rows(
            connection,
            "SELECT feature_index, choice_id, label_id, verdict, reason, validation_score, scorer, chosen_by FROM current_choices "
            "WHERE evidence_set_id = $evidence_set_id ORDER BY feature_index",
            {"evidence_set_id": evidence_set_id},
        )
    return {row.pop("feature_index"): Choice(**row) for row in rows}


def existing_predictions(
    db: Database, evidence_set_id: str, feature_indices: Iterable[int] | None = None
) -> dict[PredictionKey, list[Prediction]]:
    """What scorers have said already about the windows of an evidence set (of some features, or of all), by what was asked."""
    wanted = None if feature_indices is None else sorted(set(feature_indices))
    with db.read() as connection:
        rows = _rows(
            connection,
            "SELECT label_id, feature_index, scorer, config_hash, split, window_id, value, status, error, request_hash, "
            "asked_again FROM predictions WHERE evidence_set_id = $evidence_set_id "
            "AND ($wanted::INTEGER[] IS NULL OR feature_index IN (SELECT unnest($wanted::INTEGER[]))) ORDER BY ALL",
            {"evidence_set_id": evidence_set_id, "wanted": wanted},
        )
    found: dict[PredictionKey, list[Prediction]] = defaultdict(list)
    for row in rows:
        key = (
            row.pop("label_id"),
            row.pop("feature_index"),
            row.pop("scorer"),
            row.pop("config_hash"),
            row.pop("split"),
        )
        found[key].append(Prediction(**row))
    return dict(found)


def score_ids(db: Database) -> set[str]:
    """The ids of every score stored."""
    with db.read() as connection:
        return {score_id for (score_id,) in connection.execute("SELECT score_id FROM scores").fetchall()}


def calibration(db: Database, calibration_id: str) -> Calibration | None:
    """A calibration made before, or None."""
    with db.read() as connection:
        rows = _rows(
            connection,
            "SELECT calibration_id, scorer, judge, answer_mode, config_hash, prompt_hash, auroc, low, high, n, n_failed, "
            "true_positive_rate, false_positive_rate, verdict FROM calibrations WHERE calibration_id = $calibration_id",
            {"calibration_id": calibration_id},
        )
    return Calibration(**rows[0]) if rows else None


_EXAMPLES = """
SELECT
    x.feature_index, x.window_id, w.document_id, w.source_document_id, w.tile_index, x.split, x.kind, x.stratum,
    w.text, w.token_starts, w.n_context_tokens, x.positions, x.activations, x.max_activation, x.quantile,
    x.sample_rank, x.in_exam, x.mark_positions
FROM examples x
JOIN windows w USING (evidence_set_id, window_id)
WHERE x.evidence_set_id = $evidence_set_id AND x.feature_index IN (SELECT unnest($wanted))
ORDER BY
    x.feature_index, list_position(['train', 'validation', 'test'], x.split),
    list_position(['strongest', 'firing', 'background', 'lookalike', 'neighbour', 'same_document'], x.kind),
    x.sample_rank, x.window_id
"""


def _example(row: dict[str, Any]) -> Example:
    for name in ("token_starts", "positions", "activations", "mark_positions"):
        row[name] = tuple(row[name])
    return Example(**row)


def _label(row: dict[str, Any]) -> Label:
    predicate = row.pop("predicate")
    shown = tuple(row.pop("shown_window_ids"))
    return Label(**row, predicate=None if predicate is None else json.loads(predicate), shown_window_ids=shown)


def _rows(connection: duckdb.DuckDBPyConnection, sql: str, parameters: dict[str, Any]) -> Sequence[dict[str, Any]]:
    rows: list[dict[str, Any]] = connection.sql(sql, params=parameters).to_arrow_table().to_pylist()
    return rows


def evidence_sets(db: Database) -> set[str]:
    """Ids of all evidence sets there are."""
    with db.read() as connection:
        return {row[0] for row in connection.execute("SELECT evidence_set_id FROM evidence_sets").fetchall()}


def co_firing(db: Database, evidence_set_id: str, feature_indices: Iterable[int]) -> dict[int, dict[int, float]]:
    """Jaccard index of the background tiles in which two of the features fire: feature → other feature → index, zeros left out."""
    sql = """
        WITH fired AS (
            SELECT window_id, feature
            FROM (SELECT window_id, unnest(fired_features) AS feature FROM windows WHERE evidence_set_id = $evidence_set_id)
            WHERE list_contains($features, feature)
        ),
        single AS (SELECT feature, count(*) AS n FROM fired GROUP BY feature)
        SELECT a.feature AS feature, b.feature AS other, count(*) / (any_value(s.n) + any_value(t.n) - count(*)) AS jaccard
        FROM fired a JOIN fired b ON a.window_id = b.window_id AND a.feature <> b.feature
        JOIN single s ON s.feature = a.feature JOIN single t ON t.feature = b.feature
        GROUP BY a.feature, b.feature
    """
    found: dict[int, dict[int, float]] = defaultdict(dict)
    with db.read() as connection:
        for row in _rows(connection, sql, {"evidence_set_id": evidence_set_id, "features": list(feature_indices)}):
            found[row["feature"]][row["other"]] = row["jaccard"]
    return dict(found)
